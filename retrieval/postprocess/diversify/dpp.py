"""Determinantal point processes: the more room a list's vectors span together, the more varied it is.

Source: Chen, Zhang and Zhou 2018, "Fast greedy MAP inference for determinantal point process to improve recommendation
diversity". What an item adds is kept up to date by one row of a Cholesky factor for each item that is picked.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Vectors
from retrieval.candidates import Candidates
from retrieval.features.attribute_values import Attribute
from retrieval.postprocess.diversify.item_similarity import dimensions, shown
from retrieval.postprocess.diversify.relevance import check, relevance

# What an item adds that those picked span already: above what is left of it by float32, and not 0, to have a logarithm.
LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class DPP:
    """Gain: (1 - strength) * relevance + strength * by how much log det S grows, S of the items picked.

    S holds (1 + cosine) / 2 of each pair, so that opposite items are the most different, and 1 of an item with itself.

    Attributes:
        of: What items are compared by: (N, D) float32, or an attribute; see `MMR`.
        strength: From 0, relevance alone, to 1, variety alone.
        sharpness: To which power relevance is taken; see `relevance`.
        centre: (D,) float32, taken from each vector; see `MMR`.
    """

    of: Vectors | Attribute
    strength: float = 0.3
    sharpness: float = 1.0
    centre: Vectors | None = None

    def __post_init__(self) -> None:
        check(self.strength, self.sharpness)

    def width(self, k: int) -> int:
        """Say how many numbers are held for each candidate."""
        return dimensions(self.of) + 2 * k + 2

    def begin(self, candidates: Candidates, k: int) -> "_Volume":
        """Begin lists."""
        relevant = (1 - self.strength) * relevance(candidates, self.sharpness)
        return _Volume(shown(self.of, candidates, self.centre), relevant, self.strength, k)


class _Volume:
    """The Cholesky factor of S, a row for each item picked, and what each candidate would add.

    Args:
        vectors: (b, K, D) float32, unit vectors of the candidates.
        relevant: (b, K) float64, what relevance adds.
        strength: As above.
        k: How many will be picked.
    """

    def __init__(self, vectors: Vectors, relevant: NDArray[np.float64], strength: float, k: int) -> None:
        self._vectors, self._relevant, self._strength = vectors, relevant, strength
        self._factor = np.zeros((*relevant.shape, k))
        self._added = np.ones(relevant.shape)  # the squared diagonal of the factor if a candidate were the next
        self._picked = 0

    def values(self) -> NDArray[np.float64]:
        return self._relevant + self._strength * np.log(self._added)

    def pick(self, places: NDArray[np.int64]) -> None:
        lines = np.arange(len(places))
        cosines = np.matmul(self._vectors, self._vectors[lines, places][:, :, None])[:, :, 0].astype(np.float64)
        before = self._factor[:, :, : self._picked]
        common = np.matmul(before, before[lines, places][:, :, None])[:, :, 0]
        added = self._added[lines, places][:, None]
        row = np.where(added > LEAST, (1 + cosines) / 2 - common, 0.0) / np.sqrt(added)
        self._factor[:, :, self._picked] = row
        self._picked += 1
        self._added = np.maximum(self._added - row**2, LEAST)
