"""What every reader gives: record batches, as often as asked, from a path or behind a URL."""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from indexing.errors import CatalogueError, CommonspaceError, MissingExtraError
from indexing.media.files import no_file
from indexing.runtime.arguments import check_path

_OBSTORE_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "adl", "abfs", "abfss")


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
        try:
            with self._opened(mode) as file:
                yield file
        except (CommonspaceError, pa.ArrowException):
            raise
        except ImportError as error:
            raise MissingExtraError(f"{self} cannot be read: {error}") from error
        except Exception as error:  # each kind of storage raises its own
            reason = self._hidden((str(error).splitlines() or [""])[0])
            raise CatalogueError(f"{self} cannot be read: {type(error).__name__}: {reason}") from error

    def _opened(self, mode: str) -> IO[bytes]:
        """Open the file by the package that fsspec asks for, or else by obstore where that knows the storage too."""
        import fsspec  # type: ignore[import-untyped]

        try:
            opened: IO[bytes] = fsspec.open(self.url, mode)
        except ImportError as error:
            scheme = urlsplit(self.url).scheme
            if scheme not in _OBSTORE_SCHEMES:
                raise
            try:
                obstore: Any = importlib.import_module("obstore.fsspec")
            except ImportError:
                raise ImportError(f'{error}, or pip install ".[cloud]" in a clone') from error
            files = obstore.FsspecStore(scheme, skip_instance_cache=True)
            files.info(self.url)  # says what is wrong; opening would leave a file behind that cannot be closed
            opened = files.open(self.url, mode)
        return opened

    def _hidden(self, text: str) -> str:
        parts = urlsplit(self.url)
        for secret in filter(None, (parts.query, parts.password)):
            text = text.replace(secret, "…")
        return text

    def read_bytes(self) -> bytes:
        """Return all of the file."""
        with self.open() as file:
            return file.read()


def is_url(source: str) -> bool:
    """Whether a source is named by a URL.

    >>> is_url("s3://shop/items.parquet"), is_url("shop/items.parquet")
    (True, False)
    """
    return "://" in source


def check_allowed(source: object, allowed: bool) -> None:
    """Check that whoever asks has allowed URLs.

    Raises:
        CatalogueError: When not.
    """
    if not allowed:
        raise CatalogueError(
            f"{source} is a URL, and URLs are not fetched unless you say so",
            python="pass allow_urls=True",
            cli="add --allow-urls",
        )


def remote(url: str, allowed: bool) -> Remote:
    """Return the file behind a URL, if whoever asks has allowed that.

    Raises:
        CatalogueError: When URLs are not allowed, or this one is a chain of several.
    """
    file = Remote(url)
    check_allowed(file, allowed)
    if "::" in url:
        raise CatalogueError(f"{file} is a chain of URLs, which may write files elsewhere; give a single URL")
    return file


@dataclass
class ReadingNotes:
    """What a reader decided about a source, for its user to know.

    Attributes:
        read_as: How the source is read where that had to be found out, as "separated by ';'".
        as_text: Why a column of values of several kinds is text, by its name.
        left_out: Why a column could not be read, by its name.
    """

    read_as: list[str] = field(default_factory=list)
    as_text: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


class Reader(Protocol):
    """A source of rows.

    Attributes:
        name: For messages.
        schema: Columns and their types.
        left_out: How many files are no rows and were not looked at, by what they are.
        notes: What was decided on the way.
    """

    name: str
    schema: pa.Schema
    left_out: Mapping[str, int]
    notes: ReadingNotes

    @property
    def malformed(self) -> Mapping[int, str]:
        """Rows that could not even be read, by row number, with the reason."""
        ...

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all readable rows in order, at most ``size`` rows at a time."""
        ...


class TableReader:
    """A source that fits in memory because it holds no pictures: CSV, JSONL, a folder's listing.

    Args:
        name: For messages.
        table: The readable rows.
        malformed: Row numbers and reasons of the others.
        left_out: Files that were not looked at, by what they are.
        notes: What was decided on the way.

    Raises:
        CatalogueError: When there is no row at all.
    """

    def __init__(
        self,
        name: str,
        table: pa.Table,
        malformed: Mapping[int, str] | None = None,
        left_out: Mapping[str, int] | None = None,
        notes: ReadingNotes | None = None,
    ) -> None:
        self.name, self.schema, self.notes = name, table.schema, notes or ReadingNotes()
        self.malformed: Mapping[int, str] = dict(malformed or {})
        self.left_out: Mapping[str, int] = dict(left_out or {})
        if not len(table) and not self.malformed:
            raise CatalogueError(f"{name} has no rows: there is nothing to index")
        self._table = table

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all rows; see `Reader`."""
        for start in range(0, len(self._table), size):
            part = self._table.slice(start, size).select(list(columns)).combine_chunks()
            yield from part.to_batches()


def file_of(path: Path | str | Remote) -> Path | Remote:
    """Return a path as such after checking that there is a file; one behind a URL is not looked for yet.

    Raises:
        CatalogueError: When there is none.
    """
    if isinstance(path, Remote):
        return path
    path = check_path(path)
    if problem := no_file(path):
        raise CatalogueError(problem)
    if path.is_dir():
        raise CatalogueError(f"{path} is no file; give a .parquet, .csv or .jsonl file, or a folder of pictures")
    return path
