"""Products of matrices in parts so small that OpenBLAS leaves each to one thread, and so few calls of numpy.

Blocks of users are worked on in several threads, which hold each other up whenever they call numpy: so many users are
worked on in one call, as far as what they need fits the processor's cache.
"""

import numpy as np

from indexing.types import Rows, Vectors

# Multiplications of a product that OpenBLAS leaves to one thread: with so little to do, several wait for each other.
_SMALL = 2**18
ROOM = 2**19  # numbers that are copied before they are multiplied: what the cache of a core holds


def products(vectors: Vectors, queries: Vectors, rows: Rows) -> Vectors:
    """Give the inner product of each of S queries of B users with the K rows of that user: (B, S, K) float32.

    Args:
        vectors: (N, D) float32.
        queries: (B, S, D) float32.
        rows: (B, K) int64, from 0 to N - 1.
    """
    (users, sources, dim), wanted = queries.shape, rows.shape[1]
    found = np.zeros((users, sources, wanted), np.float32)
    if not found.size or not dim:
        return found
    many = _evenly(wanted, max(1, _SMALL // (sources * dim)))
    together = max(1, ROOM // (many * dim))
    room = np.empty((min(users, together) * many, dim), np.float32)
    for first in range(0, users, together):
        some = slice(first, first + together)
        for start in range(0, wanted, many):
            part = rows[some, start : start + many]
            copied = taken(vectors, part.ravel(), room).reshape(*part.shape, dim)
            np.matmul(queries[some], copied.swapaxes(1, 2), out=found[some, :, start : start + many])
    return found


def multiplied(left: Vectors, right: Vectors, out: Vectors) -> Vectors:
    """Write the product of (M, D) and (D, P) to (M, P) float32, and give it.

    The columns of all three must follow each other in memory.
    """
    many = max(1, _SMALL // max(1, left.size))
    whole = right.shape[1] // many * many
    parts, places = (one[:, :whole].reshape(len(one), -1, many).swapaxes(0, 1) for one in (right, out))
    np.matmul(left, parts, out=places)
    np.matmul(left, right[:, whole:], out=out[:, whole:])
    return out


def batches(left: Vectors, right: Vectors) -> Vectors:
    """Give the products of (b, M, D) and (b, D, P): (b, M, P) float32."""
    found = np.empty((*left.shape[:2], right.shape[2]), np.float32)
    many = max(1, _SMALL // max(1, left[0].size))
    for start in range(0, right.shape[2], many):
        some = slice(start, start + many)
        np.matmul(left, right[:, :, some], out=found[:, :, some])
    return found


def taken(vectors: Vectors, rows: Rows, room: Vectors) -> Vectors:
    """Copy rows to the front of (M, D) room that is used again and again, and give that part of it: (K, D) float32."""
    here = room[: len(rows)]
    if vectors.flags.c_contiguous and vectors.dtype == room.dtype:
        return vectors.take(rows, axis=0, out=here, mode="clip")  # any other mode copies twice
    here[:] = vectors[rows]  # of what is not contiguous `take` would copy everything
    return here


def _evenly(count: int, most: int) -> int:
    """Say how many to take at a time, so that none of as few parts as possible is much smaller than the others."""
    return -(-count // -(-count // most))
