"""Numbers about a cloud of vectors: gap between modalities, spread over directions, hubs, twins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit

MAX_PAIRED = 1000


def modality_gap(first: Vectors, second: Vectors, rng: np.random.Generator) -> tuple[float, float]:
    """Return the distance between the means of two modalities, and the mean distance of a pair with one of each.

    >>> modality_gap(np.eye(2, dtype=np.float32)[:1], np.eye(2, dtype=np.float32)[1:], np.random.default_rng(0))
    (1.4142135623730951, 1.4142135623730951)

    Args:
        first: (N, D) float32, unit length.
        second: (M, D) float32, unit length.
        rng: Draws the pairs: all of them up to 1,000 vectors of each kind, else those of 1,000 of each.
    """
    gap = float(np.linalg.norm(first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)))
    first_sample, second_sample = (sample(vectors, MAX_PAIRED, rng).astype(np.float64) for vectors in (first, second))
    lengths = (first_sample**2).sum(axis=1)[:, None] + (second_sample**2).sum(axis=1)
    distances = np.sqrt(np.maximum(lengths - 2 * first_sample @ second_sample.T, 0))
    return gap, float(distances.mean())


def sample(vectors: Vectors, size: int, rng: np.random.Generator) -> Vectors:
    """Return at most ``size`` of (N, D) vectors, in their order."""
    if len(vectors) <= size:
        return vectors
    sampled: Vectors = vectors[np.sort(rng.choice(len(vectors), size, replace=False))]
    return sampled


def mean_cosine(vectors: Vectors) -> float:
    """Return the mean cosine over all pairs of different lines of (N, D) unit vectors; 0 for fewer than two lines.

    It needs no pairs: the squared length of the sum is N plus the cosines of all of them.

    >>> round(mean_cosine(np.array([[1, 0], [0, 1], [1, 0]], np.float32)), 4)
    0.3333
    """
    count = len(vectors)
    if count < 2:
        return 0.0
    total = vectors.sum(axis=0, dtype=np.float64)
    return float((total @ total - count) / (count * (count - 1)))


def spectrum(vectors: Vectors) -> tuple[float, float]:
    """Return in how many directions (N, D) vectors spread around their mean: participation ratio and effective rank.

    With variances v along the principal axes and shares p of their sum, the first is (sum v)² / sum v², the second
    exp(-sum p log p). Both are D for an even spread and 1 for a line; 0 when all vectors are the same.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = (centred.T @ centred).astype(np.float64) / max(len(vectors), 1)
    variances = np.maximum(np.linalg.eigvalsh(covariance), 0)
    if variances.sum() <= 1e-12:
        return 0.0, 0.0
    fractions = variances / variances.sum()
    entropy = -(fractions[fractions > 0] * np.log(fractions[fractions > 0])).sum()
    return float(1 / (fractions**2).sum()), float(np.exp(entropy))


@dataclass(frozen=True, eq=False)
class Occurrences:
    """In how many lists each item is.

    Attributes:
        counts: (N,) int64.
        best_scores: (B,) float32, the score of each query's first answer.
        k: Length of the lists.
    """

    counts: Rows
    best_scores: Vectors
    k: int

    @property
    def skewness(self) -> float:
        """Third standardised moment of the counts: 0 when they are even, large when a few items are everywhere."""
        return skewness(self.counts)

    @property
    def skewness_by_chance(self) -> float:
        """What random lists of this number and length would have."""
        fraction = self.k / len(self.counts)
        variance = len(self.best_scores) * fraction * (1 - fraction)
        return float((1 - 2 * fraction) / np.sqrt(variance)) if variance > 0 else 0.0

    @property
    def never(self) -> float:
        """Share of items that are in no list: the antihubs."""
        return float((self.counts == 0).mean())

    @property
    def never_by_chance(self) -> float:
        """What random lists of this number and length would leave out."""
        return float((1 - self.k / len(self.counts)) ** len(self.best_scores))


def occurrences(queries: Vectors, items: Vectors, query_items: Rows, k: int = 10) -> Occurrences:
    """Count in how many of the queries' best k each item is.

    Args:
        queries: (B, D) float32.
        items: (N, D) float32, at least two.
        query_items: (B,) int64, the item that each query was made from, which is left out of its list; -1 for none.
        k: Length of the lists; at most N - 1.
    """
    from indexing.index.backends.faiss import FaissIndex  # FAISS is loaded only by those who search

    k = min(k, len(items) - 1)
    scores, rows = FaissIndex.flat(items).search(queries, k + 1)
    is_query_item = rows == query_items[:, None]
    is_query_item[~is_query_item.any(axis=1), -1] = True  # one of k + 1 goes from every line
    kept = ~is_query_item
    counts = np.bincount(rows[kept], minlength=len(items)).astype(np.int64)
    return Occurrences(counts, scores[kept].reshape(len(queries), k)[:, 0], k)


def skewness(values: NDArray[np.int64]) -> float:
    """Third standardised moment; 0 when all values are the same.

    >>> round(skewness(np.array([0, 0, 0, 4])), 4)
    1.1547
    """
    deviations = values - values.mean()
    variance = float((deviations**2).mean())
    return float((deviations**3).mean() / variance**1.5) if variance > 0 else 0.0


def identical(vectors: Vectors) -> int:
    """Return how many lines of an (N, D) array repeat an earlier one, bit for bit."""
    rows = np.ascontiguousarray(vectors)
    keys = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).reshape(-1)
    return len(rows) - len(np.unique(keys))


def unusable(vectors: NDArray[np.float16]) -> tuple[int, int]:
    """Count the lines of an (N, D) array that hold NaN or infinity, and those that are all zero."""
    return int((~np.isfinite(vectors).all(axis=1)).sum()), int((~vectors.any(axis=1)).sum())


def finite_units(vectors: NDArray[np.float16]) -> Vectors:
    """Return the usable lines of an (N, D) array at unit length."""
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    return unit(vectors[usable])
