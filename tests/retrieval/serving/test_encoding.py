"""One thread encodes; what comes meanwhile is encoded together, and each request gets its own vectors or error."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.encoders.base import AudioEncoder, PixelEncoder
from retrieval.serving.engine.encoding import EncoderThread, SharedEncoder, shared_encoder
from tests.toy import ToyEncoder


class Watched(ToyEncoder):
    """Waits until it may encode, and notes who uses it and how much at once."""

    def __init__(self) -> None:
        super().__init__()
        self.may_encode = threading.Event()
        self.threads: set[str] = set()
        self.batches: list[int] = []

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        self.threads.add(threading.current_thread().name)
        assert self.may_encode.wait(10)
        self.batches.append(len(texts))
        if "bad" in texts:
            raise ValueError("bad text")
        return super().encode_texts(texts)


def until(happened: Callable[[], bool]) -> None:
    for _ in range(1000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_what_comes_meanwhile_is_encoded_together() -> None:
    thread, encoder = EncoderThread(), Watched()
    shared = SharedEncoder(encoder, thread)
    texts = [f"red mug {at}" for at in range(9)]
    with ThreadPoolExecutor(9) as pool:
        futures = [pool.submit(shared.encode_texts, [texts[0], "blue"])]
        until(lambda: bool(encoder.threads))
        futures += [pool.submit(shared.encode_texts, [text, "blue"]) for text in texts[1:]]
        until(lambda: thread.waiting == 8)
        encoder.may_encode.set()
        found = [future.result() for future in futures]
    assert encoder.batches == [2, 16]
    assert encoder.threads == {"commonspace-encoder"}
    for text, vectors in zip(texts, found, strict=True):
        np.testing.assert_array_equal(vectors, ToyEncoder().encode_texts([text, "blue"]))
    thread.close()


def test_one_that_fails_does_not_fail_the_others() -> None:
    thread, encoder = EncoderThread(), Watched()
    shared = SharedEncoder(encoder, thread)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(shared.encode_texts, ["first"])
        until(lambda: bool(encoder.threads))
        futures = {text: pool.submit(shared.encode_texts, [text]) for text in ("bad", "red", "blue")}
        until(lambda: thread.waiting == 3)
        encoder.may_encode.set()
        with pytest.raises(ValueError, match="bad text"):
            futures["bad"].result()
        np.testing.assert_array_equal(futures["red"].result(), ToyEncoder().encode_texts(["red"]))
        assert len(futures["blue"].result()) == len(first.result()) == 1
    thread.close()


def test_another_kind_of_work_is_a_batch_of_its_own() -> None:
    thread, encoder = EncoderThread(), Watched()
    shared = SharedEncoder(encoder, thread)
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(shared.encode_texts, ["first"])
        until(lambda: bool(encoder.threads))
        pictures = pool.submit(shared.encode_images, [])
        second = pool.submit(shared.encode_texts, ["red"])
        encoder.may_encode.set()
        assert pictures.result().shape == (0, 16)
        assert len(first.result()) == len(second.result()) == 1
    thread.close()


def test_a_shared_encoder_can_what_the_encoder_can() -> None:
    class Hears(ToyEncoder):
        audio_rate = 16_000

        def encode_audio(self, sounds: Sequence[Vectors]) -> Vectors:
            return np.ones((len(sounds), 16), np.float32)

    thread = EncoderThread()
    plain, hears = shared_encoder(ToyEncoder(), thread), shared_encoder(Hears(), thread)
    assert not isinstance(plain, AudioEncoder | PixelEncoder)
    assert isinstance(hears, AudioEncoder)
    assert (hears.audio_rate, hears.encode_audio([np.zeros(3, np.float32)]).shape) == (16_000, (1, 16))
    assert plain.info == ToyEncoder().info
    thread.close()
