"""Inner products of queries with some rows of a table each, without a copy of all these rows."""

import numpy as np

from indexing.types import Rows, Vectors

# Multiplications of a product that OpenBLAS leaves to one thread: with so little to do, several wait for each other.
_SMALL = 2**18
_NARROW = 32  # dimensions of vectors so short that a block of users fits the cache


def products(vectors: Vectors, queries: Vectors, rows: Rows) -> Vectors:
    """Give the inner product of each of S queries of B users with the K rows of that user: (B, S, K) float32.

    What one user needs fits the processor's cache; what a block of users needs does not, so users come one by one.

    Args:
        vectors: (N, D) float32.
        queries: (B, S, D) float32.
        rows: (B, K) int64, from 0 to N - 1.
    """
    if vectors.shape[1] <= _NARROW:
        short: Vectors = np.matmul(queries, vectors[rows].swapaxes(1, 2))
        return short
    found = np.empty((*queries.shape[:2], rows.shape[1]), np.float32)
    many = max(1, _SMALL // max(1, queries.shape[1] * vectors.shape[1]))
    room = np.empty((min(many, rows.shape[1]), vectors.shape[1]), np.float32)
    for start in range(0, rows.shape[1], many):
        some = slice(start, start + many)
        for query, line, out in zip(queries, rows[:, some], found[:, :, some], strict=True):
            out[:] = np.matmul(query, taken(vectors, line, room).T)
    return found


def multiplied(left: Vectors, right: Vectors) -> Vectors:
    """Give the product of (M, D) and (D, P) in parts, each of them too small for several threads: (M, P) float32."""
    found = np.empty((len(left), right.shape[1]), np.float32)
    many = max(1, _SMALL // max(1, left.size))
    for start in range(0, right.shape[1], many):
        some = slice(start, start + many)
        np.matmul(left, right[:, some], out=found[:, some])
    return found


def taken(vectors: Vectors, rows: Rows, room: Vectors) -> Vectors:
    """Copy rows to the front of (M, D) room that is used again and again, and give that part of it: (K, D) float32."""
    here = room[: len(rows)]
    if vectors.flags.c_contiguous and vectors.dtype == room.dtype:
        return vectors.take(rows, axis=0, out=here, mode="clip")  # any other mode copies twice
    here[:] = vectors[rows]  # of what is not contiguous `take` would copy everything
    return here
