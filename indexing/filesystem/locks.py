"""Locks of the operating system on a bundle: one writer at a time, and no deletion while somebody reads.

They vanish with the process, so that a kill leaves nothing stale.
"""

import errno
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from indexing.errors import BundleError, BundleLockedError, DamagedFileError
from indexing.filesystem import fsops

try:
    import fcntl
except ImportError:  # Windows has no shared locks of this kind; there the newest generations are kept, read or not
    fcntl = None  # type: ignore[assignment]


def hold_read_lock(reader: object, path: Path) -> None:
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
def is_unread(path: Path) -> Iterator[bool]:
    """Say whether no process holds a file by `hold_read_lock`, and keep others from doing so within the block."""
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


MOUNTS = Path("/proc/self/mounts")
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}


@contextmanager
def write_lock(folder: Path, *, wait: float = 0.0, name: str = "LOCK", activity: str = "writing to") -> Iterator[None]:
    """Hold the single-writer lock of a bundle folder.

    It is a lock of the operating system: it vanishes with the process, so a kill leaves nothing stale, and a copy of
    the file LOCK locks nothing. Where the file system has none nothing is written: a file that says "locked" would
    stay behind a killed process for ever.

    Args:
        folder: Folder of the bundle.
        wait: Seconds to wait for a writer that is soon done; as long as it takes when negative.
        name: Of the lock.
        activity: What whoever holds it does.

    Raises:
        BundleLockedError: When another process, or another thread of this one, holds it for too long.
        BundleError: When the file system has no locks.
    """
    fsops.make_folder(folder)
    lock = FileLock(folder / name, fallback_to_soft=False)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise BundleLockedError(
            f"another process is {activity} {folder}; wait until it ends, or write to another folder"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise BundleError(
            f"{folder} cannot be written to: its file system ({_describe_file_system(folder)}) has no locks "
            f"({error.strerror}), so that two writers could not be kept apart; move the bundle to another, as a local "
            "disk, change it there, and copy it back"
        ) from error
    try:
        yield
    finally:
        lock.release()


def take_lock(path: Path) -> int | None:
    """Take a lock that a child process may inherit, and return its descriptor; None while another holds it.

    It is held until the descriptor is closed here and in every process that has inherited it.

    Raises:
        BundleError: When the file system, or the operating system, has no such locks.
    """
    if fcntl is None:
        raise BundleError(f"{path} cannot be locked: this operating system has no locks that a process hands on")
    fsops.make_folder(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise BundleError(f"{path} cannot be locked ({error.strerror}); move the bundle to a local disk") from error
    return descriptor


def is_taken(path: Path) -> bool:
    """Say whether some process holds what `take_lock` gave."""
    if fcntl is None or not path.exists():
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _describe_file_system(folder: Path) -> str:
    """Name the file system that a folder is on, as ``"nfs4 at /mnt/share"``; its path where that cannot be told."""
    try:
        mounts = [line.split(" ") for line in MOUNTS.read_text().splitlines()]
    except OSError:
        return str(folder.absolute())
    path = folder.resolve()
    mounted = [(Path(mount[1].replace("\\040", " ")), mount[2]) for mount in mounts if len(mount) > 2]
    containing = [
        (len(mount_point.parts), kind, mount_point) for mount_point, kind in mounted if path.is_relative_to(mount_point)
    ]
    if not containing:
        return str(path)
    _, kind, mount_point = max(containing, key=lambda entry: entry[0])
    return f"{kind} at {mount_point}"
