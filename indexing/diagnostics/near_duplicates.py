"""Pictures that look alike: 64-bit difference hashes, and those within a few bits found without comparing all pairs."""

from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

DISTANCE = 4
BANDS = 6  # with at most 4 bits that differ, at least 2 of 6 bands are equal
MOST_NEIGHBOURS = 128  # compared within a bucket; only thousands of pictures with hardly any detail share one
Places = npt.NDArray[np.intp]
Hashes = npt.NDArray[np.uint64]


def near_groups(hashes: Hashes, distance: int = DISTANCE) -> list[list[int]]:
    """Group the places of hashes that are within a few bits of each other, or of a third one in between.

    >>> near_groups(np.array([0, 2**64 - 1, 1, 3, 2**40 - 1], np.uint64), 1)
    [[0, 2, 3]]
    """
    values, inverse = np.unique(hashes, return_inverse=True)
    group_of = np.arange(len(values))
    for keys in _band_pairs(values):
        group_of = _joined(group_of, values, keys, distance)
    return equal_groups(group_of[inverse])


def equal_groups(values: Hashes | Places) -> list[list[int]]:
    """Group the places of equal values, the largest groups first; a value that comes once is in none.

    >>> equal_groups(np.array([7, 8, 9, 8, 7, 8]))
    [[1, 3, 5], [0, 4]]
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    starts = np.flatnonzero(np.append(len(values) > 0, ordered[1:] != ordered[:-1]))
    sizes = np.diff(np.append(starts, len(values)))
    several = sizes > 1
    groups = [order[start : start + size].tolist() for start, size in zip(starts[several], sizes[several], strict=True)]
    return sorted(groups, key=lambda group: (-len(group), group))


def _band_pairs(values: Hashes) -> list[Hashes]:
    """Give for every two bands the bits of both: whoever is close to a hash shares one of these with it."""
    edges = np.linspace(0, 64, BANDS + 1).astype(int)
    masks = [((1 << int(end)) - 1) ^ ((1 << int(start)) - 1) for start, end in pairwise(edges)]
    return [values & np.uint64(first | second) for first, second in combinations(masks, 2)]


def _joined(group_of: Places, values: Hashes, keys: Hashes, distance: int) -> Places:
    """Join the groups of close hashes that share a key, comparing each with the next ones in sorted order."""
    order = np.argsort(keys, kind="stable")
    ordered, hashes = keys[order], values[order]
    active = np.arange(len(values))
    for step in range(1, MOST_NEIGHBOURS + 1):
        active = active[active < len(values) - step]
        active = active[ordered[active] == ordered[active + step]]
        if not len(active):
            break
        near = active[np.bitwise_count(hashes[active] ^ hashes[active + step]) <= distance]
        group_of = _union(group_of, order[near], order[near + step])
    return group_of


def _union(group_of: Places, left: Places, right: Places) -> Places:
    """Give each group that is linked with another the smaller number, until nothing changes."""
    while True:
        first, second = group_of[left], group_of[right]
        if not (differ := first != second).any():
            return group_of
        low, high = np.minimum(first, second)[differ], np.maximum(first, second)[differ]
        parents = np.arange(len(group_of))
        np.minimum.at(parents, high, low)
        while not np.array_equal(jumped := parents[parents], parents):
            parents = jumped
        group_of = parents[group_of]
