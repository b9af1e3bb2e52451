"""The item vectors of a store block by block, for indexes over more than memory holds."""

from collections.abc import Iterator, Sequence

from indexing.fusion import fuse
from indexing.generation import collected
from indexing.item_ids import ItemIds
from indexing.store import EmbeddingStore
from indexing.types import Modality, Vectors

ROWS = 16_384


def item_blocks(
    store: EmbeddingStore, item_ids: Sequence[str], modalities: tuple[Modality, ...], rows: int = ROWS
) -> Iterator[Vectors]:
    """Give the fused vectors of items in row order, so many (rows, D) float32 at a time.

    A shard of the store is read once for every block that needs it: where shards are in row order, as in a generation,
    that is a few times.

    Args:
        store: Has an embedding of every item.
        item_ids: The items.
        modalities: What to fuse.
        rows: How many at a time.
    """
    for start in range(0, len(item_ids), rows):
        yield fuse(collected(store, ItemIds(item_ids[start : start + rows]), modalities))
