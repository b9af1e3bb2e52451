"""Histories of different lengths behind each other, so that many are worked on at once."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

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
