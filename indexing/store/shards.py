"""Pack the embeddings of a build into few large shards, one at a time: they are never all in memory."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from indexing.filesystem import fsops
from indexing.store.store import EmbeddingStore, parquet_bytes, shard_name, to_table

SHARD_ROWS = 50_000


@dataclass(frozen=True)
class Packed:
    """What was packed.

    Attributes:
        files: The shards in row order.
        quarantined: How many contents have no vector.
    """

    files: tuple[Path, ...]
    quarantined: int


def pack(store: EmbeddingStore, item_ids: Iterable[str], folder: Path) -> Packed:
    """Write the embeddings of items, in the order of the ids, into shards in a folder."""
    fsops.make_folder(folder)
    records, quarantined = store.records(item_ids), 0
    files: list[Path] = []
    while chunk := list(islice(records, SHARD_ROWS)):
        data = parquet_bytes(to_table(chunk, store.dim))
        files.append(folder / shard_name(len(files), data))
        fsops.write_bytes(files[-1], data)
        quarantined += sum(record.vector is None for record in chunk)
    return Packed(tuple(files), quarantined)
