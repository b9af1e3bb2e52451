"""Who reads a generation holds a shared lock of the operating system on it, so that nobody collects it meanwhile."""

import os
import weakref
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no shared locks of this kind; there the newest generations are kept, read or not
    fcntl = None  # type: ignore[assignment]


def reading(reader: object, path: Path) -> None:
    """Hold a shared lock on a file for as long as an object lives; a lock vanishes with its process."""
    if fcntl is None:
        return
    descriptor = os.open(path, os.O_RDONLY)
    weakref.finalize(reader, os.close, descriptor)
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def is_read(path: Path) -> bool:
    """Whether anybody, in this process or another, holds a file by `reading`."""
    if fcntl is None or not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
