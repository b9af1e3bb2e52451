"""Numbers about a cloud of vectors: gap between modalities, spread over directions, hubs, twins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit

MOST_PAIRED = 1000


def modality_gap(first: Vectors, second: Vectors, rng: np.random.Generator) -> tuple[float, float]:
    """Give the distance between the means of two modalities, and the mean distance of a pair with one of each.

    >>> modality_gap(np.eye(2, dtype=np.float32)[:1], np.eye(2, dtype=np.float32)[1:], np.random.default_rng(0))
    (1.4142135623730951, 1.4142135623730951)

    Args:
        first: (N, D) float32, unit length.
        second: (M, D) float32, unit length.
        rng: Draws the pairs: all of them up to 1,000 vectors of each kind, else those of 1,000 of each.
    """
    gap = float(np.linalg.norm(first.mean(axis=0, dtype=np.float64) - second.mean(axis=0, dtype=np.float64)))
    some, others = (sample(vectors, MOST_PAIRED, rng).astype(np.float64) for vectors in (first, second))
    lengths = (some**2).sum(axis=1)[:, None] + (others**2).sum(axis=1)
    distances = np.sqrt(np.maximum(lengths - 2 * some @ others.T, 0))
    return gap, float(distances.mean())


def sample(vectors: Vectors, size: int, rng: np.random.Generator) -> Vectors:
    """Give at most ``size`` of (N, D) vectors, in their order."""
    if len(vectors) <= size:
        return vectors
    chosen: Vectors = vectors[np.sort(rng.choice(len(vectors), size, replace=False))]
    return chosen


def mean_cosine(vectors: Vectors) -> float:
    """Give the mean cosine over all pairs of different lines of (N, D) unit vectors; 0 for fewer than two lines.

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
    """Give in how many directions (N, D) vectors spread around their mean: participation ratio and effective rank.

    With variances v along the principal axes and shares p of their sum, the first is (sum v)² / sum v², the second
    exp(-sum p log p). Both are D for an even spread and 1 for a line; 0 when all vectors are the same.
    """
    centred = vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    covariance = (centred.T @ centred).astype(np.float64) / max(len(vectors), 1)
    variances = np.maximum(np.linalg.eigvalsh(covariance), 0)
    if variances.sum() <= 1e-12:
        return 0.0, 0.0
    shares = variances / variances.sum()
    entropy = -(shares[shares > 0] * np.log(shares[shares > 0])).sum()
    return float(1 / (shares**2).sum()), float(np.exp(entropy))


@dataclass(frozen=True, eq=False)
class Occurrences:
    """In how many lists each item is.

    Attributes:
        counts: (N,) int64.
        best: (B,) float32, the score of each query's first answer.
        k: Length of the lists.
    """

    counts: Rows
    best: Vectors
    k: int

    @property
    def skewness(self) -> float:
        """Third standardised moment of the counts: 0 when they are even, large when a few items are everywhere."""
        return skewness(self.counts)

    @property
    def skewness_by_chance(self) -> float:
        """What random lists of this number and length would have."""
        share = self.k / len(self.counts)
        spread = len(self.best) * share * (1 - share)
        return float((1 - 2 * share) / np.sqrt(spread)) if spread > 0 else 0.0

    @property
    def never(self) -> float:
        """Share of items that are in no list: the antihubs."""
        return float((self.counts == 0).mean())

    @property
    def never_by_chance(self) -> float:
        """What random lists of this number and length would leave out."""
        return float((1 - self.k / len(self.counts)) ** len(self.best))


def occurrences(queries: Vectors, items: Vectors, own: Rows, k: int = 10) -> Occurrences:
    """Count in how many of the queries' best k each item is.

    Args:
        queries: (B, D) float32.
        items: (N, D) float32, at least two.
        own: (B,) int64, the item that each query was made from, which is left out of its list; -1 for none.
        k: Length of the lists; at most N - 1.
    """
    from indexing.index.backends.faiss import FaissIndex  # FAISS is loaded only by those who search

    k = min(k, len(items) - 1)
    scores, rows = FaissIndex.flat(items).search(queries, k + 1)
    is_own = rows == own[:, None]
    is_own[~is_own.any(axis=1), -1] = True  # one of k + 1 goes from every line
    others = ~is_own
    counts = np.bincount(rows[others], minlength=len(items)).astype(np.int64)
    return Occurrences(counts, scores[others].reshape(len(queries), k)[:, 0], k)


def skewness(values: NDArray[np.int64]) -> float:
    """Third standardised moment; 0 when all values are the same.

    >>> round(skewness(np.array([0, 0, 0, 4])), 4)
    1.1547
    """
    deviations = values - values.mean()
    spread = float((deviations**2).mean())
    return float((deviations**3).mean() / spread**1.5) if spread > 0 else 0.0


def identical(vectors: Vectors) -> int:
    """Give how many lines of an (N, D) array repeat an earlier one, bit for bit."""
    lines = np.ascontiguousarray(vectors)
    keys = lines.view(np.dtype((np.void, lines.dtype.itemsize * lines.shape[1]))).reshape(-1)
    return len(lines) - len(np.unique(keys))


def unusable(vectors: NDArray[np.float16]) -> tuple[int, int]:
    """Count the lines of an (N, D) array that hold NaN or infinity, and those that are all zero."""
    return int((~np.isfinite(vectors).all(axis=1)).sum()), int((~vectors.any(axis=1)).sum())


def finite_units(vectors: NDArray[np.float16]) -> Vectors:
    """Give the usable lines of an (N, D) array at unit length."""
    usable = np.isfinite(vectors).all(axis=1) & vectors.any(axis=1)
    return unit(vectors[usable])
