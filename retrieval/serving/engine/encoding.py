"""An encoder that many requests share: one thread uses it, and encodes together what came while it was busy."""

import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from PIL import Image

from indexing.arrays import Vectors
from indexing.encoders.base import AudioEncoder, Encoder, EncoderInfo, PixelEncoder
from indexing.media.audio import Sound
from indexing.media.image_form import ImageForm, Pixels

LARGEST = 256  # inputs encoded together
LINGER = 0.003  # seconds for which a batch waits for more, where the one before was of several requests


@dataclass(eq=False)
class _Job:
    """Inputs of one request, for one of the methods of an encoder."""

    method: str
    inputs: Sequence[Any]
    done: "Future[Vectors]" = field(default_factory=Future)


class EncoderThread:
    """The thread that encodes, for all encoders of a service."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[tuple[Encoder, _Job] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="commonspace-encoder", daemon=True)
        self._thread.start()

    def encode(self, encoder: Encoder, method: str, inputs: Sequence[Any]) -> Vectors:
        """Encode inputs in this thread, perhaps with those of others: (N, D) float32."""
        job = _Job(method, list(inputs))
        self._jobs.put((encoder, job))
        return job.done.result()

    @property
    def waiting(self) -> int:
        """How many calls wait for those that are being done."""
        return self._jobs.qsize()

    def close(self) -> None:
        """End the thread when all that waits is done."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        following: tuple[Encoder, _Job] | None = None
        several = False
        while (taken := following or self._jobs.get()) is not None:
            encoder, first = taken
            jobs, following, ended = self._gathered(encoder, first, LINGER if several else 0.0)
            several = len(jobs) > 1
            _encode(encoder, jobs)
            if ended:
                return

    def _gathered(
        self, encoder: Encoder, first: _Job, linger: float
    ) -> tuple[list[_Job], tuple[Encoder, _Job] | None, bool]:
        """Give the jobs to do together, the one after them that is of another kind, and whether that is the end."""
        jobs, count, until = [first], len(first.inputs), time.perf_counter() + linger
        while count < LARGEST:
            try:
                left = until - time.perf_counter()
                taken = self._jobs.get(timeout=left) if left > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            if taken is None:
                return jobs, None, True
            if taken[0] is not encoder or taken[1].method != first.method or count + len(taken[1].inputs) > LARGEST:
                return jobs, taken, False
            jobs.append(taken[1])
            count += len(taken[1].inputs)
        return jobs, None, False


def _encode(encoder: Encoder, jobs: list[_Job]) -> None:
    """Do jobs together; where that fails, each alone, so that one does not fail for another."""
    try:
        inputs: Any = [one for job in jobs for one in job.inputs]
        if jobs[0].method == "encode_pixels":
            inputs = np.stack(inputs)
        vectors = getattr(encoder, jobs[0].method)(inputs)
    except Exception as error:
        if len(jobs) == 1:
            jobs[0].done.set_exception(error)
            return
        for job in jobs:
            _encode(encoder, [job])
        return
    start = 0
    for job in jobs:
        job.done.set_result(vectors[start : start + len(job.inputs)])
        start += len(job.inputs)


class SharedEncoder:
    """An encoder as requests see it: every call is done by the thread.

    Args:
        encoder: The encoder itself.
        thread: Who uses it.
    """

    def __init__(self, encoder: Encoder, thread: EncoderThread) -> None:
        self.encoder, self.thread = encoder, thread

    @property
    def info(self) -> EncoderInfo:
        """That of the encoder."""
        return self.encoder.info

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Embed N texts: (N, D) float32."""
        return self.thread.encode(self.encoder, "encode_texts", texts)

    def encode_images(self, images: Sequence[Image.Image]) -> Vectors:
        """Embed N pictures: (N, D) float32."""
        return self.thread.encode(self.encoder, "encode_images", images)


class _Pixels(SharedEncoder):
    @property
    def image_form(self) -> ImageForm | None:
        """That of the encoder."""
        return cast(PixelEncoder, self.encoder).image_form

    def encode_pixels(self, pixels: Pixels) -> Vectors:
        """Embed N prepared pictures: (N, D) float32."""
        return self.thread.encode(self.encoder, "encode_pixels", list(pixels))


class _Sounds(SharedEncoder):
    @property
    def audio_rate(self) -> int:
        """That of the encoder."""
        return cast(AudioEncoder, self.encoder).audio_rate

    def encode_audio(self, sounds: Sequence[Sound]) -> Vectors:
        """Embed N sounds: (N, D) float32."""
        return self.thread.encode(self.encoder, "encode_audio", sounds)


class _PixelsAndSounds(_Pixels, _Sounds):
    pass


def shared_encoder(encoder: Encoder, thread: EncoderThread) -> SharedEncoder:
    """Share an encoder; what it can embed, the shared one can."""
    pixels, sounds = isinstance(encoder, PixelEncoder), isinstance(encoder, AudioEncoder)
    kind = (_PixelsAndSounds if sounds else _Pixels) if pixels else (_Sounds if sounds else SharedEncoder)
    return kind(encoder, thread)
