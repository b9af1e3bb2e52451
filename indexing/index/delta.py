"""An index with changes: the rows that were added are searched too, those that are gone are passed over.

Few added rows are scanned. Of many most have codes, see `indexing.index.delta_codes`, and only the last are scanned.
"""

from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import InputError
from indexing.index.backends.flat import FlatIndex
from indexing.index.base import VectorIndex, check_search, merged, padded

if TYPE_CHECKING:  # FAISS is loaded only by those who have codes
    from indexing.index.delta_codes import CodedRows

Answer = tuple[Vectors, Rows] | None
"""Scores and rows of a part, or None where there is no such part."""


class DeltaIndex:
    """A `VectorIndex` over the rows of another, those added after them, and a mask of the live ones.

    Args:
        base: The index of the first N rows; it is only searched.
        added: (M, D) float32, the vectors of the rows after it.
        is_live: (N + M,) bool, the rows that may be found.
        coded: The rows that have codes: all from the first on, or from the first added one on.
    """

    kind = "delta"

    def __init__(self, base: VectorIndex, added: Vectors, is_live: Mask, coded: "CodedRows | None" = None) -> None:
        self._base, self._is_live = base, is_live
        self._num_deleted = len(base) - int(np.count_nonzero(is_live[: len(base)]))
        self._coded, self._coded_start, self._coded_stop = coded, len(base), len(base)
        self._coded_deleted = False
        if coded is not None:
            self._coded_start, self._coded_stop = coded.codes.start, coded.codes.stop
            self._coded_deleted = not is_live[self._coded_start : self._coded_stop].all()
        self._tail_rows = self._coded_stop + np.flatnonzero(is_live[self._coded_stop :])
        tail = added[self._coded_stop - len(base) :]
        live_vectors = tail if len(self._tail_rows) == len(tail) else added[self._tail_rows - len(base)]
        self._tail = FlatIndex(live_vectors) if len(live_vectors) else None

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return self._base.dim

    def __len__(self) -> int:
        return len(self._is_live)

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k living rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        allow = None if allow is None else self._is_live & allow
        answers = [
            search(queries, k, allow, kind) for search in (self._search_base, self._search_codes, self._search_tail)
        ]
        return padded(*reduce(lambda left, right: merged(left, right, k), (answer for answer in answers if answer)), k)

    def _search_base(self, queries: Vectors, k: int, allow: Mask | None, kind: str | None) -> Answer:
        """Find the best k rows of the base, unless all of them have codes."""
        if self._coded_start < len(self._base):
            return None
        if allow is None:
            return self._search_live_base(queries, k, kind)
        return self._base.search(queries, k, allow[: len(self._base)], kind)

    def _search_codes(self, queries: Vectors, k: int, allow: Mask | None, kind: str | None) -> Answer:
        """Find the best k rows of those that have codes."""
        if self._coded is None:
            return None
        if allow is None and self._coded_deleted:
            allow = self._is_live
        coded_allow = None if allow is None else allow[self._coded_start : self._coded_stop]
        scores, rows = self._coded.search(queries, k, coded_allow, kind)
        return scores, np.where(rows >= 0, rows + self._coded_start, -1)

    def _search_tail(self, queries: Vectors, k: int, allow: Mask | None, kind: str | None) -> Answer:
        """Find the best k rows of the last, by a scan."""
        if self._tail is None:
            return None
        tail_allow = None if allow is None else allow[self._tail_rows]
        scores, rows = self._tail.search(queries, min(k, len(self._tail)), tail_allow, kind)
        return scores, np.where(rows >= 0, self._tail_rows[rows], -1)

    def _search_live_base(self, queries: Vectors, k: int, kind: str | None) -> tuple[Vectors, Rows]:
        """Find the best k live rows of the base: some more are retrieved, which costs less than a filter."""
        base_rows, num_deleted = len(self._base), self._num_deleted
        scores, rows = self._base.search(queries, k + min(num_deleted, k), kind=kind)
        if not num_deleted:
            return scores, rows
        deleted = (rows < 0) | ~self._is_live[rows]
        order = np.argsort(deleted, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(np.where(deleted, -np.inf, scores), order, axis=1)
        rows = np.take_along_axis(np.where(deleted, -1, rows), order, axis=1)
        short = (rows < 0).any(axis=1)
        if short.any():
            scores[short], rows[short] = self._base.search(queries[short], k, self._is_live[:base_rows], kind)
        return scores, rows

    def save(self, path: Path) -> str:
        """Refuse: changes are kept by the bundle, and folded into a new index by compaction."""
        raise InputError(f"an index with changes is not written to {path}; compact the bundle, and save its index")
