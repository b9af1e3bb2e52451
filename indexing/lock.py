"""One writer at a time: a lock on a folder, held by the operating system."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from indexing import fsops
from indexing.errors import BundleLockedError


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the single-writer lock of a bundle folder.

    It is a lock of the operating system: it vanishes with the process, so a kill leaves nothing stale.

    Raises:
        BundleLockedError: At once, when another process holds it.
    """
    fsops.make_folder(folder)
    lock = FileLock(folder / "LOCK")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise BundleLockedError(
            f"another process is writing to {folder}; wait until it ends, or write to another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
