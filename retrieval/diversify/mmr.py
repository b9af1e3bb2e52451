"""Maximal marginal relevance: an item is worth less the more it resembles one that is shown already.

Source: Carbonell and Goldstein 1998, "The use of MMR, diversity-based reranking for reordering documents".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.encoders.base import unit
from indexing.types import Vectors
from retrieval.candidates import Candidates
from retrieval.diversify.relevance import check_strength, relevance


@dataclass(frozen=True, eq=False)
class MMR:
    """Gain: (1 - strength) * relevance - strength * the largest cosine with an item that was picked.

    Attributes:
        vectors: (N, D) float32, of any length; one that is zero resembles nothing. Vectors of one encoder share a
            large mean: take it away first, or all items look alike.
        strength: From 0, relevance alone, to 1, variety alone.
    """

    vectors: Vectors
    strength: float = 0.3

    def __post_init__(self) -> None:
        check_strength(self.strength)

    def width(self, k: int) -> int:  # noqa: ARG002 - one of several objectives
        """Say how many numbers are held for each candidate."""
        return int(self.vectors.shape[1]) + 1

    def begin(self, candidates: Candidates, k: int) -> "_Nearest":  # noqa: ARG002
        """Begin lists."""
        return _Nearest(unit(self.vectors[candidates.rows]), relevance(candidates), self.strength)


class _Nearest:
    """The largest cosine of each candidate with those picked so far.

    Args:
        shown: (b, K, D) float32, unit vectors of the candidates.
        relevant: (b, K) float64.
        strength: As above.
    """

    def __init__(self, shown: Vectors, relevant: NDArray[np.float64], strength: float) -> None:
        self._shown, self._relevant, self._strength = shown, (1 - strength) * relevant, strength
        self._nearest: NDArray[np.float64] | None = None

    def values(self) -> NDArray[np.float64]:
        return self._relevant if self._nearest is None else self._relevant - self._strength * self._nearest

    def pick(self, places: NDArray[np.int64]) -> None:
        picked = self._shown[np.arange(len(places)), places]
        cosines = np.matmul(self._shown, picked[:, :, None])[:, :, 0].astype(np.float64)
        self._nearest = cosines if self._nearest is None else np.maximum(self._nearest, cosines)
