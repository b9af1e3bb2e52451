"""What a bundle has of items that change: attributes as updates left them, and vectors that need not be made again."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexing.arrays import Rows
from indexing.bundle.change_log import Batch
from indexing.bundle.generation import Generation
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError
from indexing.filesystem.checked_files import REPAIR_HINT
from indexing.store.store import read_shard


class HasEmbeddings(Protocol):
    """A bundle, as far as its embeddings go."""

    @property
    def items(self) -> ItemIds:
        """The item_ids in row order."""
        ...

    @property
    def generation(self) -> Generation:
        """The current generation."""
        ...

    @property
    def batches(self) -> Sequence[Batch]:
        """The changes since, in order."""
        ...


def with_updates(attributes: pa.Table, items: ItemIds, batches: Sequence[Batch]) -> pa.Table:
    """Return attributes, one row per item, with the values that updates gave since the items were put in.

    Args:
        attributes: As they were put in, of all rows.
        items: After all batches.
        batches: In order. An update of an item that a later batch puts in again, or that is not there, says nothing.
    """
    updates: dict[str, list[tuple[Rows, pa.Array]]] = {}
    end = len(attributes) - sum(len(batch.attributes) for batch in batches)
    for batch in batches:
        end += len(batch.attributes)
        if batch.updated is not None:
            rows = [items.row(item_id) for item_id in batch.updated.column("item_id").to_pylist()]
            item_rows = np.array([-1 if row is None or row >= end else row for row in rows], np.int64)
            for name in batch.updated.column_names[1:]:
                values = batch.updated.column(name).combine_chunks()
                usable = (item_rows >= 0) & values.is_valid().to_numpy(zero_copy_only=False)
                updates.setdefault(name, []).append((item_rows[usable], values.filter(pa.array(usable))))
    for name, column_updates in updates.items():
        attributes = _with_column(attributes, name, column_updates)
    return attributes


def _with_column(table: pa.Table, name: str, updates: Sequence[tuple[Rows, pa.Array]]) -> pa.Table:
    """Put values at rows of one column, later pieces over earlier ones."""
    exists = name in table.column_names  # an older generation that was gone back to may lack it
    column = table.column(name) if exists else pa.chunked_array([pa.nulls(len(table), updates[0][1].type)])
    source = np.arange(len(table))
    chunks, start = list(column.chunks), len(table)
    for rows, values in updates:
        source[rows] = np.arange(start, start + len(rows))
        chunks.append(values.cast(column.type))
        start += len(rows)
    changed = pa.chunked_array(chunks, column.type).take(pa.array(source))
    if not exists:
        return table.append_column(name, changed)
    return table.set_column(table.column_names.index(name), name, changed)


def known_embeddings(bundle: HasEmbeddings, item_ids: ItemIds) -> Iterator[pa.Table]:
    """Return what a bundle has of the contents of items, as tables of the store's schema, the latest last.

    Raises:
        DamagedFileError: When a shard that is needed cannot be read.
    """
    known_ids = pa.array(bundle.items.known(item_ids), pa.string())
    if not len(known_ids):
        return
    for path in bundle.generation.shards if bundle.generation.items.known(known_ids.to_pylist()) else ():
        if pc.any(pc.is_in(_ids_in(path), value_set=known_ids)).as_py():
            table = read_shard(path)
            yield table.filter(pc.is_in(table.column("item_id"), value_set=known_ids))
    for batch in bundle.batches:
        matches = pc.is_in(batch.embeddings.column("item_id"), value_set=known_ids)
        if pc.any(matches).as_py():
            yield batch.embeddings.filter(matches)


def _ids_in(path: Path) -> pa.ChunkedArray:
    """Return the item_ids of a shard, whose other columns are not read for that."""
    try:
        return pq.read_table(path, columns=["item_id"]).column("item_id")
    except (pa.ArrowException, OSError) as error:
        raise DamagedFileError(f"{path} cannot be read ({error}); {REPAIR_HINT}") from error
