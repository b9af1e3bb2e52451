"""Recall on held-out queries of each kind; a few are kept in a bundle and measured again when it is opened."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
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
from indexing.index.base import VectorIndex, merged, no_answers, padded

BLOCK_ROWS = 16_384  # vectors that are compared at a time, where they are not in memory
QUERIES_PER_STEP = 512  # whose answers are scored at a time
TIE_TOLERANCE = np.float32(1e-5)  # relative difference within which two scores are equal
CONFIDENCE = 0.975  # that recall on other queries is no less than its lower bound

Recalls = NDArray[np.float64]
"""(B,) the recall of each query."""


@dataclass(frozen=True, eq=False)
class Queries:
    """Queries of one kind.

    Attributes:
        vectors: (B, D) float32.
        item_rows: (B,) int64, rows of queries that are items themselves: they never count as answers; or None.
    """

    vectors: Vectors
    item_rows: Rows | None = None

    def __post_init__(self) -> None:
        if self.item_rows is not None and self.item_rows.shape != (len(self.vectors),):
            raise ShapeError(f"item_rows has shape {self.item_rows.shape}, expected ({len(self.vectors)},)")

    def __len__(self) -> int:
        return len(self.vectors)

    def first(self, count: int) -> "Queries":
        """Keep at most so many."""
        return Queries(self.vectors[:count], None if self.item_rows is None else self.item_rows[:count])

    def search(self, index: VectorIndex, k: int, kind: str | None = None) -> tuple[Vectors, Rows]:
        """Search an index for k rows a query, without its own."""
        return self.without_item_rows(*index.search(self.vectors, k if self.item_rows is None else k + 1, kind=kind))

    def without_item_rows(self, scores: Vectors, rows: Rows) -> tuple[Vectors, Rows]:
        """Drop each query's own row from (B, k + 1) answers, or else the last; give all when queries are no items."""
        if self.item_rows is None:
            return scores, rows
        own_row = rows == self.item_rows[:, None]
        own_row[~own_row.any(axis=1), -1] = True
        shape = (len(rows), rows.shape[1] - 1)
        return scores[~own_row].reshape(shape), rows[~own_row].reshape(shape)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Queries of one kind with what exact search finds.

    Attributes:
        queries: The queries.
        exact: (B, k) float32, the best scores there are, -inf where there are fewer than k.
    """

    queries: Queries
    exact: Vectors

    @classmethod
    def by(cls, vectors: Vectors, queries: Queries, k: int) -> "GroundTruth":
        """Compare every query with every one of (N, D) vectors."""
        return cls._of(queries, *nearest(queries.vectors, vectors, k + 1), k)

    @classmethod
    def _of(cls, queries: Queries, scores: Vectors, rows: Rows, k: int) -> "GroundTruth":
        """Keep the best k of (B, k + 1) exact answers, without each query's own row."""
        depth = k if queries.item_rows is None else k + 1
        exact = queries.without_item_rows(*padded(scores[:, :depth], rows[:, :depth], depth))[0]
        return cls(queries, np.ascontiguousarray(exact))

    def first(self, count: int) -> "GroundTruth":
        """Keep at most so many queries."""
        return GroundTruth(self.queries.first(count), self.exact[:count])

    def halves(self) -> tuple["GroundTruth", "GroundTruth"]:
        """Give every other query, from the first and from the second on."""
        queries, rows = self.queries.vectors, self.queries.item_rows
        even, odd = (
            GroundTruth(
                Queries(queries[start::2], None if rows is None else rows[start::2]),
                np.ascontiguousarray(self.exact[start::2]),
            )
            for start in (0, 1)
        )
        return even, odd

    def recall(self, rows: Rows, vectors: Vectors) -> float:
        """Share of the exact best that (B, k) rows of (N, D) vectors reach, the mean over all queries."""
        return mean(self.recalls(rows, vectors))

    def recalls(self, rows: Rows, vectors: Vectors) -> Recalls:
        """Share of the exact best that (B, k) rows of (N, D) vectors reach, for each query that has any answer.

        A row whose score equals the exact k-th best counts as found: which of two equal items comes first is no loss.
        The scores are computed from the vectors, whatever an index says of its rows.
        """
        has_answer = np.isfinite(self.exact)
        if not has_answer.any():
            return np.empty(0)
        threshold = np.where(has_answer, self.exact, np.inf).min(axis=1, keepdims=True)
        scores_ = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), QUERIES_PER_STEP):  # rows that are not in memory are read for many at once
            part = slice(start, start + QUERIES_PER_STEP)
            found = vectors[rows[part].ravel()].reshape(*rows[part].shape, vectors.shape[1])
            with np.errstate(invalid="ignore"):  # OpenBLAS may raise the flag over room that it does not use (#24067)
                scores_[part] = (found @ self.queries.vectors[part, :, None])[:, :, 0]
        hits = (rows >= 0) & (scores_ >= threshold - np.abs(threshold) * TIE_TOLERANCE)
        num_answers = has_answer.sum(axis=1)
        shares: Recalls = np.minimum(hits.sum(axis=1), num_answers)[num_answers > 0] / num_answers[num_answers > 0]
        return shares

    def measure(self, index: VectorIndex, vectors: Vectors, kind: str | None = None) -> tuple[float, float]:
        """Search an index for all queries in one batch; give the recall, and queries a second."""
        recalls, queries_per_second = self.measure_each(index, vectors, kind)
        return mean(recalls), queries_per_second

    def measure_each(self, index: VectorIndex, vectors: Vectors, kind: str | None = None) -> tuple[Recalls, float]:
        """Search an index for all queries in one batch; give the recall of each, and queries a second."""
        started = perf_counter()
        _, rows = self.queries.search(index, self.exact.shape[1], kind)
        seconds = perf_counter() - started
        return self.recalls(rows, vectors), len(self.queries) / max(seconds, 1e-9)


