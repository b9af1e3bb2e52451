"""Arrays that flow through every stage: their types, unit length, checks, ragged ones, and one that grows."""

import threading
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.errors import ShapeError, VectorError, examples
from indexing.runtime.arguments import check_array

Vectors: TypeAlias = NDArray[np.float32]
"""(N, D) float32: one embedding per row."""

Rows: TypeAlias = NDArray[np.int64]
"""int64 positions of items in a bundle; -1 pads where there is no item."""

Mask: TypeAlias = NDArray[np.bool_]
"""(N,) bool: one flag per item."""


def unit(vectors: np.ndarray[Any, Any]) -> Vectors:
    """Scale every row of an (N, D) array to unit length, as float32. A zero row stays zero.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    floats: Vectors = np.asarray(vectors, dtype=np.float32)
    norms: Vectors = np.linalg.norm(floats, axis=-1, keepdims=True)
    lengths: Vectors = np.where(norms > 0, norms, np.float32(1)).astype(np.float32)
    return floats / lengths


def check_vectors(vectors: Vectors, dim: int | None = None, name: str = "vectors") -> Vectors:
    """Check vectors and return them as contiguous (N, D) float32.

    Raises:
        ShapeError: When they are not 2-D or have another dimension.
        VectorError: When a row holds NaN or infinity, or is all zero.
    """
    hint = f"give (N, {dim}) finite numbers" if dim is not None else "give (N, D) finite numbers"
    vectors_ = np.ascontiguousarray(check_array(vectors, name, np.float32, hint))
    if vectors_.ndim != 2 or (dim is not None and vectors_.shape[1] != dim):
        expected = f"(N, {dim})" if dim is not None else "two-dimensional"
        raise ShapeError(f"{name} have shape {vectors_.shape}, expected {expected}")
    finite = np.isfinite(vectors_).all(axis=1)
    if not finite.all():
        raise VectorError(f"{name} hold NaN or infinity at rows {examples(np.flatnonzero(~finite).tolist())}")
    nonzero = vectors_.any(axis=1)
    if not nonzero.all():
        raise VectorError(f"{name} are all zero at rows {examples(np.flatnonzero(~nonzero).tolist())}: no direction")
    return vectors_


GROWTH = 1.25


class Growing:
    """An array to which rows are appended. Rows never change, so a reader of the first n keeps seeing those n.

    Readers that follow the same log append the same rows at the same position; only the first append does anything.

    >>> rows = Growing(np.arange(3))
    >>> rows.extended(3, np.array([7, 8])).tolist(), rows.extended(3, np.array([7, 8])).tolist()
    ([0, 1, 2, 7, 8], [0, 1, 2, 7, 8])
    """

    def __init__(self, rows: NDArray[Any]) -> None:
        self._buffer, self._used = rows, len(rows)
        self._lock = threading.Lock()

    def first(self, count: int) -> NDArray[Any]:
        """Return the first ``count`` rows."""
        return self._buffer[:count]

    def extended(self, start: int, more: NDArray[Any]) -> NDArray[Any]:
        """Return the first ``start`` rows with ``more`` after them."""
        end = start + len(more)
        with self._lock:
            if end > self._used:
                if end > len(self._buffer):
                    buffer = np.empty((int(end * GROWTH), *self._buffer.shape[1:]), self._buffer.dtype)
                    buffer[:start] = self._buffer[:start]
                    self._buffer = buffer
                self._buffer[start:end] = more
                self._used = end
            return self._buffer[:end]


ROWS_PER_SUM = 16_384  # so that nothing of the size of all vectors is copied


def masked_sum(vectors: Vectors, mask: Mask) -> NDArray[np.float64]:
    """Sum the rows of (N, D) vectors that are in the mask, block by block: (D,) float64.

    >>> masked_sum(np.eye(3, dtype=np.float32), np.array([True, False, True])).tolist()
    [1.0, 0.0, 1.0]
    """
    total = np.zeros(vectors.shape[1], np.float64)
    for start in range(0, len(vectors), ROWS_PER_SUM):
        total += mask[start : start + ROWS_PER_SUM].astype(np.float32) @ vectors[start : start + ROWS_PER_SUM]
    return total


ITEMS_PER_BATCH = 2048  # items of all histories in a batch; each becomes a vector of some hundred numbers


def lengths_of(parts: Iterable[Sized]) -> NDArray[np.int64]:
    """Return the length of each of B sequences: (B,) int64.

    >>> lengths_of([[7, 8], []]).tolist()
    [2, 0]
    """
    return np.array(list(map(len, parts)), np.int64)


def history_batches(lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Split the histories that are not empty into batches of about `ITEMS_PER_BATCH` items, to bound memory.

    >>> [group.tolist() for group in history_batches(np.array([1000, 0, 1000, 1000]))]
    [[0, 2], [3]]
    """
    nonempty = np.flatnonzero(lengths)
    group = np.cumsum(lengths[nonempty]) // ITEMS_PER_BATCH
    yield from np.split(nonempty, np.flatnonzero(np.diff(group)) + 1) if len(nonempty) else ()


