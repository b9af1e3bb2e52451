"""No two items of a list may be nearly the same: colours of one product, parts of one series."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Mask, Vectors
from indexing.errors import InputError
from indexing.runtime.arguments import is_number, shown_number
from retrieval.candidates import Candidates
from retrieval.features.attribute_values import Attribute
from retrieval.postprocess.diversify.item_similarity import dimensions, shown


@dataclass(frozen=True, eq=False)
class Apart:
    """No item that is picked has a larger cosine than ``most`` with one that was picked before.

    Unlike variety that is weighed against relevance, this costs nothing where no two items are that alike. An item
    without a vector resembles nothing.

    Attributes:
        of: What items are compared by: (N, D) float32, or an attribute; see `MMR`.
        most: From 0 to 1.
        centre: (D,) float32, taken from each vector; see `MMR`. Without one, cosines are those that search gives.
    """

    of: Vectors | Attribute
    most: float
    centre: Vectors | None = None

    def __post_init__(self) -> None:
        if not is_number(self.most, 0, 1):
            raise InputError(
                f"items cannot be kept apart by a cosine of {shown_number(self.most)}; give a number from 0 to 1"
            )

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return dimensions(self.of) + 1

    def begin(self, candidates: Candidates) -> "_Apart":
        """Begin lists, for b queries."""
        return _Apart(shown(self.of, candidates, self.centre), self.most)


class _Apart:
    """The largest cosine of each candidate with those picked so far.

    Args:
        vectors: (b, K, D) float32, unit vectors of the candidates.
        most: As above.
    """

    def __init__(self, vectors: Vectors, most: float) -> None:
        self._vectors, self._most = vectors, most
        self._alike = np.full(vectors.shape[:2], -1.0)

    def within(self) -> Mask:
        """Say which candidates may still be picked: (b, K) bool."""
        return np.asarray(self._alike <= self._most, np.bool_)

    def pick(self, places: NDArray[np.int64]) -> None:
        """Keep away from one candidate of each query, (b,) int64."""
        picked = self._vectors[np.arange(len(places)), places]
        self._alike = np.maximum(self._alike, np.matmul(self._vectors, picked[:, :, None])[:, :, 0])
