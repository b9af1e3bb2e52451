"""One writer at a time: a lock on a folder, held by the operating system."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from indexing import fsops
from indexing.errors import BundleLockedError


@contextmanager
def writing(folder: Path, *, wait: float = 0.0, name: str = "LOCK") -> Iterator[None]:
    """Hold the single-writer lock of a bundle folder.

    It is a lock of the operating system: it vanishes with the process, so a kill leaves nothing stale.

    Args:
        folder: Folder of the bundle.
        wait: Seconds to wait for a writer that is soon done; as long as it takes when negative.
        name: Of the lock.

    Raises:
        BundleLockedError: When another process, or another thread of this one, goes on holding it.
    """
    fsops.make_folder(folder)
    lock = FileLock(folder / name)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise BundleLockedError(
            f"another process is writing to {folder}; wait until it ends, or write to another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()
