"""Arrays that flow through every stage: their types, unit length, checks, ragged ones, and one that grows."""

import threading
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import ShapeError, VectorError, examples
from indexing.runtime.arguments import check_array

Vectors: TypeAlias = NDArray[np.float32]
"""(N, D) float32: one embedding per line."""

Rows: TypeAlias = NDArray[np.int64]
"""int64 positions of items in a bundle; -1 pads where there is no item."""

Mask: TypeAlias = NDArray[np.bool_]
"""(N,) bool: one flag per item."""


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


SPARE = 1.25


class Growing:
    """Rows that stay where they are while more are added; a reader of the first n sees those n for ever.

    Readers that follow the same log add the same rows at the same place, so only the first of them has to.

    >>> rows = Growing(np.arange(3))
    >>> rows.extended(3, np.array([7, 8])).tolist(), rows.extended(3, np.array([7, 8])).tolist()
    ([0, 1, 2, 7, 8], [0, 1, 2, 7, 8])
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._buffer, self._used = rows, len(rows)
        self._lock = threading.Lock()

    def first(self, count: int) -> NDArray[Any]:
        """Give the first ``count`` rows."""
        return self._buffer[:count]

    def extended(self, start: int, more: NDArray[Any]) -> NDArray[Any]:
        """Give the first ``start`` rows and ``more`` after them."""
        end = start + len(more)
        with self._lock:
            if end > self._used:
                if end > len(self._buffer):
                    room = np.empty((int(end * SPARE), *self._buffer.shape[1:]), self._buffer.dtype)
                    room[:start] = self._buffer[:start]
                    self._buffer = room
                self._buffer[start:end] = more
                self._used = end
            return self._buffer[:end]


AT_ONCE = 2048  # items of histories: what is made of each is a vector of some hundred numbers


def lengths_of(parts: Iterable[Sized]) -> NDArray[np.int64]:
    """Count what is in each of B parts: (B,) int64.

    >>> lengths_of([[7, 8], []]).tolist()
    [2, 0]
    """
    return np.array(list(map(len, parts)), np.int64)


def together(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Part the histories that are not empty, by length, into groups of so few items that what is made of them is small.

    >>> [group.tolist() for group in together(np.array([1000, 0, 1000, 1000]))]
    [[0, 2], [3]]
    """
    there = np.flatnonzero(lengths)
    group = np.cumsum(lengths[there]) // AT_ONCE
    yield from np.split(there, np.flatnonzero(np.diff(group)) + 1) if len(there) else ()


def ages(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give for each item of histories how many positions before the last of its history it is.

    >>> ages(np.array([2, 0, 3])).tolist()
    [1, 0, 2, 1, 0]
    """
    found: NDArray[np.int64] = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(int(lengths.sum()))
    return found


def means(values: NDArray[np.floating[Any]], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the mean of each of the parts that follow each other: (B,) float64, 0 for an empty one.

    >>> means(np.array([1.0, 3.0, 5.0]), np.array([2, 0, 1])).tolist()
    [2.0, 0.0, 5.0]
    """
    sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths), values, minlength=len(lengths))
    return sums / np.maximum(lengths, 1)


def weighted(counts: Vectors, vectors: Vectors, rows: Rows, lengths: NDArray[np.int64]) -> Vectors:
    """Give S weighted sums of each of B parts that follow each other: (B, S, D) float32, 0 for an empty one.

    Args:
        counts: (S, T) float32.
        vectors: (N, D) float32.
        rows: (T,), which of them.
        lengths: (B,), adding up to T.

    >>> counts, vectors = np.array([[1, 2, 3]], np.float32), np.ones((5, 2), np.float32)
    >>> weighted(counts, vectors, np.array([4, 4, 0]), np.array([2, 0, 1])).tolist()
    [[[3.0, 3.0]], [[0.0, 0.0]], [[3.0, 3.0]]]
    """
    sums, dim = len(counts), vectors.shape[1]
    found = np.zeros((len(lengths), max(2, sums), dim), np.float32)
    longest = int(lengths.max(initial=0))
    room = np.empty((max(longest, ROOM // max(1, dim)), dim), np.float32)
    for lines, places, there in alike(lengths, len(room)):
        copied = taken(vectors, rows[places].ravel(), room).reshape(*places.shape, dim)
        # Of a single line OpenBLAS would make several threads, each with little to do.
        several = np.broadcast_to(counts[:, places] * there, (found.shape[1], *places.shape))
        found[lines] = batches(several.swapaxes(0, 1), copied)
    return found[:, :sums]


def alike(lengths: NDArray[np.int64], most: int) -> Iterator[tuple[Rows, Rows, Mask]]:
    """Part what is not empty into groups of about the same length, filled up so that all of a group are equally long.

    >>> [(lines.tolist(), places.tolist()) for lines, places, _ in alike(np.array([2, 1, 0, 4]), 4)]
    [([1, 0], [[2, 2], [0, 1]]), ([3], [[3, 4, 5, 6]])]

    Args:
        lengths: Of parts that follow each other.
        most: Places of a group, where there is more than one part.

    Yields:
        Which parts (b,), the places of what is in them (b, L), and (b, L) whether that is in them or fills up.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    starts, end = np.cumsum(lengths) - lengths, 0
    while end < len(order):
        first, wide = end, 0
        while end < len(order) and (end == first or (end - first + 1) * int(lengths[order[end]]) <= most):
            wide, end = int(lengths[order[end]]), end + 1
        lines = order[first:end]
        there = np.arange(wide) < lengths[lines, None]
        yield lines, starts[lines, None] + np.minimum(np.arange(wide), lengths[lines, None] - 1), there


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
