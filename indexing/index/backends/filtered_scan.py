"""Exact search among the allowed rows of vectors that FAISS holds, with memory bounded whatever is asked."""

from typing import Any

import faiss
import numpy as np

from indexing.arrays.types import Mask, Rows, Vectors
from indexing.errors import DamagedFileError
from indexing.index.backends.flat import MOST_SCORES, best
from indexing.index.base import ordered

# Rows that are copied out of FAISS at a time: with 512 dimensions 32 MB, which stays near the processor.
BLOCK = 16_384


def scan(stored: Any, queries: Vectors, k: int, allow: Mask | None, few: int) -> tuple[Vectors, Rows]:  # noqa: ANN401
    """Find the best k rows among those allowed.

    A few queries go row by row through FAISS, which passes over forbidden rows without reading them. For more, copying
    the allowed rows once and multiplying matrices is faster.

    Args:
        stored: A FAISS index that keeps one vector a row, in order.
        queries: (B, D) float32, as that index has them.
        k: Rows a query; at least as many must be allowed.
        allow: (N,) bool; all when None.
        few: How many queries are few, for that kind of index.

    Returns:
        Scores (B, k) float32 and rows (B, k) int64, the best first and ties by row.
    """
    if allow is None:
        allow = np.ones(stored.ntotal, np.bool_)
    if len(queries) > few:
        return _gathered(stored, queries, k, allow)
    scores, rows = stored.search(queries, k, params=faiss.SearchParameters(sel=selector(allow)))
    wrong = misses(check_found(rows, stored.ntotal), allow)
    if wrong.any():
        scores[wrong], rows[wrong] = _gathered(stored, queries[wrong], k, allow)
    return ordered(scores, rows)


def selector(allow: Mask) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Give a mask (N,) in the form in which FAISS takes it."""
    return faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))


def check_found(rows: Rows, count: int) -> Rows:
    """Check that rows which FAISS gives are among so many: a file may say otherwise.

    Raises:
        DamagedFileError: When one is not.
    """
    if rows.size and (rows.max() >= count or rows.min() < -1):
        raise DamagedFileError(f"the index gives row {rows.max()} of {count}: it is damaged; build the bundle again")
    return rows


def check_stored(index: Any, stored: Any, dim: int) -> None:  # noqa: ANN401 - FAISS ships no types
    """Check that the vectors an index keeps are as many as it says, of a length, and compared by inner product.

    Raises:
        DamagedFileError: When they are not.
    """
    if {int(index.metric_type), int(stored.metric_type)} != {faiss.METRIC_INNER_PRODUCT}:
        raise DamagedFileError("an index compares by another metric than inner product; build the bundle again")
    if int(stored.ntotal) != int(index.ntotal) or int(stored.d) != dim:
        raise DamagedFileError(
            f"an index of {index.ntotal} vectors of length {dim} keeps {stored.ntotal} of length {stored.d}: it is "
            "damaged; build the bundle again"
        )


def misses(rows: Rows, allow: Mask | None) -> Mask:
    """Say which lines of (B, k) rows are short or hold a forbidden row.

    FAISS has dropped selectors in places (its issues 5504 and 5584): nothing that it gives is believed unseen.
    """
    wrong: Mask = rows < 0 if allow is None else (rows < 0) | ~allow[rows]
    return np.asarray(wrong.any(axis=1), np.bool_)


def _gathered(stored: Any, queries: Vectors, k: int, allow: Mask) -> tuple[Vectors, Rows]:  # noqa: ANN401
    among = np.flatnonzero(allow)
    block = max(1, min(BLOCK, MOST_SCORES // max(1, len(queries))))
    scores, rows = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, len(among), block):
        candidates = among[start : start + block]
        found = best(queries @ stored.reconstruct_batch(candidates).T, candidates, min(k, len(candidates)))
        scores, rows = np.hstack((scores, found[0])), np.hstack((rows, found[1]))
        # Stable, and blocks come in order of rows: of equal scores the lower row stays first.
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
    return scores, rows
