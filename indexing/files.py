"""Reading a file that anyone may have sent, given by its bytes or its path."""

from pathlib import Path


class UnusableFile(Exception):  # noqa: N818 - a verdict on one row, handled by who reads rows; never an end
    """A file that cannot be used, with the reason."""


def unreadable(what: str, error: OSError, source: bytes | Path | str = b"") -> str:
    """Say why a file cannot be read: that it is missing, or what the system says, and which file it is.

    >>> unreadable("image", FileNotFoundError(2, "No such file"), "mugs/a.png")
    'image file is missing: mugs/a.png'
    """
    name = f": {source}" if source and not isinstance(source, bytes) else ""
    if isinstance(error, FileNotFoundError):
        return f"{what} file is missing{name}"
    return f"{what} file cannot be read: {error.strerror or error}{name}"


def no_file(path: Path | str) -> str | None:
    """Say that there is no such file, if there is none.

    >>> no_file("mugs/none.parquet")
    'mugs/none.parquet: there is no such file'
    """
    return None if Path(path).exists() else f"{path}: there is no such file"


def named(reason: str, name: str) -> str:
    """Give a reason with the file that it is about, if that has a name.

    >>> named("image file is empty", "mugs/a.png"), named("image file is empty", "")
    ('image file is empty: mugs/a.png', 'image file is empty')
    """
    return f"{reason}: {name}" if name else reason


def read_file(source: bytes | Path, most_bytes: int, what: str, unusable: type[UnusableFile]) -> bytes:
    """Give the bytes of a file.

    Args:
        source: Its bytes, or its path.
        most_bytes: The size that it may have; a larger one is not read.
        what: What it is, for the reason.
        unusable: What is raised.

    Raises:
        UnusableFile: When the file is missing, unreadable, empty or too large.
    """
    try:
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        if size > most_bytes:
            raise unusable(f"{what} file of {size} bytes is over the limit of {most_bytes}")
        data = source if isinstance(source, bytes) else source.read_bytes()
    except OSError as error:
        raise unusable(unreadable(what, error, source)) from error
    if not data:
        raise unusable(f"{what} file is empty")
    return data
