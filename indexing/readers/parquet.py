"""Items from Parquet, batch by batch: pictures are never all in memory."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from indexing.columns import is_text, plain_type
from indexing.errors import CatalogueError
from indexing.readers import file_of
from indexing.readers.urls import Remote

BUFFER = 1 << 20


class ParquetReader:
    """Rows of one Parquet file, here or behind a URL; see `Reader`."""

    def __init__(self, path: Path | str | Remote) -> None:
        self.path = file_of(path)
        self.name = str(path)
        self.malformed: Mapping[int, str] = {}
        try:
            with self._file() as opened, pq.ParquetFile(opened) as file:
                schema, rows = file.schema_arrow, file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            raise CatalogueError(f"{path} is not a Parquet file: {error}") from error
        if not rows:
            raise CatalogueError(f"{path} has no rows: there is nothing to index")
        self.schema = pa.schema([(f.name, plain_type(f.type) if is_text(f.type) else f.type) for f in schema])

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Give some columns of all rows; see `Reader`."""
        try:
            # Without a buffer size a whole column of a row group, with all its pictures, is read at once.
            with self._file() as opened, pq.ParquetFile(opened, buffer_size=BUFFER, pre_buffer=False) as file:
                for batch in file.iter_batches(batch_size=size, columns=list(columns)):
                    yield pa.RecordBatch.from_arrays([plain(column) for column in batch.columns], batch.schema.names)
        except (pa.ArrowException, OSError) as error:
            raise CatalogueError(f"{self.name} is damaged or has changed: {error}") from error

    def _file(self) -> AbstractContextManager[Any]:
        return self.path.open() if isinstance(self.path, Remote) else nullcontext(self.path)


def plain(column: pa.Array) -> pa.Array:
    """Give text in its plain type, with U+FFFD where its bytes are no UTF-8, and other columns as they are.

    >>> plain(pa.array(["red", "blue"]).dictionary_encode()).type
    DataType(string)
    """
    if not is_text(column.type):
        return column
    kind = plain_type(column.type)
    try:
        decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        decoded = decoded.cast(kind)
        decoded.validate(full=True)  # Parquet's readers trust what the file claims to be UTF-8
    except pa.ArrowNotImplementedError:
        return pa.array(column.to_pylist(), kind)
    except pa.ArrowInvalid:
        as_bytes = pa.list_(pa.binary()) if pa.types.is_list(kind) else pa.binary()
        return pa.array([_replaced(value) for value in column.cast(as_bytes).to_pylist()], kind)
    return decoded


def _replaced(value: bytes | list[bytes | None] | None) -> str | list[str | None] | None:
    if isinstance(value, list):
        return [None if part is None else part.decode(errors="replace") for part in value]
    return None if value is None else value.decode(errors="replace")