def steps_back(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each item of concatenated histories its distance from the last item of its history, in positions.

    >>> steps_back(np.array([2, 0, 3])).tolist()
    [1, 0, 2, 1, 0]
    """
    positions: NDArray[np.int64] = np.repeat(np.cumsum(lengths), lengths) - 1 - np.arange(int(lengths.sum()))
    return positions


def segment_means(values: NDArray[np.floating[Any]], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean of each of B concatenated segments: (B,) float64, 0 for an empty one.

    >>> segment_means(np.array([1.0, 3.0, 5.0]), np.array([2, 0, 1])).tolist()
    [2.0, 0.0, 5.0]
    """
    sums = np.bincount(np.repeat(np.arange(len(lengths)), lengths), values, minlength=len(lengths))
    return sums / np.maximum(lengths, 1)


def weighted_sums(counts: Vectors, vectors: Vectors, rows: Rows, lengths: NDArray[np.int64]) -> Vectors:
    """Return S weighted sums for each of B concatenated segments: (B, S, D) float32, 0 for an empty one.

    Args:
        counts: (S, T) float32, the weights.
        vectors: (N, D) float32.
        rows: (T,), rows of ``vectors``.
        lengths: (B,), lengths of the segments; their sum is T.

    >>> counts, vectors = np.array([[1, 2, 3]], np.float32), np.ones((5, 2), np.float32)
    >>> weighted_sums(counts, vectors, np.array([4, 4, 0]), np.array([2, 0, 1])).tolist()
    [[[3.0, 3.0]], [[0.0, 0.0]], [[3.0, 3.0]]]
    """
    num_sums, dim = len(counts), vectors.shape[1]
    sums = np.zeros((len(lengths), max(2, num_sums), dim), np.float32)
    longest = int(lengths.max(initial=0))
    buffer = np.empty((max(longest, BUFFER_SIZE // max(1, dim)), dim), np.float32)
    for parts, positions, mask in padded_groups(lengths, len(buffer)):
        gathered = gather_into(vectors, rows[positions].ravel(), buffer).reshape(*positions.shape, dim)
        # For a single row OpenBLAS would start several threads, each with little to do.
        weights = np.broadcast_to(counts[:, positions] * mask, (sums.shape[1], *positions.shape))
        sums[parts] = batched_matmul(weights.swapaxes(0, 1), gathered)
    return sums[:, :num_sums]


def padded_groups(lengths: NDArray[np.int64], max_size: int) -> Iterator[tuple[Rows, Rows, Mask]]:
    """Group segments of about the same length, and pad each group to its longest. Empty segments are left out.

    >>> [(parts.tolist(), positions.tolist()) for parts, positions, _ in padded_groups(np.array([2, 1, 0, 4]), 4)]
    [([1, 0], [[2, 2], [0, 1]]), ([3], [[3, 4, 5, 6]])]

    Args:
        lengths: Lengths of concatenated segments.
        max_size: Most positions of a group of more than one segment, padding included.

    Yields:
        Indices of the segments (b,), positions of their elements (b, L), and a mask (b, L), False for padding.
    """
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    starts, end = np.cumsum(lengths) - lengths, 0
    while end < len(order):
        start, width = end, 0
        while end < len(order) and (end == start or (end - start + 1) * int(lengths[order[end]]) <= max_size):
            width, end = int(lengths[order[end]]), end + 1
        parts = order[start:end]
        mask = np.arange(width) < lengths[parts, None]
        yield parts, starts[parts, None] + np.minimum(np.arange(width), lengths[parts, None] - 1), mask


# A matrix product of at most so many multiplications runs in one thread of OpenBLAS: more would wait for each other.
_ONE_THREAD_PRODUCT = 2**18
BUFFER_SIZE = 2**19  # numbers copied before they are multiplied; they fit into the cache of a core


def row_products(vectors: Vectors, queries: Vectors, rows: Rows) -> Vectors:
    """Return the inner products of each of S queries of B users with the K rows of that user: (B, S, K) float32.

    Args:
        vectors: (N, D) float32.
        queries: (B, S, D) float32.
        rows: (B, K) int64, from 0 to N - 1.
    """
    (users, sources, dim), num_rows = queries.shape, rows.shape[1]
    scores = np.zeros((users, sources, num_rows), np.float32)
    if not scores.size or not dim:
        return scores
    rows_per_step = _even_size(num_rows, max(1, _ONE_THREAD_PRODUCT // (sources * dim)))
    users_per_step = max(1, BUFFER_SIZE // (rows_per_step * dim))
    buffer = np.empty((min(users, users_per_step) * rows_per_step, dim), np.float32)
    for first in range(0, users, users_per_step):
        batch = slice(first, first + users_per_step)
        for start in range(0, num_rows, rows_per_step):
            row_block = rows[batch, start : start + rows_per_step]
            gathered = gather_into(vectors, row_block.ravel(), buffer).reshape(*row_block.shape, dim)
            np.matmul(queries[batch], gathered.swapaxes(1, 2), out=scores[batch, :, start : start + rows_per_step])
    return scores


def matmul_into(left: Vectors, right: Vectors, out: Vectors) -> Vectors:
    """Write the product of (M, D) and (D, P) into (M, P) float32, and return it.

    The columns of all three must be contiguous in memory.
    """
    step = max(1, _ONE_THREAD_PRODUCT // max(1, left.size))
    end = right.shape[1] // step * step
    blocks, out_blocks = (matrix[:, :end].reshape(len(matrix), -1, step).swapaxes(0, 1) for matrix in (right, out))
    np.matmul(left, blocks, out=out_blocks)
    np.matmul(left, right[:, end:], out=out[:, end:])
    return out


def batched_matmul(left: Vectors, right: Vectors) -> Vectors:
    """Return the products of (b, M, D) and (b, D, P): (b, M, P) float32."""
    product = np.empty((*left.shape[:2], right.shape[2]), np.float32)
    step = max(1, _ONE_THREAD_PRODUCT // max(1, left[0].size))
    for start in range(0, right.shape[2], step):
        columns = slice(start, start + step)
        np.matmul(left, right[:, :, columns], out=product[:, :, columns])
    return product


def gather_into(vectors: Vectors, rows: Rows, buffer: Vectors) -> Vectors:
    """Copy K rows into the first rows of a reused (M, D) buffer, and return these: (K, D) float32."""
    out = buffer[: len(rows)]
    if not isinstance(vectors, np.ndarray):  # rows that are not in memory
        read: Vectors = vectors.take_into(rows, out)
        return read
    if vectors.flags.c_contiguous and vectors.dtype == buffer.dtype:
        return vectors.take(rows, axis=0, out=out, mode="clip")  # any other mode copies twice
    out[:] = vectors[rows]  # `take` would copy all of an array that is not contiguous
    return out


def _even_size(count: int, max_size: int) -> int:
    """Return a step of at most ``max_size`` that splits ``count`` into few parts of about equal size."""
    return -(-count // -(-count // max_size))
