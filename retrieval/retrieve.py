"""First stage: search an index for each query, leaving out what the query's user has seen."""

from collections.abc import Sequence

import numpy as np

from indexing.index import VectorIndex
from indexing.types import Mask, Rows, Vectors


def retrieve(
    index: VectorIndex,
    queries: Vectors,
    k: int,
    *,
    exclude: Sequence[Rows] = (),
    allow: Mask | None = None,
    kind: str | None = None,
) -> tuple[Vectors, Rows]:
    """Find the best k rows for each query, without its excluded rows.

    The index is asked for as many more rows as the longest exclusion, so that k remain whenever k exist. Rows are
    excluded by identity: an item's twin with the same vector stays.

    Args:
        index: What to search.
        queries: (B, D) float32.
        k: Rows a query; at most the number of items are given.
        exclude: B arrays of rows, or none at all.
        allow: (N,) bool, the rows that any query may have.
        kind: What the queries are, see `VectorIndex.search`.

    Returns:
        Scores (B, min(k, N)) float32 and rows (B, min(k, N)) int64, padded with -inf and -1.
    """
    k = min(k, len(index))
    room = max((len(np.unique(rows)) for rows in exclude), default=0)
    scores, rows = index.search(queries, k + room, allow, kind)
    for line, excluded in enumerate(exclude):
        gone = np.isin(rows[line], excluded)
        if gone.any():
            order = np.argsort(gone, kind="stable")
            scores[line] = np.where(gone, -np.inf, scores[line])[order]
            rows[line] = np.where(gone, -1, rows[line])[order]
    return scores[:, :k], rows[:, :k]
