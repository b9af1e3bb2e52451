"""Types of media files, and safe reading of a file of unknown origin, by its bytes or its path."""

import errno
import stat
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from indexing.media.remote_files import RemoteFile
from indexing.runtime.safe_text import without_secrets

FileSource: TypeAlias = bytes | Path | RemoteFile


class Modality(StrEnum):
    """What an embedding was made from."""

    TEXT = "text"
    IMAGE = "image"
    AUDIO = "audio"


class Kind(StrEnum):
    """What a file is."""

    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"

    @property
    def modality(self) -> Modality:
        """The modality of its embeddings: the frames of a film are pictures."""
        return Modality.AUDIO if self is Kind.AUDIO else Modality.IMAGE


_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


class UnusableFile(Exception):  # noqa: N818 - a verdict on one row, handled by who reads rows; never an end
    """A file that cannot be used, with the reason."""


def unreadable(label: str, error: OSError, source: FileSource | str = b"") -> str:
    """Say why a file cannot be read: that it is missing, or what the system says, and which file it is.

    >>> unreadable("image", FileNotFoundError(2, "No such file"), "mugs/a.png")
    'image file is missing: mugs/a.png'
    """
    name = f": {source}" if source and not isinstance(source, bytes) else ""
    if isinstance(error, FileNotFoundError):
        return f"{label} file is missing{name}"
    return f"{label} file cannot be read: {error.strerror or error}{name}"


def no_file(path: Path | str, most_bytes: int | None = None) -> str | None:
    """Say why a path is not to be opened: there is nothing, or something that may never end, or too much.

    Args:
        path: What a user named; a folder is fine.
        most_bytes: The size that a file may have.

    >>> no_file("mugs/none.parquet"), no_file("/dev/null")
    ('mugs/none.parquet: there is no such file', '/dev/null cannot be read: it is a device; give a regular file')
    """
    try:
        size = 0 if Path(path).is_dir() else size_of(Path(path))
    except FileNotFoundError:
        return f"{without_secrets(str(path))}: there is no such file"
    except OSError as error:
        return f"{without_secrets(str(path))} cannot be read: {error.strerror or error}"
    too_large = most_bytes is not None and size > most_bytes
    return f"{path} of {size} bytes is over the limit of {most_bytes}" if too_large else None


def size_of(source: bytes | Path) -> int:
    """Return the size of a file without opening it: a pipe may keep whoever opens it waiting, a device never ends.

    Raises:
        OSError: When it is missing or no regular file.
    """
    if isinstance(source, bytes):
        return len(source)
    try:
        stat_ = source.stat()
    except ValueError as error:  # a zero character
        raise OSError(errno.EINVAL, str(error), str(source)) from error
    if stat.S_ISREG(stat_.st_mode):
        return stat_.st_size
    kind = next((name for is_kind, name in _KINDS.items() if is_kind(stat_.st_mode)), "no file")
    raise OSError(errno.EINVAL, f"it is {kind}; give a regular file", str(source))


def with_name(reason: str, name: str) -> str:
    """Return a reason with the file that it is about, if that has a name.

    >>> with_name("image file is empty", "mugs/a.png"), with_name("image file is empty", "")
    ('image file is empty: mugs/a.png', 'image file is empty')
    """
    return f"{reason}: {name}" if name else reason


def read_file(source: FileSource, most_bytes: int, label: str, unusable: type[UnusableFile]) -> bytes:
    """Return the bytes of a file.

    Args:
        source: Its bytes, its path, or where it is behind a URL.
        most_bytes: The size that it may have; a larger one is not read.
        label: What it is, for the reason.
        unusable: What is raised.

    Raises:
        UnusableFile: When the file is missing, no regular file, unreadable, empty or too large.
    """
    try:
        if isinstance(source, RemoteFile):
            size, source = source.read_within(most_bytes)
        else:
            size = size_of(source)
        if size > most_bytes:
            raise unusable(f"{label} file of {size} bytes is over the limit of {most_bytes}")
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise unusable(unreadable(label, error, source)) from error
    if not data:
        raise unusable(f"{label} file is empty")
    return data
