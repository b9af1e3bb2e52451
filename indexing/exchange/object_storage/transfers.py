"""Copies several files at once, with a progress bar in megabytes."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TypeVar

from indexing.errors import StorageError
from indexing.runtime.progress import progress

FILES_AT_ONCE = 4
MEGABYTE = 1_000_000

File = TypeVar("File")


def in_parallel(
    copy: Callable[[File, Callable[[int], None]], None],
    files: Sequence[File],
    label: str,
    num_bytes: int,
    *,
    shown: bool,
) -> None:
    """Copy files, some at a time; the first error ends it.

    Args:
        copy: Copies one file; it is given a function that it calls with so many bytes as are done.
        files: The files.
        label: Of the progress bar.
        num_bytes: Of all files.
        shown: Whether to show progress.
    """
    done, lock, stopped = 0, Lock(), Event()
    with progress(label, max(1, num_bytes // MEGABYTE), "MB", shown=shown) as display:

        def advance(count: int) -> None:
            nonlocal done
            if stopped.is_set():
                raise StorageError(f"{label} was stopped")
            with lock:
                done += count
            display.advance(to=done // MEGABYTE)

        pool = ThreadPoolExecutor(FILES_AT_ONCE, thread_name_prefix="transfer")
        try:
            finished, _ = wait([pool.submit(copy, file, advance) for file in files], return_when=FIRST_EXCEPTION)
            for future in finished:
                future.result()
        finally:  # also when it is interrupted
            stopped.set()
            pool.shutdown(cancel_futures=True)
