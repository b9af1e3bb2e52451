"""Who reads a generation holds a shared lock of the operating system on it, so that nobody collects it meanwhile."""

import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from indexing.errors import DamagedFileError

try:
    import fcntl
except ImportError:  # Windows has no shared locks of this kind; there the newest generations are kept, read or not
    fcntl = None  # type: ignore[assignment]


def reading(reader: object, path: Path) -> None:
    """Hold a shared lock on a file for as long as an object lives; a lock vanishes with its process.

    Where the file system has no such locks, nothing is held.

    Raises:
        DamagedFileError: When the file is gone, or was collected before it could be locked.
    """
    if fcntl is None:
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DamagedFileError(f"{path} cannot be read ({error.strerror or error})") from error
    weakref.finalize(reader, os.close, descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
    except OSError:
        return
    if not path.exists() or not os.path.samestat(os.fstat(descriptor), path.stat()):
        raise DamagedFileError(f"{path} was collected while it was opened; open the bundle again")


@contextmanager
def unread(path: Path) -> Iterator[bool]:
    """Say whether nobody, in this process or another, holds a file by `reading`, and let nobody begin meanwhile."""
    if fcntl is None or not path.exists():
        yield True
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except OSError:  # somebody reads, or the file system cannot say: then it is kept
            free = False
        yield free
    finally:
        os.close(descriptor)
