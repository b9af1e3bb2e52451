"""Sizes in bytes, as people write them."""

import re

from indexing.errors import InputError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def parse_bytes(size: int | str) -> int:
    """Give a size in bytes.

    >>> parse_bytes("256M"), parse_bytes("1.5g"), parse_bytes(1000)
    (268435456, 1610612736, 1000)

    Raises:
        InputError: When it is no size, or not positive.
    """
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:I?B)?\s*", str(size).upper())
    value = int(float(found[1]) * UNITS[found[2]]) if found else 0
    if value < 1:
        raise InputError(f"size {size!r} is not understood; write a number of bytes such as 268435456, '256M' or '2G'")
    return value
