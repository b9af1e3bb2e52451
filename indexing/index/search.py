"""First stage: search an index for each query, leaving out what the query's user has seen."""

from collections.abc import Sequence

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import DamagedFileError
from indexing.index.base import VectorIndex, check_k


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
        k: Rows for each query; at most the number of items.
        exclude: B arrays of rows, or none at all.
        allow: (N,) bool, the rows that any query may have.
        kind: What the queries are, see `VectorIndex.search`.

    Returns:
        Scores (B, min(k, N)) float32 and rows (B, min(k, N)) int64, padded with -inf and -1.
    """
    k = min(check_k(k), len(index))
    excluded = _excluded_keys(exclude, len(index)) if len(exclude) else np.empty(0, np.int64)
    num_excluded = int(np.bincount(excluded // len(index)).max(initial=0)) if len(excluded) else 0
    scores, rows = index.search(queries, k + num_excluded, allow, kind)
    check_scores(scores, rows)
    if num_excluded:
        keys = np.where(rows >= 0, rows + len(index) * np.arange(len(rows))[:, None], -1)
        position = np.minimum(np.searchsorted(excluded, keys), len(excluded) - 1)
        excluded_here = excluded[position] == keys
        order = np.argsort(excluded_here, axis=1, kind="stable")
        scores = np.take_along_axis(np.where(excluded_here, -np.inf, scores), order, axis=1).astype(
            np.float32, copy=False
        )
        rows = np.take_along_axis(np.where(excluded_here, -1, rows), order, axis=1)
    return scores[:, :k], rows[:, :k]


def check_scores(scores: Vectors, rows: Rows) -> None:
    """Check that every answer has a score that can be compared.

    Raises:
        DamagedFileError: When one has not: a vector or a learned number was changed, or queries are beyond measure.
    """
    invalid = (rows >= 0) & ~np.isfinite(scores)
    if invalid.any():
        raise DamagedFileError(
            f"scores of query {invalid.any(axis=1).argmax()} are not finite: its own numbers are too large, or "
            "something in the bundle was changed; run `commonspace verify`, and build or fit again if that finds "
            "nothing"
        )


def _excluded_keys(exclude: Sequence[Rows], count: int) -> Rows:
    """Return each line's excluded rows, of so many there are, as numbers ``line * count + row``, rising, each once."""
    query_rows = np.repeat(np.arange(len(exclude)), list(map(len, exclude)))
    rows = np.concatenate([np.empty(0, np.int64), *exclude]).astype(np.int64)
    pairs: Rows = np.unique(query_rows * count + rows)
    return pairs


def retrieve_tastes(
    index: VectorIndex,
    queries: Vectors,
    k: int,
    *,
    exclude: Sequence[Rows] = (),
    allow: Mask | None = None,
    kind: str | None = None,
) -> tuple[Vectors, Rows]:
    """Search for users as `retrieve` does; the list of one without any taste, whose query is zero, is empty."""
    no_taste: Mask = np.logical_not(queries.any(axis=1, keepdims=True))
    if not no_taste.any():
        return retrieve(index, queries, k, exclude=exclude, allow=allow, kind=kind)
    scores, rows = retrieve(
        index, np.where(no_taste, np.float32(1), queries), k, exclude=exclude, allow=allow, kind=kind
    )
    return np.where(no_taste, np.float32(-np.inf), scores), np.where(no_taste, -1, rows)
