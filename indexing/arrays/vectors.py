"""Vectors of unit length, and checks of queries."""

from typing import Any

import numpy as np

from indexing.arrays.types import Vectors
from indexing.errors import ShapeError, VectorError, examples
from indexing.runtime.arguments import check_array


def unit(vectors: np.ndarray[Any, Any]) -> Vectors:
    """Scale every line of an (N, D) array to unit length, as float32; a zero line stays zero.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    floats: Vectors = np.asarray(vectors, dtype=np.float32)
    norms: Vectors = np.linalg.norm(floats, axis=-1, keepdims=True)
    lengths: Vectors = np.where(norms > 0, norms, np.float32(1)).astype(np.float32)
    return floats / lengths


def check_vectors(vectors: Vectors, dim: int | None = None, what: str = "vectors") -> Vectors:
    """Check vectors at the door and give them as contiguous (N, D) float32.

    Raises:
        ShapeError: When they are not 2-D or have another dimension.
        VectorError: When a line holds NaN or infinity, or is all zero.
    """
    way = f"give (N, {dim}) finite numbers" if dim is not None else "give (N, D) finite numbers"
    array = np.ascontiguousarray(check_array(vectors, what, np.float32, way))
    if array.ndim != 2 or (dim is not None and array.shape[1] != dim):
        expected = f"(N, {dim})" if dim is not None else "two-dimensional"
        raise ShapeError(f"{what} have shape {array.shape}, expected {expected}")
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise VectorError(f"{what} hold NaN or infinity at rows {examples(np.flatnonzero(~finite).tolist())}")
    alive = array.any(axis=1)
    if not alive.all():
        raise VectorError(f"{what} are all zero at rows {examples(np.flatnonzero(~alive).tolist())}: no direction")
    return array
