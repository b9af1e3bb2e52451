"""Limits on a list: at most so many items of one value of an attribute, and no two items that are too similar."""

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from indexing.errors import InputError
from indexing.runtime.arguments import is_number, shown_number
from retrieval.candidates import Candidates, check_num_rows
from retrieval.models.features.attribute_values import Attribute
from retrieval.postprocess.diversify.mmr import candidate_vectors, dimensions


@dataclass(frozen=True, eq=False)
class Cap:
    """At most ``max_count`` of the items that are picked have the same value; items without values are never over it.

    An item of several values counts for each of them, and is over the cap when one of them is.

    Attributes:
        attribute: The values of each row.
        max_count: At least 1.
    """

    attribute: Attribute
    max_count: int

    def __post_init__(self) -> None:
        if isinstance(self.max_count, bool) or not isinstance(self.max_count, Integral):
            raise InputError(f"a cap of {self.max_count!r} is no whole number; give how many items of one value, as 3")
        if self.max_count < 1:
            raise InputError(
                f"a cap of {self.max_count} allows nothing; give at least 1, or exclude the items by a rule"
            )

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return 1

    def begin(self, candidates: Candidates) -> "Counted":
        """Begin to count, for b queries."""
        check_num_rows(len(self.attribute), candidates, "an attribute")
        return Counted(self.attribute.table(candidates.rows), len(self.attribute.values), self.max_count)


class Counted:
    """How often each value was picked so far.

    Args:
        codes: (b, K, M) int64, the values of each candidate; -1 where there is none.
        values: How many different values there are.
        max_count: How often each may be picked.
    """

    def __init__(self, codes: NDArray[np.int64], values: int, max_count: int) -> None:
        self._codes, self._none, self._max_count = codes, codes < 0, max_count
        self._queries = np.arange(len(codes))
        self._counts = np.zeros((len(codes), max(1, values)), np.int64)

    def within(self) -> Mask:
        """Say which candidates may still be picked: (b, K) bool."""
        full = self._counts[self._queries[:, None, None], self._codes] >= self._max_count
        return np.asarray((~full | self._none).all(axis=2), np.bool_)

    def pick(self, positions: NDArray[np.int64]) -> None:
        """Count one candidate of each query, (b,) int64."""
        codes = self._codes[self._queries, positions]
        query, index = np.nonzero(codes >= 0)
        np.add.at(self._counts, (query, codes[query, index]), 1)


@dataclass(frozen=True, eq=False)
class MaxSimilarity:
    """No item that is picked has a larger cosine than ``max_similarity`` with one that was picked before.

    Unlike variety that is weighed against relevance, this costs nothing where no two items are so similar. An item
    without a vector is similar to nothing.

    Attributes:
        features: What items are compared by: (N, D) float32, or an attribute; see `MMR`.
        max_similarity: A cosine from 0 to 1.
        centre: (D,) float32, subtracted from each vector; see `MMR`. Without one, cosines are those that search gives.
    """

    features: Vectors | Attribute
    max_similarity: float
    centre: Vectors | None = None

    def __post_init__(self) -> None:
        if not is_number(self.max_similarity, 0, 1):
            raise InputError(f"max_similarity is {shown_number(self.max_similarity)}; give a cosine from 0 to 1")

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return dimensions(self.features) + 1

    def begin(self, candidates: Candidates) -> "_MaxSimilarity":
        """Begin lists, for b queries."""
        return _MaxSimilarity(candidate_vectors(self.features, candidates, self.centre), self.max_similarity)


class _MaxSimilarity:
    """The largest cosine of each candidate with those picked so far.

    Args:
        vectors: (b, K, D) float32, unit vectors of the candidates.
        max_similarity: As above.
    """

    def __init__(self, vectors: Vectors, max_similarity: float) -> None:
        self._vectors, self._max_similarity = vectors, max_similarity
        self._similarity = np.full(vectors.shape[:2], -1.0)

    def within(self) -> Mask:
        """Say which candidates may still be picked: (b, K) bool."""
        return np.asarray(self._similarity <= self._max_similarity, np.bool_)

    def pick(self, positions: NDArray[np.int64]) -> None:
        """Compare all candidates with one that is picked for each query, (b,) int64."""
        picked = self._vectors[np.arange(len(positions)), positions]
        self._similarity = np.maximum(self._similarity, np.matmul(self._vectors, picked[:, :, None])[:, :, 0])
