"""Ids that pandas wrote as ``1.0``, because one was missing, become ``1`` again: logs and tables are alike then."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import pyarrow as pa

from indexing.catalogue.item_ids import without_point
from indexing.catalogue.readers.base import Reader, TableReader
from indexing.catalogue.readers.parquet import ParquetReader

ROWS = 65_536


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
        """Give some columns of all readable rows; see `Reader`."""
        for batch in self._reader.batches(columns, size):
            if self._item_id in columns:
                place = columns.index(self._item_id)
                written = without_point(batch.column(place))
                batch = batch if written is None else batch.set_column(place, batch.schema.field(place), written)
            yield batch


def with_whole_ids(reader: Reader, item_id: str) -> Reader:
    """Write the ids of a table as text without ``.0`` where all of them have it, and note that."""
    if not isinstance(reader, TableReader | ParquetReader) or not pa.types.is_string(reader.schema.field(item_id).type):
        return reader
    first = None
    for batch in reader.batches([item_id], ROWS):
        ids = batch.column(0).drop_null()
        if len(ids) and without_point(ids) is None:
            return reader
        first = first or (ids[0].as_py() if len(ids) else None)
    if first is None:
        return reader
    reader.notes.read_as.append(f"{item_id} without .0, as {first.removesuffix('.0')} for {first}")
    return WholeIds(reader, item_id)
