"""Tables that are read a piece at a time, from any line on: Parquet files, or what a program has in memory."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Vectors
from indexing.catalogue.arrow_values import replace_bad_bytes
from indexing.catalogue.attribute_types import is_number, is_text
from indexing.catalogue.readers.arrow_tables import arrow_table, is_table
from indexing.catalogue.readers.parquet import BUFFER, plain
from indexing.errors import InputError
from indexing.media.files import no_file


class Tables(Protocol):
    """A long table that is read from some line on."""

    schema: pa.Schema

    def __len__(self) -> int:
        """Count the lines."""
        ...

    def identity(self) -> dict[str, Any]:
        """Say as JSON what tells this table from another."""
        ...

    def pieces(self, columns: Sequence[str], start: int, size: int) -> Iterator[pa.Table]:
        """Give some columns from a line on, exactly so many lines at once, fewer only at the end."""
        ...


class ParquetFiles:
    """One Parquet file, or all those in a folder and those below, by name; names with ``_`` or ``.`` are left out.

    Raises:
        InputError: When there are none, or one cannot be read or has other columns than the first.
    """

    def __init__(self, path: Path | str) -> None:
        self.root = Path(path)
        if missing := no_file(path):
            raise InputError(missing)
        self._paths = [self.root] if not self.root.is_dir() else sorted(filter(self._is_table, self.root.rglob("*")))
        if not self._paths:
            raise InputError(f"{path} is a folder without .parquet files")
        self._groups: list[list[int]] = []
        for each in self._paths:
            if problem := no_file(each):
                raise InputError(problem)
            try:
                metadata = pq.read_metadata(each)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{each} is not a Parquet file: {error}") from error
            self._groups.append([metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)])
            schema = metadata.schema.to_arrow_schema().remove_metadata()
            if each == self._paths[0]:
                self.schema = schema
            elif schema != self.schema:
                raise InputError(f"{each} has other columns than {self._paths[0]}: {schema} against {self.schema}")

    def _is_table(self, path: Path) -> bool:
        inside = path.relative_to(self.root).parts
        return path.suffix in (".parquet", ".pq") and not any(part[0] in "_." for part in inside)

    def __len__(self) -> int:
        return sum(map(sum, self._groups))

    def identity(self) -> dict[str, Any]:
        """Name every file with its size and the time of its last change."""
        return {"files": [file_identity(path, self.root) for path in self._paths]}

    def pieces(self, columns: Sequence[str], start: int, size: int) -> Iterator[pa.Table]:
        """Give some columns from a line on; see `Tables`. Of what comes before not even the files are opened."""
        return rechunked(self._batches(columns, start, size), size)

    def _batches(self, columns: Sequence[str], start: int, size: int) -> Iterator[pa.RecordBatch]:
        for path, groups in zip(self._paths, self._groups, strict=True):
            if start >= sum(groups):
                start -= sum(groups)
                continue
            first = 0
            while start >= groups[first]:
                start -= groups[first]
                first += 1
            wanted = range(first, len(groups))
            try:
                # Without a buffer size a whole column of a row group is read at once, however large it is.
                with pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
                    for batch in file.iter_batches(size, row_groups=list(wanted), columns=list(columns)):
                        skipped = min(start, len(batch))
                        start -= skipped
                        yield batch.slice(skipped)
            except (pa.ArrowException, OSError) as error:
                raise InputError(f"{path} is damaged or has changed: {error}") from error


class TableFile:
    """One file that is no Parquet, read whole.

    Args:
        path: Where it is.
        table: What it holds.
    """

    def __init__(self, path: Path, table: pa.Table) -> None:
        self._path, self._table = path, table
        self.schema: pa.Schema = table.schema

    def __len__(self) -> int:
        return len(self._table)

    def identity(self) -> dict[str, Any]:
        """Name the file with its size and the time of its last change."""
        return {"files": [file_identity(self._path, self._path)]}

    def pieces(self, columns: Sequence[str], start: int, size: int) -> Iterator[pa.Table]:
        """Give some columns from a line on; see `Tables`."""
        return rechunked(self._table.select(list(columns)).slice(start).to_batches(), size)


class MemoryTables:
    """Record batches that a program hands over, each once; or a table, of Arrow, pandas or polars.

    Raises:
        InputError: When there is not one.
    """

    def __init__(self, given: pa.Table | Iterable[pa.RecordBatch]) -> None:
        if is_table(given) and not isinstance(given, pa.Table | pa.RecordBatchReader):
            given = arrow_table(given, "the table of users")
        if isinstance(given, pa.Table):
            given = given.to_batches() or [pa.RecordBatch.from_pylist([], schema=given.schema)]
        batches = iter(given)
        first = next(batches, None)
        if first is None:
            raise InputError("there is no record batch; give at least one, which may be empty, for its columns")
        self.schema = first.schema
        self._batches = chain([first], batches)

    def __len__(self) -> int:
        raise TypeError("the number of rows of a stream is unknown")

    def identity(self) -> dict[str, Any]:
        """Raise: batches in memory cannot be read again, so a job of them cannot be continued."""
        raise InputError("a job that can be continued reads files; write the users to Parquet first")

    def pieces(self, columns: Sequence[str], start: int, size: int) -> Iterator[pa.Table]:
        """Give some columns from a line on; see `Tables`."""
        selected = (batch.select(list(columns)) for batch in self._batches)
        for piece in rechunked(selected, size):
            yield piece.slice(min(start, len(piece)))
            start = max(0, start - len(piece))


def file_identity(path: Path, root: Path) -> dict[str, Any]:
    """Tell a file from others without reading it, wherever its folder is."""
    found = path.stat()
    name = path.name if path == root else path.relative_to(root).as_posix()
    return {"name": name, "bytes": found.st_size, "modified": found.st_mtime_ns}


def rechunked(batches: Iterable[pa.RecordBatch], size: int) -> Iterator[pa.Table]:
    """Give tables of exactly so many lines, fewer only at the end, each column in one piece."""
    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        while sum(map(len, waiting)) >= size:
            table = pa.Table.from_batches(waiting)
            yield table.slice(0, size).combine_chunks()
            waiting = table.slice(size).to_batches()
    if sum(map(len, waiting)):
        yield pa.Table.from_batches(waiting).combine_chunks()


def text_column(table: pa.Table, name: str) -> pa.Array:
    """Give a column as strings, in one piece; what is no UTF-8 has U+FFFD in it."""
    return _cast(replace_bad_bytes(plain(_one(table.column(name)))), pa.string(), name)


def number_column(table: pa.Table, name: str) -> Vectors:
    """Give a column of numbers, or of texts that say some, as float32; NaN where there is none.

    Raises:
        InputError: When it holds something else.
    """
    column = _one(table.column(name))
    kind = column.type
    if is_text(kind):
        column = _cast(text_column(table, name), pa.float64(), name)
    elif not (is_number(kind) or pa.types.is_null(kind)):
        raise InputError(f"the column {name!r} holds {kind}; give numbers, or leave it out")
    try:
        found = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except pa.ArrowNotImplementedError:  # of half floats, by its version
        found = np.array(column.to_pylist(), np.float64)
    with np.errstate(over="ignore"):  # what a float32 does not hold is infinite, and no number
        numbers: Vectors = found.astype(np.float32)
    return numbers


def list_column(table: pa.Table, name: str, kind: pa.DataType) -> pa.Array:
    """Give a column as lists of one type, in one piece."""
    lists = _one(table.column(name))
    return _cast(replace_bad_bytes(plain(lists)) if kind == pa.string() else lists, pa.list_(kind), name)


def check_columns(schema: pa.Schema, needed: Sequence[str], lists: Sequence[str], what: str) -> None:
    """Check that columns are there, and that those which hold lists do.

    Raises:
        InputError: When one is missing or of another kind.
    """
    if missing := [name for name in needed if name not in schema.names]:
        raise InputError(f"{what} lack the columns {missing}; there are {schema.names}")
    for name in lists:
        if name in schema.names and not _is_list(schema.field(name).type):
            raise InputError(f"the column {name!r} holds {schema.field(name).type}; {what} have a list in each line")


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.array([], column.type)])


def _cast(column: pa.Array, kind: pa.DataType, name: str) -> pa.Array:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"the column {name!r} holds {column.type}, which cannot be read as {kind}: {error}") from error
