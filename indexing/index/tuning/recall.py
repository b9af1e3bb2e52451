"""Recall on held-out queries of each kind; a few are kept in a bundle and measured again when it is opened."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays import Rows, Vectors
from indexing.errors import ShapeError
from indexing.filesystem.checked_files import finite_tensors, read_as
from indexing.index.backends.flat import FlatIndex
from indexing.index.base import VectorIndex, padded

SAME = np.float32(1e-5)  # relative difference within which two scores are equal


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of one kind.

    Attributes:
        vectors: (B, D) float32.
        own: (B,) int64, for queries that are items of the index their rows, which never count as answers; or None.
    """

    vectors: Vectors
    own: Rows | None = None

    def __post_init__(self) -> None:
        if self.own is not None and self.own.shape != (len(self.vectors),):
            raise ShapeError(f"own has shape {self.own.shape}, expected ({len(self.vectors)},)")

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, count: int) -> "Queries":
        """Keep at most so many."""
        return Queries(self.vectors[:count], None if self.own is None else self.own[:count])

    def search(self, index: VectorIndex, k: int, kind: str | None = None) -> tuple[Vectors, Rows]:
        """Search an index for k rows a query, without its own."""
        return self.others(*index.search(self.vectors, k if self.own is None else k + 1, kind=kind))

    def others(self, scores: Vectors, rows: Rows) -> tuple[Vectors, Rows]:
        """Drop each query's own row from (B, k + 1) answers, or else the last; give all when queries are no items."""
        if self.own is None:
            return scores, rows
        gone = rows == self.own[:, None]
        gone[~gone.any(axis=1), -1] = True
        shape = (len(rows), rows.shape[1] - 1)
        return scores[~gone].reshape(shape), rows[~gone].reshape(shape)


@dataclass(frozen=True, eq=False)
class Judged:
    """Queries of one kind with what exact search finds.

    Attributes:
        queries: The queries.
        exact: (B, k) float32, the best scores there are, -inf where there are fewer than k.
    """

    queries: Queries
    exact: Vectors

    @classmethod
    def by(cls, vectors: Vectors, queries: Queries, k: int) -> "Judged":
        """Compare every query with every one of (N, D) vectors."""
        import faiss  # loaded only by those who build; its scan of a large matrix is several times faster than numpy's

        room = 0 if queries.own is None else 1
        reach = min(k + room, len(vectors))
        scores, rows = faiss.knn(queries.vectors, vectors, reach, metric=faiss.METRIC_INNER_PRODUCT)
        return cls(queries, queries.others(*padded(scores, rows, k + room))[0])

    def first(self, count: int) -> "Judged":
        """Keep at most so many queries."""
        return Judged(self.queries.first(count), self.exact[:count])

    def recall(self, rows: Rows, vectors: Vectors) -> float:
        """Share of the exact best that (B, k) rows of (N, D) vectors reach.

        A row whose score equals the exact k-th best counts as found: which of two equal items comes first is no loss.
        The scores are computed from the vectors, whatever an index says of its rows.
        """
        exists = np.isfinite(self.exact)
        if not exists.any():
            return 1.0
        threshold = np.where(exists, self.exact, np.inf).min(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # OpenBLAS may raise the flag over room that it does not use (numpy #24067)
            own = np.stack([vectors[line] @ query for line, query in zip(rows, self.queries.vectors, strict=True)])
        found = (rows >= 0) & (own >= threshold - np.abs(threshold) * SAME)
        return float(np.minimum(found.sum(axis=1), exists.sum(axis=1)).sum() / exists.sum())

    def measure(self, index: VectorIndex, vectors: Vectors, kind: str | None = None) -> tuple[float, float]:
        """Search an index for all queries in one batch; give the recall, and queries a second."""
        started = perf_counter()
        _, rows = self.queries.search(index, self.exact.shape[1], kind)
        seconds = perf_counter() - started
        return self.recall(rows, vectors), len(self.queries) / max(seconds, 1e-9)


def recall(
    index: VectorIndex,
    oracle: FlatIndex,
    queries: Vectors,
    k: int,
    exact: Vectors | None = None,
    kind: str | None = None,
) -> float:
    """Share of the exact k best rows that an index finds for (B, D) queries; see `Judged.recall`.

    Who measures often gives ``exact``, the oracle's best scores (B, k), to have them computed once; ``kind`` is what
    the queries are.
    """
    k = min(k, len(oracle))
    exact = oracle.search(queries, k)[0] if exact is None else exact[:, :k]
    return Judged(Queries(queries), exact).recall(index.search(queries, k, kind=kind)[1], oracle.vectors)


Asked = Mapping[str, Vectors | Queries]
"""For each kind of query (``"text"``, ``"image"``, …) some held-out ones."""


def judged(vectors: Vectors, queries: Asked, k: int, most: int) -> dict[str, Judged]:
    """Search (N, D) vectors exactly for at most so many queries of each kind; kinds without queries are left out."""
    given = {kind: one if isinstance(one, Queries) else Queries(one) for kind, one in queries.items()}
    return {kind: Judged.by(vectors, one.first(most), k) for kind, one in given.items() if len(one)}


MOST, LEAST = 32, 4  # queries of a kind
SCANNED = 400_000_000  # numbers multiplied at opening by an index that scans everything: less than 100 ms


@dataclass(frozen=True, eq=False)
class Promise:
    """Queries of each kind with what exact search finds, and the recall on them when the index was built."""

    asked: Mapping[str, Judged]
    recall: Mapping[str, float]

    @classmethod
    def of(cls, index: VectorIndex, vectors: Vectors, queries: Asked, k: int) -> "Promise":
        """Keep some queries of each kind, and measure an index over (N, D) vectors with them.

        There are fewer where a search scans everything, so that opening a bundle stays quick.
        """
        scan = index.kind.endswith("flat")
        count = SCANNED // (vectors.size * max(1, len(queries))) if scan else MOST
        promise = cls(judged(vectors, queries, k, max(LEAST, min(MOST, count))), {})
        return cls(promise.asked, promise.measure(index, vectors))

    def measure(self, index: VectorIndex, vectors: Vectors) -> dict[str, float]:
        """Give the recall of an index over (N, D) vectors for each kind of query."""
        return {kind: round(one.measure(index, vectors, kind)[0], 4) for kind, one in self.asked.items()}

    def to_bytes(self) -> bytes:
        """Give the promise as safetensors."""
        tensors: dict[str, NDArray[Any]] = {}
        for kind, one in self.asked.items():
            tensors[f"{kind}.vectors"], tensors[f"{kind}.exact"] = one.queries.vectors, one.exact
            tensors[f"{kind}.recall"] = np.array([self.recall[kind]], np.float64)
            if one.queries.own is not None:
                tensors[f"{kind}.own"] = one.queries.own
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Promise":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("the stored sample of queries", "build again"):
            tensors = finite_tensors(data, endless=".exact")
            kinds = [name.removesuffix(".vectors") for name in tensors if name.endswith(".vectors")]
            asked = {
                kind: Judged(Queries(tensors[f"{kind}.vectors"], tensors.get(f"{kind}.own")), tensors[f"{kind}.exact"])
                for kind in sorted(kinds)
            }
            return cls(asked, {kind: float(tensors[f"{kind}.recall"][0]) for kind in asked})
