"""Files are decoded elsewhere as they would be here, and what happens there stays there."""

import io
import signal
import sys
import time

import numpy as np
import pytest
from PIL import Image

from indexing.decoding.decode import Decoded, Task, Unusable, decode
from indexing.decoding.form import ImageForm
from indexing.decoding.pool import DecodePool
from indexing.errors import MissingExtraError
from indexing.media import Kind
from indexing.pictures import PictureLimits

TASK = Task(ImageForm(32, "shortest"), pictures=PictureLimits(pixels=4_000_000))


def photo(width: int, height: int, kind: str = "JPEG") -> bytes:
    rng = np.random.default_rng(width + height)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    file = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(file, kind)
    return file.getvalue()


FILES = [photo(640, 480), photo(31, 90, "PNG"), photo(200, 200, "WEBP"), b"", b"no picture", photo(90, 90)[:700]]


@pytest.mark.parametrize("task", [TASK, Task()])
def test_workers_give_what_this_process_gives(task: Task) -> None:
    with DecodePool(task, workers=2) as pool:
        coming = [pool.submit(Kind.IMAGE, data) for data in FILES * 3]
        outcomes = [one.result() for one in coming]
    for data, outcome in zip(FILES * 3, outcomes, strict=True):
        here = decode(Kind.IMAGE, data, task)
        if isinstance(here, Decoded) and isinstance(outcome, Decoded):
            np.testing.assert_array_equal(outcome.arrays[0], here.arrays[0])
            assert outcome.labels == here.labels
        else:
            assert outcome == here
    assert sum(isinstance(outcome, Unusable) for outcome in outcomes) == 9


def test_decoding_small_changes_pixels_little() -> None:
    data = photo(1600, 1200)
    whole = TASK.form.apply(Image.open(io.BytesIO(data)).convert("RGB")) if TASK.form else None
    outcome = decode(Kind.IMAGE, data, TASK)
    assert isinstance(outcome, Decoded)
    assert whole is not None
    assert np.abs(outcome.arrays[0].astype(int) - whole).mean() < 1.5


def test_a_file_that_takes_too_long_or_kills_costs_itself_only() -> None:
    with DecodePool(TASK, workers=1, seconds=1e-6) as pool:
        outcome = pool.submit(Kind.IMAGE, photo(64, 64)).result()
    assert outcome == Unusable("decoding this image took over 1e-06 s")
    with DecodePool(TASK, workers=1) as pool:
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
        (worker,) = pool._all
        assert worker._process is not None
        worker._process.kill()
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)


def stopped_for(seconds: float | None, patience: float) -> Decoded | Unusable:
    """Decode with a worker that is stopped meanwhile for some time by the clock, or for good."""
    with DecodePool(TASK, workers=1, seconds=patience) as pool:
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
        process = pool._all[0]._process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        coming = pool.submit(Kind.IMAGE, photo(64, 64))
        if seconds is not None:
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)
        return coming.result()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long another process has computed")
def test_a_worker_that_waits_for_the_processor_is_waited_for() -> None:
    """As on a busy machine: which files a bundle holds must not hang on who else computes."""
    assert isinstance(stopped_for(1.5, patience=1.0), Decoded)


def test_a_worker_that_does_nothing_is_not_waited_for() -> None:
    assert stopped_for(None, patience=0.2) == Unusable("decoding this image took over 0.2 s")


def test_memory_is_bounded() -> None:
    """20 megapixels need 80 MB of pixels; the worker may take 30."""
    task = Task(ImageForm(32, "shortest"), pictures=PictureLimits(pixels=40_000_000))
    file = io.BytesIO()
    Image.new("RGB", (5000, 4000), "red").save(file, "PNG")
    with DecodePool(task, workers=1, memory=30 << 20) as pool:
        outcome = pool.submit(Kind.IMAGE, file.getvalue()).result()
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
    assert isinstance(outcome, Unusable)
    assert "MemoryError" in outcome.reason or "more memory" in outcome.reason


def test_nobody_is_left_behind() -> None:
    with DecodePool(TASK, workers=2) as pool:
        for future in [pool.submit(Kind.IMAGE, photo(64, 64)) for _ in range(8)]:
            future.result()
        processes = [worker._process for worker in pool._all if worker._process is not None]
    assert processes
    assert all(process.returncode is not None for process in processes)


def test_a_file_that_ends_its_process_twice_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> Decoded:
        raise EOFError

    with DecodePool(TASK, workers=1) as pool:
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
        monkeypatch.setattr("indexing.decoding.pool._exchange", dies)
        assert pool.submit(Kind.IMAGE, photo(64, 64)).result() == Unusable("decoding this image ended its process")
        monkeypatch.undo()
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)


def test_without_its_package_a_sound_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with DecodePool(TASK, workers=1) as pool, pytest.raises(MissingExtraError, match=r"commonspace\[audio\]"):
        pool.submit(Kind.AUDIO, b"RIFF")
