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
        features: What items are compared by: (N, D) float32 of any length, or an attribute. A zero row is similar to
            nothing.
        strength: From 0, relevance alone, to 1, variety alone.
        sharpness: The exponent of relevance; see `relevance`.
        centre: (D,) float32, subtracted from each vector: vectors of one encoder share a large mean.
    """

    features: Vectors | Attribute
    strength: float = 0.3
    sharpness: float = 1.0
    centre: Vectors | None = None

    def __post_init__(self) -> None:
        check(self.strength, self.sharpness)

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return dimensions(self.features) + 1

    def begin(self, candidates: Candidates, k: int) -> "_Nearest":  # noqa: ARG002
        """Begin lists."""
        relevant = (1 - self.strength) * relevance(candidates, self.sharpness)
        return _Nearest(candidate_vectors(self.features, candidates, self.centre), relevant, self.strength)


class MSD(MMR):
    """Gain: (1 - strength) * relevance - strength * the mean cosine with the items that were picked."""

    def begin(self, candidates: Candidates, k: int) -> "_Nearest":  # noqa: ARG002
        """Begin lists."""
        relevant = (1 - self.strength) * relevance(candidates, self.sharpness)
        return _Mean(candidate_vectors(self.features, candidates, self.centre), relevant, self.strength)


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

    def pick(self, positions: NDArray[np.int64]) -> None:
        picked = self._vectors[np.arange(len(positions)), positions]
        cosines = np.matmul(self._vectors, picked[:, :, None])[:, :, 0].astype(np.float64)
        self._similarity = self._combined(cosines) if self._picked else cosines
        self._picked += 1

    def _combined(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.maximum(self._similarity, cosines)


class _Mean(_Nearest):
    """The mean cosine instead."""

    def _combined(self, cosines: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._similarity + (cosines - self._similarity) / (self._picked + 1)


def candidate_vectors(features: Vectors | Attribute, candidates: Candidates, centre: Vectors | None = None) -> Vectors:
    """Give unit vectors of (b, K) candidates: (b, K, D) float32, zero for an item that has none.

    Args:
        features: (N, D) float32 of any length; or an attribute: items that share values are similar.
        candidates: Of b queries; the vectors of padding mean nothing.
        centre: (D,) float32, subtracted from each vector that is not zero.

    Raises:
        ShapeError: When the features are of other items than the candidates.
    """
    rows = candidates.rows
    check_num_rows(len(features), candidates, "an attribute" if isinstance(features, Attribute) else "vectors")
    if isinstance(features, Attribute):
        return unit(features.alone(rows))
    vectors = features[rows]
    if centre is not None:
        vectors = np.where(vectors.any(axis=-1, keepdims=True), vectors - centre, np.float32(0))
    return unit(vectors)


def dimensions(features: Vectors | Attribute) -> int:
    """Give the number of dimensions of an item."""
    return len(features.values) if isinstance(features, Attribute) else int(features.shape[1])
