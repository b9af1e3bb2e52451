"""Items from Parquet, batch by batch: pictures are never all in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.catalogue.arrow_values import not_utf8
from indexing.catalogue.columns import is_text, plain_type
from indexing.catalogue.item_ids import without_decimal_zero
from indexing.catalogue.readers.base import Reader, ReadingNotes, TableReader, file_of
from indexing.errors import CatalogueError
from indexing.media.remote_files import RemoteFile
from indexing.runtime.arguments import check_path

BUFFER = 1 << 20
BATCH_ROWS = 4096


class ParquetReader:
    """Rows of a Parquet file, here or behind a URL, or of the files of a folder in the order of their names.

    In a folder files whose names begin with ``.`` or ``_`` are left out, as Spark and Hive mean them. See `Reader`.
    """

    def __init__(self, path: Path | str | RemoteFile) -> None:
        self.name = str(path)
        self.notes = ReadingNotes()
        self.left_out: Mapping[str, int]
        self._files, self.left_out = _files(path)
        schemas, rows = [], 0
        for file in self._files:
            try:
                with _opened(file) as opened, pq.ParquetFile(opened) as parts:
                    schemas.append(parts.schema_arrow)
                    rows += parts.metadata.num_rows
            except (pa.ArrowException, OSError) as error:
                raise CatalogueError(f"{file} is not a Parquet file: {error}") from error
        if not rows:
            raise CatalogueError(f"{path} has no rows: there is nothing to index")
        kinds = [[(f.name, plain_type(f.type) if is_text(f.type) else f.type) for f in schema] for schema in schemas]
        for file, other in zip(self._files, kinds, strict=True):
            if other != kinds[0]:
                lacks = f"{[pair for pair in kinds[0] if pair not in other] or [p for p in other if p not in kinds[0]]}"
                raise CatalogueError(f"{file} has other columns than {self._files[0]}: {lacks:.200}; give files alike")
        self.schema = pa.schema(kinds[0])

    @cached_property
    def malformed(self) -> Mapping[int, str]:
        """Rows with text that is not UTF-8, found by reading all columns of text once."""
        problems: dict[int, str] = {}
        start = 0
        for batch in self._stored([field.name for field in self.schema if is_text(field.type)], BATCH_ROWS):
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                for position in not_utf8(column):
                    problems.setdefault(start + position, f"not UTF-8: column {name}")
            start += len(batch)
        return problems

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all readable rows; see `Reader`."""
        start, malformed = 0, self.malformed
        for batch in self._stored(columns, size):
            rows = range(start, start + len(batch))
            start += len(batch)
            if malformed and not malformed.keys().isdisjoint(rows):
                batch = batch.filter(pa.array([row not in malformed for row in rows], pa.bool_()))
            arrays = [plain(column) for column in batch.columns]
            yield pa.RecordBatch.from_arrays(arrays, batch.schema.names)

    def _stored(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all rows as they are stored."""
        for path in self._files if columns else ():
            try:
                # Without a buffer size a whole column of a row group, with all its pictures, is read at once.
                with _opened(path) as opened, pq.ParquetFile(opened, buffer_size=BUFFER, pre_buffer=False) as file:
                    yield from file.iter_batches(batch_size=size, columns=list(columns))
            except (pa.ArrowException, OSError) as error:
                raise CatalogueError(f"{path} is damaged or has changed: {error}") from error


def _files(path: Path | str | RemoteFile) -> tuple[list[Path | RemoteFile], dict[str, int]]:
    """Return the Parquet files that a path names, and how many others of a folder are left out."""
    if isinstance(path, RemoteFile) or not check_path(path).is_dir():
        return [file_of(path)], {}
    entries = sorted(Path(path).iterdir())
    files = [file for file in entries if file.suffix.lower() == ".parquet" and not file.name.startswith((".", "_"))]
    if not files:
        raise CatalogueError(f"{path} holds no .parquet file")
    others = len(entries) - len(files)
    return [file_of(file) for file in files], {"not a table": others} if others else {}


def _opened(path: Path | RemoteFile) -> AbstractContextManager[Any]:
    return path.open() if isinstance(path, RemoteFile) else nullcontext(path)


def plain(column: pa.Array) -> pa.Array:
    """Return text in its plain type, and other columns as they are.

    >>> plain(pa.array(["red", "blue"]).dictionary_encode()).type
    DataType(string)
    """
    if not is_text(column.type):
        return column
    kind = plain_type(column.type)
    try:
        decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        return decoded.cast(kind)
    except pa.ArrowNotImplementedError:
        return pa.array(column.to_pylist(), kind)


WHOLE_ID_ROWS = 65_536


class WholeIds:
    """A source whose ids are written without ``.0``; see `Reader`."""

    def __init__(self, reader: Reader, item_id: str) -> None:
        self.name, self.schema = reader.name, reader.schema
        self.left_out, self.notes = reader.left_out, reader.notes
        self._reader, self._item_id = reader, item_id

    @cached_property
    def malformed(self) -> Mapping[int, str]:
        """Rows that could not even be read."""
        return self._reader.malformed

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of all readable rows; see `Reader`."""
        for batch in self._reader.batches(columns, size):
            if self._item_id in columns:
                position = columns.index(self._item_id)
                ids = without_decimal_zero(batch.column(position))
                batch = batch if ids is None else batch.set_column(position, batch.schema.field(position), ids)
            yield batch


def with_whole_ids(reader: Reader, item_id: str) -> Reader:
    """Write the ids of a table as text without ``.0`` where all of them have it, and note that."""
    if not isinstance(reader, TableReader | ParquetReader) or not pa.types.is_string(reader.schema.field(item_id).type):
        return reader
    first = None
    for batch in reader.batches([item_id], WHOLE_ID_ROWS):
        ids = batch.column(0).drop_null()
        if len(ids) and without_decimal_zero(ids) is None:
            return reader
        first = first or (ids[0].as_py() if len(ids) else None)
    if first is None:
        return reader
    reader.notes.read_as.append(f"{item_id} without .0, as {first.removesuffix('.0')} for {first}")
    return WholeIds(reader, item_id)
