"""Tables behind URLs, read through fsspec: only for those who ask for it, and never a picture."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO
from urllib.parse import urlsplit

import pyarrow as pa

from indexing.errors import CatalogueError, CommonspaceError, MissingExtraError


@dataclass(frozen=True)
class Remote:
    """A file behind a URL; its name is the URL without password and query, which may hold secrets."""

    url: str

    def __str__(self) -> str:
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def suffix(self) -> str:
        """End of the file's name, as of a path."""
        return PurePosixPath(str(self)).suffix

    @contextmanager
    def open(self, mode: str = "rb") -> Iterator[IO[bytes]]:
        """Open the file to read it, wherever it is.

        Raises:
            CatalogueError: When it cannot be read.
            MissingExtraError: When a package for this kind of URL is missing.
        """
        import fsspec  # type: ignore[import-untyped]

        try:
            with fsspec.open(self.url, mode) as file:
                yield file
        except (CommonspaceError, pa.ArrowException):
            raise
        except ImportError as error:
            raise MissingExtraError(f"{self} cannot be read: {error}") from error
        except Exception as error:  # each kind of storage raises its own
            raise CatalogueError(
                f"{self} cannot be read: {type(error).__name__}: {self._hidden(str(error))}"
            ) from error

    def _hidden(self, text: str) -> str:
        parts = urlsplit(self.url)
        for secret in filter(None, (parts.query, parts.password)):
            text = text.replace(secret, "…")
        return text

    def read_bytes(self) -> bytes:
        """Give all of the file."""
        with self.open() as file:
            return file.read()


def is_url(source: str) -> bool:
    """Whether a source is named by a URL.

    >>> is_url("s3://shop/items.parquet"), is_url("shop/items.parquet")
    (True, False)
    """
    return "://" in source


def remote(url: str, allowed: bool) -> Remote:
    """Give the file behind a URL, if whoever asks has allowed that.

    Raises:
        CatalogueError: When URLs are not allowed, or this one is a chain of several.
    """
    file = Remote(url)
    if not allowed:
        raise CatalogueError(
            f"{file} is a URL, and URLs are not fetched unless you say so",
            python="pass allow_urls=True",
            cli="add --allow-urls",
        )
    if "::" in url:
        raise CatalogueError(f"{file} is a chain of URLs, which may write files elsewhere; give a single URL")
    return file
