"""What object storage has to do, and how a place there is named without secrets."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from indexing.errors import CommonspaceError, MissingObjectError, StorageError
from indexing.runtime.safe_text import visible

CHUNK = 1 << 20
AZURE = ("abfs", "abfss")
"""Schemes whose URLs name a container before the @, where others have a user and a password."""

_USER = re.compile(r"//[^/@\s]*:[^/@\s]*@")
_QUERY = re.compile(r"\?[^\s'\")]*")
MAX_REASON = 300  # characters of what storage says


@dataclass(frozen=True)
class ObjectInfo:
    """An object as it is listed.

    Attributes:
        name: Its name, from the place that was opened.
        size: Bytes.
        modified: When it was written, by the clock of the storage; None where that is not said.
    """

    name: str
    size: int
    modified: datetime | None = None


class ReadableObjects(Protocol):
    """A place in object storage that can be read.

    Attributes:
        url: Where it is, without secrets.
    """

    url: str

    def find(self, prefix: str) -> list[ObjectInfo]:
        """Return the objects whose names begin with a prefix and a slash; none where there are none."""
        ...

    def chunks(self, name: str) -> Iterator[bytes]:
        """Give the content of an object, piece by piece.

        Raises:
            MissingObjectError: When it is not there.
            StorageError: When it cannot be read.
        """
        ...


class WritableObjects(ReadableObjects, Protocol):
    """A place in object storage that can be written to too."""

    def upload(self, name: str, path: Path) -> None:
        """Write a file as an object: whole, or not at all."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Write a small object if there is none of its name, and say whether this was done: put-if-absent."""
        ...

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects; those that are gone already are fine."""
        ...


def read_object(objects: ReadableObjects, name: str, max_bytes: int) -> bytes:
    """Return the content of a small object.

    Raises:
        StorageError: When it cannot be read, or is larger.
    """
    data = bytearray()
    for chunk in objects.chunks(name):
        data += chunk
        if len(data) > max_bytes:
            raise StorageError(f"{objects.url}/{name} is over {max_bytes} bytes, which no version of it ever was")
    return bytes(data)


_CREDENTIALS = (
    "are the keys in the environment right (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of S3), and may they do this?"
)
_HINTS = {  # by the codes of S3, which other storages share
    "NoSuchBucket": "there is no such bucket; make it first, or name another",
    "ContainerNotFound": "there is no such container; make it first, or name another",
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AuthenticationFailed"),
        _CREDENTIALS,
    ),
}


@contextmanager
def storage_errors(url: str, name: str = "") -> Iterator[None]:
    """Turn whatever storage raises into errors of this project, without secrets."""
    try:
        yield
    except CommonspaceError:
        raise
    except Exception as error:  # each kind of storage raises its own
        for code, hint in _HINTS.items():
            if code in str(error):
                raise StorageError(f"{url} cannot be used ({code}): {hint}") from None
        if isinstance(error, FileNotFoundError):
            raise MissingObjectError(f"{url}/{name} is not there") from error
        reason = without_url_secrets((str(error).strip() or type(error).__name__).splitlines()[0])[:MAX_REASON]
        raise StorageError(f"{url} cannot be used ({type(error).__name__}: {reason})") from None


def without_url_secrets(text: str) -> str:
    """Leave users, passwords and queries of URLs out of a text.

    >>> without_url_secrets("GET https://ann:secret@host/shop?sig=abc failed")
    'GET https://host/shop failed'
    """
    return visible(_QUERY.sub("", _USER.sub("//", text)))


def shown_url(url: str) -> str:
    """Return a URL as it may be shown and kept.

    >>> shown_url("s3://key:secret@shop/bundle/?x=1"), shown_url("abfs://container@account.dfs.core.windows.net/shop")
    ('s3://shop/bundle', 'abfs://container@account.dfs.core.windows.net/shop')
    """
    parts = urlsplit(url)
    host = parts.netloc if parts.scheme in AZURE else parts.netloc.rpartition("@")[2]
    return without_url_secrets(f"{parts.scheme}://{host}{parts.path.rstrip('/')}")
