"""Reading a file that anyone may have sent, given by its bytes or its path."""

from pathlib import Path


class UnusableFile(Exception):  # noqa: N818 - a verdict on one row, handled by who reads rows; never an end
    """A file that cannot be used, with the reason."""


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
        raise unusable(f"{what} file cannot be read: {error.strerror or error}") from error
    if not data:
        raise unusable(f"{what} file is empty")
    return data
