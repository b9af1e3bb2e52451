"""Files are decoded elsewhere as they would be here, and what happens there stays there."""

import io
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from PIL import Image

from indexing.errors import DecoderError, MissingExtraError
from indexing.media.decode import Decoded, Task, Unusable, decode
from indexing.media.files import Kind
from indexing.media.image_form import ImageForm
from indexing.media.images import ImageLimits
from indexing.media.pool import MEMORY, DecodePool, _Worker
from indexing.store.encode import _workers
from indexing.store.shared_pool import decode_all, shared_pool

TASK = Task(ImageForm(32, "shortest"), pictures=ImageLimits(pixels=4_000_000))


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
        (worker,) = pool._workers
        assert worker._process is not None
        worker._process.kill()
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)


def stopped_for(seconds: float | None, patience: float) -> Decoded | Unusable:
    """Decode with a worker that is stopped meanwhile for some time by the clock, or for good."""
    with DecodePool(TASK, workers=1, seconds=patience) as pool:
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
        process = pool._workers[0]._process
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
    task = Task(ImageForm(32, "shortest"), pictures=ImageLimits(pixels=40_000_000))
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
        processes = [worker._process for worker in pool._workers if worker._process is not None]
    assert processes
    assert all(process.returncode is not None for process in processes)


def test_a_file_that_ends_its_process_twice_is_to_blame(monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> Decoded:
        raise EOFError

    with DecodePool(TASK, workers=1) as pool:
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
        monkeypatch.setattr("indexing.media.pool._exchange", dies)
        assert pool.submit(Kind.IMAGE, photo(64, 64)).result() == Unusable("decoding this image ended its process")
        monkeypatch.undo()
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)


def test_without_its_package_a_sound_stops_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with DecodePool(TASK, workers=1) as pool, pytest.raises(MissingExtraError, match=r"\.\[audio\]"):
        pool.submit(Kind.AUDIO, b"RIFF")


@pytest.mark.parametrize(
    "program",
    ["import time; time.sleep(600)", "import sys; sys.exit(1)", "print('x')"],
    ids=["hangs", "ends", "says something else"],
)
def test_a_decoder_that_does_not_start_ends_the_build_and_blames_no_file(
    monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    monkeypatch.setattr("indexing.media.pool.START_SECONDS", 1.0)
    with DecodePool(TASK, workers=1) as pool:
        pool._threads.submit(lambda: None).result()
        worker = _Worker(TASK, 10.0, MEMORY)
        monkeypatch.setattr(worker, "_command", [sys.executable, "-S", "-c", program])
        started = time.monotonic()
        with pytest.raises(DecoderError, match=r"did not start within 1 s, twice: .*indexing.media.decode.* says why"):
            worker.ask(Kind.IMAGE, photo(64, 64))
        assert time.monotonic() - started < 30


def test_a_decoder_that_is_stopped_while_it_starts_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped as by a debugger or a full machine: the first one is ended, the second one decodes."""
    start = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def stopped_once(*args: object, **options: object) -> "subprocess.Popen[bytes]":
        process = start(*args, **options)  # type: ignore[call-overload]
        if not started:
            process.send_signal(signal.SIGSTOP)
            threading.Timer(0.5, process.kill).start()
        started.append(process)
        return process  # type: ignore[no-any-return]

    monkeypatch.setattr(subprocess, "Popen", stopped_once)
    with DecodePool(TASK, workers=1) as pool:
        assert isinstance(pool.submit(Kind.IMAGE, photo(64, 64)).result(), Decoded)
    assert len(started) == 2


def test_a_shared_pool_is_one_for_each_task() -> None:
    assert shared_pool(TASK) is shared_pool(replace(TASK)) is not shared_pool(Task())
    described = Task(described=True)
    outcomes = decode_all(Kind.IMAGE, [photo(90, 40), b"no picture", photo(31, 90, "PNG")], described)
    assert [isinstance(outcome, Decoded) for outcome in outcomes] == [True, False, True]
    first = outcomes[0]
    assert isinstance(first, Decoded)
    here = decode(Kind.IMAGE, photo(90, 40), described)
    assert isinstance(here, Decoded)
    assert first.described == here.described
    assert {name: first.described[name] for name in ("width", "height", "format")} == {
        "width": 90, "height": 40, "format": "JPEG"
    }  # fmt: skip


def test_libraries_take_no_memory_from_the_files() -> None:
    """A sound needs some megabytes; the libraries that decode it are larger than what it may take."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(16_000, np.float32), 16_000, format="WAV")
    with DecodePool(replace(TASK, audio_rate=16_000), workers=1, memory=24 << 20) as pool:
        assert isinstance(pool.submit(Kind.AUDIO, file.getvalue()).result(), Decoded)


@pytest.mark.parametrize(("ram", "workers"), [(64 << 30, 8), (4 << 30, 3), (1 << 28, 1)])
def test_workers_fit_a_quarter_of_the_memory(monkeypatch: pytest.MonkeyPatch, ram: int, workers: int) -> None:
    monkeypatch.setattr("indexing.store.encode.cores", lambda: 8)
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": ram // 4096, "SC_PAGE_SIZE": 4096}.get)
    assert _workers(MEMORY) == workers