def mean(recalls: Recalls) -> float:
    """Return the mean recall of queries; 1 when none has an answer that could be missed."""
    return float(recalls.mean()) if len(recalls) else 1.0


def lower_bound(recalls: Recalls, target: float, k: int) -> float:
    """Say what the mean recall at k of all such queries is at least, with a confidence of `CONFIDENCE`.

    By Student's t. The deviation of one query is taken for no less than that of k answers of which each is found by
    itself with a chance of ``target``: a few queries that all find everything prove little.

    >>> round(lower_bound(np.ones(250), 0.95, 10), 3), round(lower_bound(np.ones(4), 0.95, 10), 3)
    (0.991, 0.89)
    """
    from scipy.special import stdtrit  # loaded only by those who build

    count = len(recalls)
    if count < 2:
        return 0.0
    deviation = max(float(recalls.std(ddof=1)), (target * (1 - target) / k) ** 0.5)
    return float(mean(recalls) - stdtrit(count - 1, CONFIDENCE) * deviation / count**0.5)


def recall(
    index: VectorIndex,
    oracle: FlatIndex,
    queries: Vectors,
    k: int,
    exact: Vectors | None = None,
    kind: str | None = None,
) -> float:
    """Share of the exact k best rows that an index finds for (B, D) queries; see `GroundTruth.recall`.

    Who measures often gives ``exact``, the oracle's best scores (B, k), to have them computed once; ``kind`` is what
    the queries are.
    """
    k = min(k, len(oracle))
    exact = oracle.search(queries, k)[0] if exact is None else exact[:, :k]
    return GroundTruth(Queries(queries), exact).recall(index.search(queries, k, kind=kind)[1], oracle.vectors)


