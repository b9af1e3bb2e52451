"""A few worker processes that decode ahead of the model, each replaced when a file kills it or takes too long."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from indexing.errors import DecoderError, import_extra
from indexing.media.decode import HEADER, KINDS, MODULES, READY, REQUEST, Decoded, Task, Unusable, decode
from indexing.media.files import Kind, size_of, unreadable

SECONDS = 10.0
CLOCK_FACTOR = 6  # times as long by the clock, for a worker that does nothing or must share the processor
START_SECONDS = 60.0  # by the clock; about a quarter of a second where nobody else computes
MEMORY = 300_000_000
PACKAGES = Path(__file__).parents[2]


class DecodePool:
    """Decodes files in processes of its own, at most ``workers`` at a time.

    The processes are started when they are first needed, as plain programs that talk over pipes: no fork, no pickle,
    and no need for a main guard in the user's script.

    Args:
        task: What decoding is for.
        workers: How many processes; 0 decodes in this process, without protection from what a file can do to it.
        seconds: Longest time that one file may take: of the processor, so that a busy machine refuses no file that an
            idle one decodes; six times as long by the clock. Where a system does not tell the former, by the clock.
        memory: Most bytes of memory that a worker may take for its files.
    """

    def __init__(self, task: Task, workers: int, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self.task, self._in_process = task, workers == 0
        self._threads = ThreadPoolExecutor(max(1, workers), thread_name_prefix="decode")
        self._local = threading.local()
        self._workers: list[_Worker] = []
        self._closing = False
        self._seconds, self._memory = seconds, memory

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = kind is not None
        if self._closing:  # what is under way is not waited for
            for worker in list(self._workers):
                worker.stop()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.stop()

    def submit(self, kind: Kind, source: bytes | Path) -> "Future[Decoded | Unusable]":
        """Begin to decode a file, given its bytes or its path.

        Raises:
            MissingExtraError: When the packages that decode such files are not installed.
        """
        for module in MODULES[kind]:
            import_extra(module, kind)
        return self._threads.submit(self._decode, kind, source)

    def _decode(self, kind: Kind, source: bytes | Path) -> Decoded | Unusable:
        try:
            max_bytes = self.task.max_bytes(kind)
            if isinstance(source, Path) and (size := size_of(source)) > max_bytes:
                return Unusable(f"{kind} file of {size} bytes is over the limit of {max_bytes}")
            data = source if isinstance(source, bytes) else source.read_bytes()
        except OSError as error:
            return Unusable(unreadable(kind, error))
        if self._closing:
            return Unusable("interrupted")
        if self._in_process:
            return decode(kind, data, self.task)
        worker: _Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = _Worker(self.task, self._seconds, self._memory)
            self._workers.append(worker)
        return worker.ask(kind, data)


class _NotStartedError(Exception):
    """A process that ended before it could take a request."""


class _Worker:
    """One process, started at the first question and again after each death."""

    def __init__(self, task: Task, seconds: float, memory: int) -> None:
        self._command = [
            sys.executable,
            "-P",  # nothing is imported from the folder that the user happens to be in
            "-c",
            "from indexing.media.decode import main; main()",
            json.dumps(task.to_json()),
            str(memory),
        ]
        self._seconds = seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._timed_out = False

    def ask(self, kind: Kind, data: bytes) -> Decoded | Unusable:
        """Decode a file.

        Raises:
            DecoderError: When the process does not start, twice: no file is to blame.
        """
        # A process may be gone before it is asked, and no file is to blame: what fails in time is tried once more.
        first = self._decode_once(kind, data)
        return first or self._decode_once(kind, data) or Unusable(f"decoding this {kind} ended its process")

    def _decode_once(self, kind: Kind, data: bytes) -> Decoded | Unusable | None:
        try:
            process = self._process = self._process or self._start_twice()
            self._timed_out = False
            with self._deadline(process):
                outcome = _exchange(process, kind, data)
            if self._timed_out:  # it was killed between its answer and the end of the clock
                self.stop()
            return outcome
        except (OSError, EOFError):
            self.stop()
            return Unusable(f"decoding this {kind} took over {self._seconds:g} s") if self._timed_out else None

    def _start_twice(self) -> subprocess.Popen[bytes]:
        for _ in range(2):
            with suppress(_NotStartedError):
                return self._start()
        raise DecoderError(
            f"a process that decodes files did not start within {START_SECONDS:g} s, twice: `{sys.executable} -c "
            f"'import indexing.media.decode'` says why, or decode without processes (workers=0)"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        # One thread each: the processes share the cores with the model.
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        waking = threading.Timer(START_SECONDS, process.kill)  # its start does not count as decoding
        waking.start()
        try:
            ready = process.stdout is not None and process.stdout.read(1) == READY
        finally:
            waking.cancel()
        if not ready:
            _end(process)
            raise _NotStartedError
        return process

    @contextmanager
    def _deadline(self, process: "subprocess.Popen[bytes]") -> Iterator[None]:
        before, ended = processor_seconds(process.pid), threading.Event()

        def watch() -> None:
            waited, left = 0.0, self._seconds
            while left > 0 and waited < CLOCK_FACTOR * self._seconds:
                if ended.wait(left):
                    return
                waited, now = waited + left, processor_seconds(process.pid)
                used = self._seconds if now is None or before is None else now - before
                left = max(self._seconds - used, self._seconds / 10) if used < self._seconds else 0.0
            self._timed_out = True
            process.kill()

        watching = threading.Thread(target=watch, name="decode-watch", daemon=True)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):  # what was not yet sent cannot be sent any more
                stream.close()


def processor_seconds(pid: int) -> float | None:
    """Return how long a process has computed; None where the system does not tell, as only Linux does."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _exchange(process: "subprocess.Popen[bytes]", kind: Kind, data: bytes) -> Decoded | Unusable:
    if process.stdin is None or process.stdout is None:
        raise EOFError
    process.stdin.write(REQUEST.pack(KINDS.index(kind), len(data)))
    process.stdin.write(data)
    process.stdin.flush()
    (length,) = HEADER.unpack(_read(process.stdout, HEADER.size))
    header = json.loads(_read(process.stdout, length))
    if "reason" in header:
        return Unusable(header["reason"])
    arrays = []
    for dtype, shape in header["shapes"]:
        array = np.empty(shape, dtype)
        if array.nbytes and process.stdout.readinto(array.data.cast("B")) != array.nbytes:  # type: ignore[attr-defined]
            raise EOFError
        arrays.append(array)
    return Decoded(arrays, header["labels"], header["described"])


def _read(stream: IO[bytes], length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError
    return data
