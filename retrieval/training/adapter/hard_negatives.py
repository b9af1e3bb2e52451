"""Hard negatives from an index: what is found for a query, and was not taken, unless it is too good to be wrong."""

from collections.abc import Sequence

import numpy as np

from indexing.arrays.types import Rows, Vectors
from indexing.errors import InputError, ShapeError
from indexing.index import VectorIndex
from indexing.index.search import retrieve


def hard_negatives(
    index: VectorIndex,
    queries: Vectors,
    known: Sequence[Rows],
    positive: Vectors,
    count: int,
    *,
    depth: int = 100,
    margin: float = 0.05,
) -> Rows:
    """Find the best items of each query that are no positives of it, the hardest first.

    An item that scores nearly as high as the positive, or higher, is more likely one that the user was never shown than
    one that was turned down (NV-Retriever, Moreira et al. 2024): it is left out as a false negative.

    Args:
        index: Any index over the item vectors.
        queries: (B, D) float32.
        known: For each query the rows of the user's history and positives: never negatives.
        positive: (B,) float32, score of each query's positive, in the scores of the index.
        count: Negatives wanted a query.
        depth: How many rows beside the known are looked at.
        margin: A negative scores at least so much less than the positive.

    Returns:
        Rows (B, count) int64; the line of a query with fewer ends with -1.

    Raises:
        ShapeError: When queries, known rows and positives differ in number.
        InputError: When more are wanted than are looked at.
    """
    if not len(queries) == len(known) == len(positive):
        raise ShapeError(f"{len(queries)} queries, {len(known)} lists of known rows, {len(positive)} positive scores")
    if not 1 <= count <= depth:
        raise InputError(f"count is {count} and depth {depth}: want at least 1 negative, and at most depth")
    scores, rows = retrieve(index, queries, depth, exclude=known)
    false = (rows < 0) | (scores > positive[:, None] - margin)
    order = np.argsort(false, axis=1, kind="stable")[:, :count]
    found = np.take_along_axis(np.where(false, -1, rows), order, axis=1)
    return np.pad(found, ((0, 0), (0, count - found.shape[1])), constant_values=-1)
