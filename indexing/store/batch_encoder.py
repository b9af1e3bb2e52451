"""What encodes a batch: texts and files in, vectors or reasons out. Here it is this process and its decoders."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.arrays import Vectors
from indexing.encoders.base import Encoder, PixelEncoder, with_audio
from indexing.media.decode import Decoded, Task, Unusable
from indexing.media.files import Kind, Modality
from indexing.media.pool import DecodePool


class File(NamedTuple):
    """A file to encode: its bytes, or the path of it."""

    kind: Kind
    source: bytes | Path


class EncodedFile(NamedTuple):
    """The vectors of a file, (P, D) float32, one for each of a film's frames, and where in the file each is."""

    vectors: Vectors
    labels: list[str]


@dataclass(frozen=True)
class EncodedBatch:
    """What became of a batch.

    Attributes:
        texts: (T, D) float32, in the order of the texts; None when there were none.
        files: Vectors, or why there are none, in the order of the files.
    """

    texts: Vectors | None
    files: list[EncodedFile | Unusable]


Timed: TypeAlias = Callable[[str], AbstractContextManager[None]]
Pending: TypeAlias = Callable[[], EncodedBatch]


class BatchEncoder(Protocol):
    """Encodes batches, several of which may be under way."""

    @property
    def task(self) -> Task:
        """What decoding is for, and its limits."""
        ...

    @property
    def ahead(self) -> int:
        """How many batches may be begun before the first of them is asked for."""
        ...

    def begin(self, texts: Sequence[str], files: Sequence[File]) -> Pending:
        """Begin a batch; the result waits for it. Batches are asked for in the order in which they were begun."""
        ...


class LocalBatchEncoder:
    """Encodes in this process what other processes decode.

    Args:
        encoder: The model.
        pool: Decodes files.
        timed: Adds the time of a block to a stage, ``decode`` or ``encode``.
        ahead: How many batches are decoded while one is encoded.
    """

    def __init__(self, encoder: Encoder, pool: DecodePool, timed: Timed, ahead: int) -> None:
        self._encoder, self._pool, self._timed, self.ahead = encoder, pool, timed, ahead

    @property
    def task(self) -> Task:
        """What decoding is for, and its limits."""
        return self._pool.task

    def begin(self, texts: Sequence[str], files: Sequence[File]) -> Pending:
        """Begin to decode the files of a batch."""
        modalities = [file.kind.modality for file in files]
        decoding = [self._pool.submit(*file) for file in files]
        return lambda: self._finish(texts, modalities, decoding)

    def _finish(
        self, texts: Sequence[str], modalities: Sequence[Modality], decoding: "list[Future[Decoded | Unusable]]"
    ) -> EncodedBatch:
        text_vectors = None
        if texts:
            with self._timed("encode"):
                text_vectors = self._encoder.encode_texts(texts)
        outcomes: list[Decoded | Unusable] = []
        for future in decoding:
            with self._timed("decode"):
                outcomes.append(future.result())
        decoding.clear()
        encoded: dict[int, EncodedFile] = {}
        for modality in (Modality.IMAGE, Modality.AUDIO):
            decoded = {
                number: outcome
                for number, (of, outcome) in enumerate(zip(modalities, outcomes, strict=True))
                if of is modality and not isinstance(outcome, Unusable)
            }
            if arrays := [array for outcome in decoded.values() for array in outcome.arrays]:
                with self._timed("encode"):
                    vectors = _encode_arrays(self._encoder, modality, arrays)
                ends = np.cumsum([len(outcome.arrays) for outcome in decoded.values()])
                for number, file_vectors in zip(decoded, np.split(vectors, ends[:-1]), strict=True):
                    encoded[number] = EncodedFile(file_vectors, decoded[number].labels)
        return EncodedBatch(
            text_vectors,
            [outcome if isinstance(outcome, Unusable) else encoded[n] for n, outcome in enumerate(outcomes)],
        )


def _encode_arrays(encoder: Encoder, modality: Modality, arrays: Sequence[NDArray[Any]]) -> Vectors:
    if modality is Modality.AUDIO:
        return with_audio(encoder).encode_audio(arrays)
    if isinstance(encoder, PixelEncoder) and encoder.image_form is not None:
        return encoder.encode_pixels(np.stack(arrays))
    return encoder.encode_images([Image.fromarray(array) for array in arrays])
