"""Histories of different lengths behind each other, so that many are worked on at once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.types import Vectors

AT_ONCE = 2048  # items of histories: what is made of each is a vector of some hundred numbers


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


def weighted(weights: Vectors, values: Vectors, lengths: NDArray[np.int64]) -> Vectors:
    """Give the weighted sum of each of the parts that follow each other: (B, D) float32.

    A product of matrices for each part: faster than a sum over all values multiplied, which is as large as they are.

    Args:
        weights: (T,) float32.
        values: (T, D) float32.
        lengths: (B,), adding up to T.

    >>> weighted(np.array([1, 2, 3], np.float32), np.ones((3, 2), np.float32), np.array([2, 1])).tolist()
    [[3.0, 3.0], [3.0, 3.0]]
    """
    twice = np.stack([weights, weights])  # of a single line OpenBLAS would make several threads, each with little to do
    found = np.empty((len(lengths), values.shape[1]), np.float32)
    start = 0
    for line, length in enumerate(lengths.tolist()):
        part = slice(start, start + length)
        found[line] = np.matmul(twice[:, part], values[part])[0]
        start += length
    return found
