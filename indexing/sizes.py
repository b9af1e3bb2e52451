"""Sizes in bytes, as people write them."""

import re

from indexing.errors import InputError

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([KMGT]?)(?:I?B)?", re.IGNORECASE)


def parse_bytes(size: int | str) -> int:
    """Read a number of bytes; K, M, G and T are powers of 1,024.

    >>> parse_bytes("2G"), parse_bytes("1.5 kB"), parse_bytes("3MiB"), parse_bytes(100)
    (2147483648, 1536, 3145728, 100)

    Raises:
        InputError: When it is not one, or less than one byte.
    """
    found = _SIZE.fullmatch(str(size).strip()) if type(size) in (int, str) else None
    wanted = float(found[1]) * UNITS[found[2].upper()] if found else 0.0
    value = int(wanted) if wanted < 2**63 else 0
    if value < 1:
        raise InputError(f"{size!r} is no amount of memory; give bytes, or text such as '512M' or '2G'")
    return value
