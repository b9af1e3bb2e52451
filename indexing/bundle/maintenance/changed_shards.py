"""The shards of a store after changes: nothing of an item that is gone is in any of them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from indexing.bundle.bundle import Bundle
from indexing.filesystem import fsops
from indexing.runtime.threads import cores
from indexing.store.collect import SHARD_ROWS
from indexing.store.store import parquet_bytes, shard_name


def changed_shards(bundle: Bundle, folder: Path) -> dict[str, Path]:
    """Write the shards of a bundle with its changes into a folder, and return all shards by their names.

    Those that no change touches stay the same files. Of the others as many are in memory as there are processors.
    """
    fsops.make_folder(folder)
    changed_ids = {item_id for batch in bundle.batches for item_id in (*batch.removed, *batch.item_ids)}
    changed = pa.array(sorted(changed_ids), pa.string())
    shards: dict[str, Path] = {}
    paths, number = bundle.generation.shards, -1
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(paths), cores()):
            some = paths[start : start + cores()]
            for path, data in zip(some, pool.map(partial(_without, changed), some), strict=True):
                number = int(path.name.split("-")[0])
                if data is None:
                    shards[path.name] = path
                elif data:
                    shards |= _written(folder, number, data)
    for table in _added_embeddings(bundle):
        number += 1
        shards |= _written(folder, number, parquet_bytes(table))
    return shards


def _without(item_ids: pa.Array, path: Path) -> bytes | None:
    """Return a shard without some items, nothing where it has no others, and None where it has none of these."""
    ids = pq.read_table(path, columns=["item_id"]).column("item_id")
    is_changed = pc.is_in(ids, value_set=item_ids)
    if not pc.any(is_changed).as_py():
        return None
    if pc.all(is_changed).as_py():
        return b""
    return parquet_bytes(pq.read_table(path).filter(pc.invert(is_changed)))


def _written(folder: Path, number: int, data: bytes) -> dict[str, Path]:
    name = shard_name(number, data)
    fsops.write_bytes(folder / name, data)
    return {name: folder / name}


def _added_embeddings(bundle: Bundle) -> Iterator[pa.Table]:
    """Give what became of each content of the items put in, the last version of each, a shard at a time."""
    start, tables = len(bundle.generation.items), []
    for batch in bundle.batches:
        live = bundle.is_live[start : start + len(batch.item_ids)]
        live_ids = pa.array([batch.item_ids[row] for row in np.flatnonzero(live)], pa.string())
        tables.append(batch.embeddings.filter(pc.is_in(batch.embeddings.column("item_id"), value_set=live_ids)))
        start += len(batch.item_ids)
    added = pa.concat_tables(tables)
    for start in range(0, len(added), SHARD_ROWS):
        yield added.slice(start, SHARD_ROWS).combine_chunks()
