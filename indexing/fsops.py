"""The only module that writes to disk: whole files, flushed, then renamed into place.

Nothing is ever visible half written: a file appears under its name complete, or not at all. Keeping every write
here also gives tests one place in which each operation can be made to fail.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from indexing.errors import BundleLockedError

TEMPORARY_SUFFIX = ".tmp"


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file: temporary name, fsync, rename, fsync of the folder."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a rename is not, until its folder is flushed)."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents; one that exists is fine."""
    folder.mkdir(parents=True, exist_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give an immutable file a second name, without copying its bytes where the file system allows."""
    try:
        os.link(source, target)
        fsync_folder(target.parent)
    except OSError:
        write_bytes(target, source.read_bytes())


def rename_folder(source: Path, target: Path) -> None:
    """Move a finished folder into place."""
    fsync_folder(source)
    os.replace(source, target)
    fsync_folder(target.parent)


def remove(path: Path) -> None:
    """Delete a file or a whole folder; one that is gone already is fine."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(folder: Path, *, wait: float = 0.0, name: str = "LOCK") -> Iterator[None]:
    """Hold the single-writer lock of a bundle folder.

    It is a lock of the operating system: it vanishes with the process, so a kill leaves nothing stale.

    Args:
        folder: Folder of the bundle.
        wait: Seconds to wait for a writer that is soon done.
        name: Of the lock.

    Raises:
        BundleLockedError: When another process, or another thread of this one, goes on holding it.
    """
    make_folder(folder)
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
