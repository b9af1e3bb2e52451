"""Tables of vectors that are not in memory: rows are read, or computed from what is read, when they are asked for.

A `LazyRows` takes the place of an (N, D) array where rows are read: ``table[rows]``, ``table[:, :512]``,
``len(table)``, ``table.shape``, ``table @ query`` and ``queries @ table.T`` work as with an array, block by block.
Sums and comparisons of all rows are refused; ``numpy.asarray(table)`` brings them into memory on request.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from operator import index
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from indexing.arrays import Growing, Mask, Rows

IN_MEMORY_BYTES = 128 << 20  # up to so many a table is in memory, where rows are read fastest
BLOCK_ROWS = 16_384  # at a time, so that what is computed on the way stays small
Table: TypeAlias = "NDArray[Any] | LazyRows"


def fits_in_memory(num_bytes: int) -> bool:
    """Whether a table of so many bytes is read into memory, where its rows are found fastest."""
    return num_bytes <= IN_MEMORY_BYTES


class LazyRows(ABC):
    """An (N, D) table of which rows are read or computed when asked for; safe to share between threads.

    Attributes:
        shape: N and D.
        dtype: Of the numbers.
    """

    ndim = 2
    __array_ufunc__ = None  # a sum or a comparison with all rows is refused, and a product comes here

    def __init__(self, shape: tuple[int, int], dtype: DTypeLike) -> None:
        self.shape, self.dtype = (int(shape[0]), int(shape[1])), np.dtype(dtype)

    @abstractmethod
    def read(self, rows: Rows | slice, columns: slice) -> NDArray[Any]:
        """Return some columns of rows from 0 to N - 1, or of consecutive rows: (K, d)."""
        ...

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:  # noqa: ANN401 - as an array takes them
        rows, columns = key if isinstance(key, tuple) else (key, slice(None))
        if isinstance(columns, slice):
            if isinstance(rows, slice) and rows == slice(None):
                start, stop, _ = columns.indices(self.shape[1])
                return self if (start, stop) == (0, self.shape[1]) else ColumnRange(self, start, stop)
            return self._rows(rows, columns)
        return self._column(rows, index(columns) % self.shape[1])

    def _rows(self, rows: Any, columns: slice) -> NDArray[Any]:  # noqa: ANN401
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self.read(slice(start, max(start, stop)), columns)[:: step if step > 0 else 1]
        if not isinstance(rows, np.ndarray | Sequence):
            row: NDArray[Any] = self._rows(np.array([index(rows)]), columns)[0]
            return row
        wanted = np.asarray(rows)
        if wanted.dtype == np.bool_:
            wanted = np.flatnonzero(wanted)
        flat = wanted.astype(np.int64, copy=False).ravel()
        if flat.size and not -len(self) <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"rows from {flat.min()} to {flat.max()} of {len(self)}")
        found = self.read(np.where(flat < 0, flat + len(self), flat), columns)
        return found.reshape(*wanted.shape, found.shape[1])

    def _column(self, rows: Any, column: int) -> NDArray[Any]:  # noqa: ANN401
        if isinstance(rows, slice) and rows == slice(None):
            return np.concatenate([block[:, 0] for block in self[:, column : column + 1].blocks()])
        values: NDArray[Any] = self._rows(rows, slice(column, column + 1))[..., 0]
        return values

    def blocks(self, size: int = BLOCK_ROWS) -> Iterator[NDArray[Any]]:
        """Go through all rows in order, some at a time."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def take_into(self, rows: Rows, out: NDArray[Any]) -> NDArray[Any]:
        """Copy K rows into a (K, D) array, and return it; see `indexing.arrays.gather_into`."""
        out[:] = self.read(rows, slice(None))
        return out

    def __matmul__(self, other: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([block @ other for block in self.blocks()])

    @property
    def T(self) -> "_Transposed":  # noqa: N802 - as of arrays
        """What stands on the right of a product with queries."""
        return _Transposed(self)

    def mean(self, axis: int) -> NDArray[np.float32]:
        """Return the mean of all rows, as float32 of a sum in double precision."""
        if axis != 0:
            raise TypeError(f"the mean over axis {axis} of rows that are not in memory; give axis=0")
        total = sum((block.sum(axis=0, dtype=np.float64) for block in self.blocks()), np.zeros(self.shape[1]))
        return np.asarray(total / max(1, len(self)), np.float32)

    def any(self, axis: int) -> NDArray[np.bool_]:
        """Say of each row whether it holds any number but 0: (N,)."""
        if axis != 1:
            raise TypeError(f"any over axis {axis} of rows that are not in memory; give axis=1")
        return np.concatenate([np.empty(0, np.bool_), *(block.any(axis=1) for block in self.blocks())])

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all rows in memory.

        Raises:
            ValueError: When no copy is wanted.
        """
        if copy is False:
            raise ValueError("rows that are not in memory are given as a copy alone")
        whole = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for start in range(0, len(self), BLOCK_ROWS):
            whole[start : start + BLOCK_ROWS] = self[start : start + BLOCK_ROWS]
        return whole


class ComputedRows(LazyRows):
    """Rows that a function computes.

    Args:
        shape: N and D.
        compute: Gives the rows asked for: (K, D) float32.
    """

    def __init__(self, shape: tuple[int, int], compute: Callable[[Rows | slice], NDArray[np.float32]]) -> None:
        super().__init__(shape, np.float32)
        self._compute = compute

    def read(self, rows: Rows | slice, columns: slice) -> NDArray[Any]:
        """Compute rows."""
        return self._compute(rows)[:, columns]


class SideBySide(LazyRows):
    """Two tables of the same rows, the columns of the second after those of the first."""

    def __init__(self, left: Table, right: Table) -> None:
        super().__init__((len(left), left.shape[1] + right.shape[1]), left.dtype)
        self._left, self._right = left, right

    def read(self, rows: Rows | slice, columns: slice) -> NDArray[Any]:
        """Read from the tables whose columns are wanted."""
        start, stop, _ = columns.indices(self.shape[1])
        width = self._left.shape[1]
        if stop <= width:
            return _read(self._left, rows, slice(start, stop))
        right = _read(self._right, rows, slice(max(0, start - width), stop - width))
        if start >= width:
            return right
        return np.concatenate([_read(self._left, rows, slice(start, width)), right], axis=1)


class Appended(LazyRows):
    """A table with the rows of an array after its own."""

    def __init__(self, first: Table, added: NDArray[Any]) -> None:
        super().__init__((len(first) + len(added), first.shape[1]), first.dtype)
        self._first, self._added = first, added

    def read(self, rows: Rows | slice, columns: slice) -> NDArray[Any]:
        """Read from the table that has the rows."""
        count = len(self._first)
        if isinstance(rows, slice):
            if rows.stop <= count:
                return _read(self._first, rows, columns)
            added = self._added[max(0, rows.start - count) : rows.stop - count, columns]
            if rows.start >= count:
                return added
            return np.concatenate([_read(self._first, slice(rows.start, count), columns), added])
        is_added = rows >= count
        if not is_added.any():
            return _read(self._first, rows, columns)
        found = self._added[np.where(is_added, rows - count, 0), columns]
        found[~is_added] = _read(self._first, rows[~is_added], columns)
        return found


class SelectedRows(LazyRows):
    """Some rows of a table, in order.

    Args:
        table: The table.
        rows: (K,) int64.
    """

    def __init__(self, table: Table, rows: Rows) -> None:
        super().__init__((len(rows), table.shape[1]), table.dtype)
        self._table, self._selected = table, rows

    def read(self, rows: Rows | slice, columns: slice) -> NDArray[Any]:
        """Read from the table."""
        return _read(self._table, self._selected[rows], columns)


class ColumnRange(LazyRows):
    """Consecutive columns of a table."""

    def __init__(self, table: LazyRows, start: int, stop: int) -> None:
        super().__init__((len(table), max(0, stop - start)), table.dtype)
        self._table, self._start = table, start

    def read(self, rows: Rows | slice, columns: slice) -> NDArray[Any]:
        """Read from the table."""
        start, stop, _ = columns.indices(self.shape[1])
        return self._table.read(rows, slice(self._start + start, self._start + stop))


def as_vectors(table: Table) -> NDArray[Any]:
    """Return a table as what reads its rows takes it: as an array, which it is or stands for."""
    return cast("NDArray[Any]", table)


def selected(table: Table, mask: Mask) -> NDArray[Any]:
    """Return the rows of a table that are in a mask (N,): a copy, or of a large table what reads them when asked."""
    if mask.all():
        return as_vectors(table)
    rows = np.flatnonzero(mask)
    is_small = not isinstance(table, LazyRows) and fits_in_memory(table.nbytes)
    return as_vectors(table[rows] if is_small else SelectedRows(table, rows))


class GrowingRows:
    """A table to which rows are appended, as to a `Growing` array: of a large one only these are in memory.

    >>> rows = GrowingRows(np.eye(2))
    >>> rows.extended(2, np.array([[7.0, 8.0]]))[2].tolist()
    [7.0, 8.0]
    """

    def __init__(self, table: Table) -> None:
        is_small = fits_in_memory(len(table) * table.shape[1] * table.dtype.itemsize)
        self._first: Table = np.empty((0, table.shape[1]), table.dtype) if is_small else table
        self._rows = Growing(np.asarray(table) if is_small else np.empty((0, table.shape[1]), table.dtype))

    def extended(self, start: int, more: NDArray[Any]) -> NDArray[Any]:
        """Return the first ``start`` rows with ``more`` after them: an array, or what stands for one."""
        count = len(self._first)
        added = self._rows.extended(start - count, more)
        if not count:
            return added
        return as_vectors(Appended(self._first, added) if len(added) else self._first)


class _Transposed:
    """The transpose of a table, for products with queries."""

    __array_ufunc__ = None

    def __init__(self, table: LazyRows) -> None:
        self._table, self.shape = table, table.shape[::-1]

    def __rmatmul__(self, queries: NDArray[Any]) -> NDArray[Any]:
        return np.concatenate([queries @ block.T for block in self._table.blocks()], axis=-1)


def _read(table: Table, rows: Rows | slice, columns: slice) -> NDArray[Any]:
    if isinstance(table, LazyRows):
        return table.read(rows, columns)
    found: NDArray[Any] = table[rows, columns]
    return found
