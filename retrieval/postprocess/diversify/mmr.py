"""MMR and MSD: the gain of an item falls with its similarity to the picked ones, the nearest or all on average.

Sources: Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents"; Gollapudi
and Sharma 2009, "An axiomatic approach for result diversification", for the mean over pairs (max-sum dispersion).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors, unit
from retrieval.candidates import Candidates, check_num_rows
from retrieval.models.features.attribute_values import Attribute
from retrieval.postprocess.diversify.greedy import check, relevance


@dataclass(frozen=True, eq=False)
class MMR:
    """Gain: (1 - strength) * relevance - strength * the largest cosine with an item that was picked.

    Attributes:
        of: What items are compared by: (N, D) float32, of any length, where one that is zero resembles nothing; or an
            attribute.
        strength: From 0, relevance alone, to 1, variety alone.
        sharpness: To which power relevance is taken; see `relevance`.
        centre: (D,) float32, taken from each vector: those of one encoder share a large mean, by which all look alike.
    """

    of: Vectors | Attribute
    strength: float = 0.3
    sharpness: float = 1.0
    centre: Vectors | None = None

    def __post_init__(self) -> None:
        check(self.strength, self.sharpness)

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return dimensions(self.of) + 1

    def begin(self, candidates: Candidates, k: int) -> "_Nearest":  # noqa: ARG002
        """Begin lists."""
        relevant = (1 - self.strength) * relevance(candidates, self.sharpness)
        return _Nearest(candidate_vectors(self.of, candidates, self.centre), relevant, self.strength)


class MSD(MMR):
    """Gain: (1 - strength) * relevance - strength * the mean cosine with the items that were picked."""

    def begin(self, candidates: Candidates, k: int) -> "_Nearest":  # noqa: ARG002
        """Begin lists."""
        relevant = (1 - self.strength) * relevance(candidates, self.sharpness)
        return _Mean(candidate_vectors(self.of, candidates, self.centre), relevant, self.strength)


class _Nearest:
    """The largest cosine of each candidate with those picked so far.

    Args:
        vectors: (b, K, D) float32, unit vectors of the candidates.
        relevant: (b, K) float64, what relevance adds.
        strength: As above.
    """

    def __init__(self, vectors: Vectors, relevant: NDArray[np.float64], strength: float) -> None:
        self._vectors, self._relevant, self._strength = vectors, relevant, strength
        self._similarity = np.zeros(relevant.shape)
        self._picked = 0

    def values(self) -> NDArray[np.float64]:
        return self._relevant - self._strength * self._similarity

    def pick(self, places: NDArray[np.int64]) -> None:
        picked = self._vectors[np.arange(len(places)), places]
        cosines = np.matmul(self._vectors, picked[:, :, None])[:, :, 0].astype(np.float64)
        self._similarity = self._combined(cosines) if self._picked else cosines
        self._picked += 1

    def _combined(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(self._similarity, cosines)


class _Mean(_Nearest):
    """The mean cosine instead."""

    def _combined(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._similarity + (cosines - self._similarity) / (self._picked + 1)


def candidate_vectors(of: Vectors | Attribute, candidates: Candidates, centre: Vectors | None = None) -> Vectors:
    """Give unit vectors of (b, K) candidates: (b, K, D) float32, zero for an item that has none.

    Args:
        of: (N, D) float32 of any length; or an attribute, where items are alike by the values that they share.
        candidates: Of b queries; what stands for padding means nothing.
        centre: (D,) float32, taken from each vector that is not zero.

    Raises:
        ShapeError: When that is of other items than the candidates.
    """
    rows = candidates.rows
    check_num_rows(len(of), candidates, "an attribute" if isinstance(of, Attribute) else "vectors")
    if isinstance(of, Attribute):
        return unit(of.alone(rows))
    vectors = of[rows]
    if centre is not None:
        vectors = np.where(vectors.any(axis=-1, keepdims=True), vectors - centre, np.float32(0))
    return unit(vectors)


def dimensions(of: Vectors | Attribute) -> int:
    """Give the number of dimensions of an item."""
    return len(of.values) if isinstance(of, Attribute) else int(of.shape[1])
