"""Where each item_id is: tables from item_id to row, in memory or in mapped files without a Python string an item."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.int64]
HASHES, HASHED_ROWS = 0, 1  # lines of the file of a `MappedIds`
PIECE = 65_536  # ids that are Python strings at a time


class IdTable(Protocol):
    """N item_ids in row order, all of them different."""

    def __len__(self) -> int:
        """Return N."""
        ...

    def __getitem__(self, row: int) -> str:
        """Return the item_id of a row from 0 to N - 1."""
        ...

    def __iter__(self) -> Iterator[str]:
        """Go through the item_ids in row order."""
        ...

    def slice(self, start: int, stop: int) -> Sequence[str]:
        """Return the item_ids of consecutive rows."""
        ...

    def row(self, item_id: str) -> int | None:
        """Return the row of an item_id, or None where there is none."""
        ...

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each item_id, -1 where there is none: (len(item_ids),) int64."""
        ...

    @property
    def by_hash(self) -> NDArray[np.uint64]:
        """The hashes of the item_ids, sorted, and below each its row: (2, N) uint64; see `hash_table`."""
        ...


class IdsInMemory:
    """An `IdTable` of Python strings."""

    def __init__(self, item_ids: tuple[str, ...]) -> None:
        self._ids = item_ids
        self._row_of = {item_id: row for row, item_id in enumerate(item_ids)}

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, row: int) -> str:
        return self._ids[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def slice(self, start: int, stop: int) -> Sequence[str]:
        """Return the item_ids of consecutive rows."""
        return self._ids[start:stop]

    def row(self, item_id: str) -> int | None:
        """Return the row of an item_id, or None where there is none."""
        return self._row_of.get(item_id)

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each item_id, -1 where there is none."""
        find = self._row_of.get
        return np.fromiter((find(item_id, -1) for item_id in item_ids), np.int64, len(item_ids))

    @cached_property
    def by_hash(self) -> NDArray[np.uint64]:
        """The hashes of the item_ids, sorted, and below each its row; made when first asked for."""
        return _sorted_hashes(self._ids, len(self._ids))


class MappedIds:
    """An `IdTable` over an Arrow column, found by sorted hashes of 64 bits; what is found is compared as text.

    Args:
        ids: N texts, none of them missing.
        table: What `hash_table` made of them: (2, N) uint64.
    """

    def __init__(self, ids: pa.ChunkedArray, table: NDArray[np.uint64]) -> None:
        self.by_hash = table
        self._ids, self._hashes, self._rows = ids, table[HASHES], table[HASHED_ROWS]

    def __len__(self) -> int:
        return len(self._ids)

    def __getitem__(self, row: int) -> str:
        item_id: str = self._ids[row].as_py()
        return item_id

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), PIECE):
            yield from self.slice(start, start + PIECE)

    def slice(self, start: int, stop: int) -> Sequence[str]:
        """Return the item_ids of consecutive rows."""
        ids: list[str] = self._ids.slice(start, max(0, stop - start)).to_pylist()
        return ids

    def row(self, item_id: str) -> int | None:
        """Return the row of an item_id, or None where there is none."""
        hashed = hash_of(item_id)
        position = int(self._hashes.searchsorted(np.uint64(hashed)))
        while position < len(self) and int(self._hashes[position]) == hashed:  # ids of one hash follow each other
            row = int(self._rows[position])
            if row < len(self) and self._ids[row].as_py() == item_id:
                return row
            position += 1
        return None

    def rows(self, item_ids: Sequence[str]) -> Rows:
        """Return the row of each item_id, -1 where there is none."""
        if not len(item_ids) or not len(self):
            return np.full(len(item_ids), -1, np.int64)
        hashed = hashes_of(item_ids, len(item_ids))
        positions = np.minimum(self._hashes.searchsorted(hashed), len(self) - 1)
        has_hash = self._hashes[positions] == hashed
        rows: Rows = np.where(has_hash, np.minimum(self._rows[positions], np.uint64(len(self) - 1)), 0).astype(np.int64)
        rows[~has_hash] = -1
        for number in np.flatnonzero(has_hash).tolist():
            if self._ids[int(rows[number])].as_py() != item_ids[number]:  # another id of the same hash
                row = self.row(item_ids[number])
                rows[number] = -1 if row is None else row
        return rows


def hash_of(item_id: str) -> int:
    """Return 64 bits that stand for an item_id, the same on every machine.

    >>> hash_of("mug-1") == hash_of("mug-1"), hash_of("mug-1") < 2**64
    (True, True)
    """
    return int.from_bytes(hashlib.blake2b(item_id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def hash_table(ids: pa.ChunkedArray) -> NDArray[np.uint64]:
    """Return the hashes of N item_ids, sorted, and below each its row: (2, N) uint64."""
    pieces = (ids.slice(start, PIECE).to_pylist() for start in range(0, len(ids), PIECE))
    return _sorted_hashes((item_id for piece in pieces for item_id in piece), len(ids))


def hashes_of(item_ids: Iterable[str], count: int) -> NDArray[np.uint64]:
    """Return the `hash_of` of each of so many item_ids: (count,) uint64."""
    return np.fromiter(map(hash_of, item_ids), np.uint64, count)


def _sorted_hashes(item_ids: Iterable[str], count: int) -> NDArray[np.uint64]:
    hashed = hashes_of(item_ids, count)
    order = np.argsort(hashed, kind="stable")
    return np.stack([hashed[order], order.astype(np.uint64)])


def same_ids(left: IdTable, right: IdTable) -> bool:
    """Whether two tables hold the same item_ids in the same order."""
    if left is right:
        return True
    if len(left) != len(right):
        return False
    pieces = ((start, min(start + PIECE, len(left))) for start in range(0, len(left), PIECE))
    return all(list(left.slice(*piece)) == list(right.slice(*piece)) for piece in pieces)
