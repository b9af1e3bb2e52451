"""What every reader gives: record batches, as often as asked, from a path or behind a URL."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from indexing.errors import CatalogueError
from indexing.media.files import no_file
from indexing.media.remote_files import RemoteFile
from indexing.runtime.arguments import check_path


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


def file_of(path: Path | str | RemoteFile) -> Path | RemoteFile:
    """Return a path as such after checking that there is a file; one behind a URL is not looked for yet.

    Raises:
        CatalogueError: When there is none.
    """
    if isinstance(path, RemoteFile):
        return path
    path = check_path(path)
    if problem := no_file(path):
        raise CatalogueError(problem)
    if path.is_dir():
        raise CatalogueError(f"{path} is no file; give a .parquet, .csv or .jsonl file, or a folder of pictures")
    return path
