"""An order for logs that have none: drawn, whatever the order of the rows and whatever else a log holds."""

from collections.abc import Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray


def drawn_numbers(
    user_ids: Sequence[str], users: NDArray[np.int64], item_ids: Sequence[str], items: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Draw a number for each interaction, from the names of its user and its item alone: (n,) uint64.

    Args:
        user_ids: Names.
        users: (n,) places among these.
        item_ids: Names.
        items: (n,) places among these.

    >>> one = drawn_numbers(["ann", "bob"], np.array([0, 1, 0]), ["mug", "cup"], np.array([0, 0, 1]))
    >>> other = drawn_numbers(["bob"], np.array([0]), ["mug"], np.array([0]))
    >>> one.argsort().tolist(), bool(one[1] == other[0])
    ([0, 2, 1], True)
    """
    of_user, of_item = _hashes(user_ids)[users], _hashes(item_ids)[items]
    mixed = (of_user << np.uint64(32)) | of_item
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):  # splitmix64
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed


def _hashes(names: Sequence[str]) -> NDArray[np.uint64]:
    return np.array([crc32(name.encode("utf-8", "surrogatepass")) for name in names], np.uint64)
