"""The vectors that a bundle serves."""

from indexing.arrays.types import Vectors
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.index.backends.flat import FlatIndex


def served_vectors(bundle: Bundle) -> Vectors:
    """Give the item vectors that a bundle's index searches, as exact as it keeps them: (N, D) float32."""
    index = bundle.index
    if isinstance(index, FlatIndex):
        return index.vectors
    from indexing.index.backends.faiss import FaissIndex
    from indexing.index.backends.ivf import IvfIndex
    from indexing.index.backends.sharded import ShardedIndex

    if isinstance(index, FaissIndex | IvfIndex | ShardedIndex):
        return index.vectors
    raise InputError(f"index kind {index.kind!r} does not give its vectors back")
