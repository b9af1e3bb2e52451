"""Histories of different lengths behind each other, so that many are worked on at once."""

from collections.abc import Iterable, Iterator, Sized
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.types import Mask, Rows, Vectors
from retrieval.products import ROOM, batches, taken

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
