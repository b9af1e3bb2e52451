"""The only module that writes to disk: whole files, flushed, then renamed into place.

Nothing is ever visible half written: a file appears under its name complete, or not at all; only `append` grows a
file in place, for logs whose reader drops a torn tail. Every function is made of the operations of `Disk`, so that
tests can make each of them fail, or let the power go, at any moment.
"""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexing.errors import DamagedFileError

TEMPORARY_SUFFIX = ".tmp"
CHUNK = 1 << 20


class Disk:
    """The operations themselves, each one call to the operating system."""

    def create(self, path: Path) -> int:
        """Open an empty file for writing, and return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)

    def open(self, path: Path, create: bool) -> int:
        """Open a file for writing at its end, and return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o666)

    def write(self, descriptor: int, data: bytes | memoryview) -> None:
        """Write all of the data; one call of the system may take less, at most 2 GiB."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file to its first bytes."""
        os.ftruncate(descriptor, size)

    def fsync(self, descriptor: int) -> None:
        """Make the bytes of a file durable."""
        os.fsync(descriptor)

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file or folder."""
        os.replace(source, target)

    def link(self, source: Path, target: Path) -> None:
        """Return a file a second name."""
        os.link(source, target)

    def unlink(self, path: Path) -> None:
        """Remove the name of a file."""
        path.unlink()

    def mkdir(self, path: Path) -> None:
        """Create one folder; one that exists is fine."""
        path.mkdir(exist_ok=True)

    def rmdir(self, path: Path) -> None:
        """Remove an empty folder."""
        path.rmdir()

    def fsync_folder(self, folder: Path) -> None:
        """Make the names in a folder durable."""
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


disk = Disk()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file: temporary name, fsync, rename, fsync of the folder."""
    with _new_file(path) as descriptor:
        disk.write(descriptor, data)


def create_bytes(path: Path, data: bytes) -> bool:
    """Write a whole file, and say whether this was done: not where there is one of that name, whoever was first.

    Raises:
        OSError: When the file system has no hard links, which alone make a whole file appear under a name that is free.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")
    write_bytes(temporary, data)
    try:
        disk.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        with suppress(OSError):
            disk.unlink(temporary)
    disk.fsync_folder(path.parent)
    return True


def write_stream(
    path: Path, produce: Callable[[Callable[[bytes | memoryview], None]], None], sha256: str | None = None
) -> str:
    """Write a whole file as `write_bytes` does, from pieces, without ever holding all of it.

    Args:
        path: The file.
        produce: Is given a function, and calls it with one piece of the content after another.
        sha256: What the content must have, if that is known.

    Returns:
        The hexadecimal sha256 of what was written.

    Raises:
        DamagedFileError: When it has another; there is no file then.
    """
    digest, buffer = hashlib.sha256(), bytearray()
    with _new_file(path) as descriptor:

        def write(chunk: bytes | memoryview) -> None:
            digest.update(chunk)
            buffer.extend(chunk)
            if len(buffer) >= CHUNK:
                disk.write(descriptor, bytes(buffer))
                buffer.clear()

        produce(write)
        if sha256 not in (None, digest.hexdigest()):
            raise DamagedFileError(f"what was to be {path.name} has another sha256 than was recorded")
        disk.write(descriptor, bytes(buffer))
    return digest.hexdigest()


@contextmanager
def _new_file(path: Path) -> Iterator[int]:
    """Return the descriptor of a new file, which takes its name when the block ends without an error."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    descriptor = disk.create(temporary)
    try:
        try:
            with _named(path, descriptor):
                yield descriptor
                disk.fsync(descriptor)
        finally:
            disk.close(descriptor)
        disk.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            disk.unlink(temporary)
        raise
    disk.fsync_folder(path.parent)


@contextmanager
def _named(path: Path, descriptor: int) -> Iterator[None]:
    """Name the file in an error of writing to its descriptor, and how much of it there was room for."""
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise
        written, free = os.fstat(descriptor).st_size, shutil.disk_usage(path.parent).free
        message = f"{error.strerror} after {written} bytes of this file; {free} bytes are free there"
        raise OSError(error.errno, message, str(path)) from error


def require_space(folder: Path, needed: int) -> None:
    """Check that as many bytes are free where a folder is as will be written at least.

    Raises:
        OSError: When they are not.
    """
    if (free := shutil.disk_usage(folder).free) < needed:
        message = f"{os.strerror(errno.ENOSPC)}: about {needed} bytes are needed there, {free} are free"
        raise OSError(errno.ENOSPC, message, str(folder))


def append(path: Path, data: bytes) -> None:
    """Add bytes to the end of a file, which is created when missing; they are durable when this returns.

    When it fails, the file is cut back to its old length if that is still possible. A kill can leave a part of the
    bytes: a reader must recognise such a tail, and `truncate` it before anything else is appended.
    """
    descriptor = disk.open(path, create=True)
    try:
        length = os.fstat(descriptor).st_size
        if length == 0:  # also when a killed process created it: its name may not be durable yet
            disk.fsync_folder(path.parent)
        try:
            with _named(path, descriptor):
                disk.write(descriptor, data)
                disk.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                disk.truncate(descriptor, length)
            raise
    finally:
        disk.close(descriptor)


def truncate(path: Path, size: int) -> None:
    """Cut a file to its first bytes, durably."""
    descriptor = disk.open(path, create=False)
    try:
        disk.truncate(descriptor, size)
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)


def fsync_file(path: Path) -> None:
    """Make a file durable that something else has written."""
    descriptor = disk.open(path, create=False)
    try:
        disk.fsync(descriptor)
    finally:
        disk.close(descriptor)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable (a rename is not, until its folder is flushed)."""
    disk.fsync_folder(folder)


def make_folder(folder: Path) -> None:
    """Create a folder and its parents, durably; one that exists is fine."""
    if folder.is_dir():
        with suppress(PermissionError):  # a killed process may have made it and not come to this
            disk.fsync_folder(folder.parent)
        return
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder_ in reversed(missing):
        disk.mkdir(folder_)
        disk.fsync_folder(folder_.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """Return an immutable file a second name, without copying its bytes where the file system allows."""
    try:
        disk.link(source, target)
        disk.fsync_folder(target.parent)
    except OSError:
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with source.open("rb") as file, _new_file(target) as descriptor:
        while chunk := file.read(CHUNK):
            disk.write(descriptor, chunk)


def rename_folder(source: Path, target: Path) -> None:
    """Move a finished folder, whose files are durable, into place."""
    for folder, _, _ in os.walk(source, topdown=False):
        disk.fsync_folder(Path(folder))
    disk.replace(source, target)
    for parent in {target.parent, source.parent}:
        disk.fsync_folder(parent)


def remove(path: Path) -> None:
    """Delete a file, or as much of a folder as can be; one that is gone already is fine."""
    if not path.is_dir() or path.is_symlink():
        with suppress(FileNotFoundError):
            disk.unlink(path)
        return
    for folder, _, files in os.walk(path, topdown=False):
        for name in files:
            with suppress(OSError):
                disk.unlink(Path(folder, name))
        with suppress(OSError):
            disk.rmdir(Path(folder))


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
