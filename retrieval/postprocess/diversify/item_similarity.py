"""What candidates are compared by."""

import numpy as np

from indexing.arrays.types import Vectors
from indexing.arrays.vectors import unit
from retrieval.candidates import Candidates, check_lines
from retrieval.features.attribute_values import Attribute


def shown(of: Vectors | Attribute, candidates: Candidates, centre: Vectors | None = None) -> Vectors:
    """Give unit vectors of (b, K) candidates: (b, K, D) float32, zero for an item that has none.

    Args:
        of: (N, D) float32 of any length; or an attribute, where items are alike by the values that they share.
        candidates: Of b queries; what stands for padding means nothing.
        centre: (D,) float32, taken from each vector that is not zero.

    Raises:
        ShapeError: When that is of other items than the candidates.
    """
    rows = candidates.rows
    check_lines(len(of), candidates, "an attribute" if isinstance(of, Attribute) else "vectors")
    if isinstance(of, Attribute):
        return unit(of.alone(rows))
    vectors = of[rows]
    if centre is not None:
        vectors = np.where(vectors.any(axis=-1, keepdims=True), vectors - centre, np.float32(0))
    return unit(vectors)


def dimensions(of: Vectors | Attribute) -> int:
    """Say how many numbers there are for an item."""
    return len(of.values) if isinstance(of, Attribute) else int(of.shape[1])
