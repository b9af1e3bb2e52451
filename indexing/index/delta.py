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

Found = tuple[Vectors, Rows] | None
"""Scores and rows of a part, or None where there is no such part."""


class DeltaIndex:
    """A `VectorIndex` over the rows of another, those added after them, and a mask of those alive.

    Args:
        base: What was indexed; it is only searched.
        added: (M, D) float32, the vectors of the rows after it.
        alive: (N + M,) bool, the rows that may be found.
        coded: The rows that have codes: all from the first on, or from the first added one on.
    """

    kind = "delta"

    def __init__(self, base: VectorIndex, added: Vectors, alive: Mask, coded: "CodedRows | None" = None) -> None:
        self._base, self._alive = base, alive
        self._gone = len(base) - int(np.count_nonzero(alive[: len(base)]))
        self._coded, self._first, self._stop = coded, len(base), len(base)
        self._coded_gone = False
        if coded is not None:
            self._first, self._stop = coded.codes.start, coded.codes.stop
            self._coded_gone = not alive[self._first : self._stop].all()
        self._rows = self._stop + np.flatnonzero(alive[self._stop :])
        tail = added[self._stop - len(base) :]
        living = tail if len(self._rows) == len(tail) else added[self._rows - len(base)]
        self._added = FlatIndex(living) if len(living) else None

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return self._base.dim

    def __len__(self) -> int:
        return len(self._alive)

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k living rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        allow = None if allow is None else self._alive & allow
        found = [search(queries, k, allow, kind) for search in (self._in_base, self._in_codes, self._in_tail)]
        return padded(*reduce(lambda one, other: merged(one, other, k), (each for each in found if each)), k)

    def _in_base(self, queries: Vectors, k: int, allow: Mask | None, kind: str | None) -> Found:
        """Find the best k rows of the base, unless all of them have codes."""
        if self._first < len(self._base):
            return None
        if allow is None:
            return self._indexed(queries, k, kind)
        return self._base.search(queries, k, allow[: len(self._base)], kind)

    def _in_codes(self, queries: Vectors, k: int, allow: Mask | None, kind: str | None) -> Found:
        """Find the best k rows of those that have codes."""
        if self._coded is None:
            return None
        if allow is None and self._coded_gone:
            allow = self._alive
        among = None if allow is None else allow[self._first : self._stop]
        scores, rows = self._coded.search(queries, k, among, kind)
        return scores, np.where(rows >= 0, rows + self._first, -1)

    def _in_tail(self, queries: Vectors, k: int, allow: Mask | None, kind: str | None) -> Found:
        """Find the best k rows of the last, by a scan."""
        if self._added is None:
            return None
        among = None if allow is None else allow[self._rows]
        scores, rows = self._added.search(queries, min(k, len(self._added)), among, kind)
        return scores, np.where(rows >= 0, self._rows[rows], -1)

    def _indexed(self, queries: Vectors, k: int, kind: str | None) -> tuple[Vectors, Rows]:
        """Find the best k living rows of the base: some more are asked for, which costs less than a filter."""
        first, gone = len(self._base), self._gone
        scores, rows = self._base.search(queries, k + min(gone, k), kind=kind)
        if not gone:
            return scores, rows
        dead = (rows < 0) | ~self._alive[rows]
        order = np.argsort(dead, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(np.where(dead, -np.inf, scores), order, axis=1)
        rows = np.take_along_axis(np.where(dead, -1, rows), order, axis=1)
        short = (rows < 0).any(axis=1)
        if short.any():
            scores[short], rows[short] = self._base.search(queries[short], k, self._alive[:first], kind)
        return scores, rows

    def save(self, path: Path) -> str:
        """Refuse: changes are kept by the bundle, and folded into a new index by compaction."""
        raise InputError(f"an index with changes is not written to {path}; compact the bundle, and save its index")
