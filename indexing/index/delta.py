"""An index with changes: the rows that were added are searched exactly, those that are gone are passed over."""

from pathlib import Path

import numpy as np

from indexing.errors import InputError
from indexing.index.base import VectorIndex, check_search, merged, padded
from indexing.index.flat import FlatIndex
from indexing.types import Mask, Rows, Vectors


class DeltaIndex:
    """A `VectorIndex` over the rows of another, those added after them, and a mask of those alive.

    Args:
        base: What was indexed; it is only searched.
        added: (M, D) float32, the vectors of the rows after it.
        alive: (N + M,) bool, the rows that may be found.
    """

    kind = "delta"

    def __init__(self, base: VectorIndex, added: Vectors, alive: Mask) -> None:
        self._base, self._alive = base, alive
        self._gone = len(base) - int(np.count_nonzero(alive[: len(base)]))
        self._rows = len(base) + np.flatnonzero(alive[len(base) :])
        living = added if len(self._rows) == len(added) else added[self._rows - len(base)]
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
        first = len(self._base)
        if allow is None:
            scores, rows = self._indexed(queries, k, kind)
        else:
            allow = self._alive & allow
            scores, rows = self._base.search(queries, k, allow[:first], kind)
        if self._added is None:
            return scores, rows
        among = None if allow is None else allow[self._rows]
        more_scores, more = self._added.search(queries, min(k, len(self._added)), among)
        more_rows = np.where(more >= 0, self._rows[more], -1)
        return padded(*merged((scores, rows), (more_scores, more_rows), k), k)

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