def nearest(queries: Vectors, vectors: Vectors, count: int) -> tuple[Vectors, Rows]:
    """Find the best of (N, D) vectors for (B, D) queries: (B, count) scores and rows, fewer columns if N is less.

    Vectors that are not in memory are read a block at a time, for all queries.
    """
    import faiss  # loaded only by those who build; its scan of a large matrix is several times faster than numpy's

    def best(block: Vectors) -> tuple[Vectors, Rows]:
        scores, rows = faiss.knn(queries, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        return scores, rows

    if isinstance(vectors, np.ndarray):
        return best(vectors)
    answers, starts = no_answers(len(queries)), range(0, len(vectors), BLOCK_ROWS)
    with ThreadPoolExecutor(1) as pool:  # reads a block while the one before is compared
        coming = pool.submit(vectors.__getitem__, slice(0, BLOCK_ROWS))
        for start in starts:
            block = coming.result()
            coming = pool.submit(vectors.__getitem__, slice(start + BLOCK_ROWS, start + 2 * BLOCK_ROWS))
            scores, rows = best(block)
            answers = merged(answers, (scores, rows + start), count)
    return answers


HeldOutQueries = Mapping[str, "Vectors | Queries | GroundTruth"]
"""For each kind of query (``"text"``, ``"image"``, …) some held-out ones, or these with what exact search finds."""


def ground_truths(vectors: Vectors, queries: HeldOutQueries, k: int, max_queries: int) -> dict[str, GroundTruth]:
    """Search (N, D) vectors exactly for at most so many queries of each kind; kinds without queries are left out.

    What exact search finds is taken as given where it is known, to the depth k.
    """
    known, asked = known_and_asked(queries, max_queries)
    if asked:
        known |= truths_of(asked, *nearest(stacked(asked), vectors, k + 1), k)
    return {kind: known[kind] for kind in queries if kind in known}


def known_and_asked(queries: HeldOutQueries, max_queries: int) -> tuple[dict[str, GroundTruth], dict[str, Queries]]:
    """Give at most so many queries of each kind, apart those of which is known what exact search finds."""
    known = {kind: given.first(max_queries) for kind, given in queries.items() if isinstance(given, GroundTruth)}
    asked = {
        kind: (given if isinstance(given, Queries) else Queries(given)).first(max_queries)
        for kind, given in queries.items()
        if not isinstance(given, GroundTruth)
    }
    return (
        {kind: truth for kind, truth in known.items() if len(truth.queries)},
        {kind: given for kind, given in asked.items() if len(given)},
    )


def stacked(asked: Mapping[str, Queries]) -> Vectors:
    """Give the vectors of all kinds, one below another."""
    return np.concatenate([given.vectors for given in asked.values()])


def truths_of(asked: Mapping[str, Queries], scores: Vectors, rows: Rows, k: int) -> dict[str, GroundTruth]:
    """Give each kind its part of the exact answers to `stacked` queries, of which there are (B, k + 1)."""
    ends = np.cumsum([len(given) for given in asked.values()])[:-1]
    parts = zip(asked.items(), np.split(scores, ends), np.split(rows, ends), strict=True)
    return {kind: GroundTruth._of(given, scores_, rows_, k) for (kind, given), scores_, rows_ in parts}


MAX_QUERIES, MIN_QUERIES = 32, 4  # queries of a kind
MAX_SCAN_PRODUCTS = 400_000_000  # numbers multiplied at opening by an index that scans everything: less than 100 ms


@dataclass(frozen=True, eq=False)
class RecallCheck:
    """Held-out queries of each kind with their exact neighbours, and the recall when the index was built."""

    ground_truth: Mapping[str, GroundTruth]
    recall: Mapping[str, float]

    @classmethod
    def of(cls, index: VectorIndex, vectors: Vectors, queries: HeldOutQueries, k: int) -> "RecallCheck":
        """Keep some queries of each kind, and measure an index over (N, D) vectors with them.

        There are fewer where a search scans everything, so that opening a bundle stays quick.
        """
        scans_all = index.kind.endswith("flat")
        count = (
            MAX_SCAN_PRODUCTS // (len(vectors) * vectors.shape[1] * max(1, len(queries))) if scans_all else MAX_QUERIES
        )
        recall_check = cls(ground_truths(vectors, queries, k, max(MIN_QUERIES, min(MAX_QUERIES, count))), {})
        return cls(recall_check.ground_truth, recall_check.measure(index, vectors))

    def measure(self, index: VectorIndex, vectors: Vectors) -> dict[str, float]:
        """Return the recall of an index over (N, D) vectors for each kind of query."""
        return {kind: round(truth.measure(index, vectors, kind)[0], 4) for kind, truth in self.ground_truth.items()}

    def to_bytes(self) -> bytes:
        """Return the queries, neighbours and recall as safetensors."""
        tensors: dict[str, NDArray[Any]] = {}
        for kind, truth in self.ground_truth.items():
            tensors[f"{kind}.vectors"], tensors[f"{kind}.exact"] = truth.queries.vectors, truth.exact
            tensors[f"{kind}.recall"] = np.array([self.recall[kind]], np.float64)
            if truth.queries.item_rows is not None:
                tensors[f"{kind}.own"] = truth.queries.item_rows
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> "RecallCheck":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("the stored sample of queries", "build again"):
            tensors = finite_tensors(data, infinite_suffix=".exact")
            kinds = [name.removesuffix(".vectors") for name in tensors if name.endswith(".vectors")]
            ground_truth = {
                kind: GroundTruth(
                    Queries(tensors[f"{kind}.vectors"], tensors.get(f"{kind}.own")), tensors[f"{kind}.exact"]
                )
                for kind in sorted(kinds)
            }
            return cls(ground_truth, {kind: float(tensors[f"{kind}.recall"][0]) for kind in ground_truth})
