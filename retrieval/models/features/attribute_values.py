"""The values of one attribute of many items, as numbers that can be counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.arrow_values import python_values
from retrieval.filters.values import attribute_type
from retrieval.models.features.column_encoders import item_values, split_values

_NOTHING: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Attribute:
    """The values of one attribute, as genres, of N items; an item may have none or several.

    Attributes:
        values: V different values.
        starts: (N + 1,) int64; the values of row r are ``codes[starts[r] : starts[r + 1]]``.
        codes: (M,) int64, positions in ``values``.
    """

    values: tuple[str, ...]
    starts: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, column: pa.ChunkedArray | Iterable[object]) -> "Attribute":
        """Read a column of values or of lists of values, None where there is none.

        >>> Attribute.of(["mug", None, ["cup", "jar"]]).values
        ('cup', 'jar', 'mug')
        """
        column_values = python_values(column) if isinstance(column, pa.Array | pa.ChunkedArray) else list(column)
        named = [item_values(value) for value in column_values]
        values = tuple(sorted({value for row in named for value in row}))
        code = {value: number for number, value in enumerate(values)}
        starts = np.concatenate([[0], np.cumsum([len(row) for row in named], dtype=np.int64)]).astype(np.int64)
        return cls(values, starts, np.array([code[value] for row in named for value in row], np.int64))

    @classmethod
    def named(cls, attributes: pa.Table, column: str) -> "Attribute":
        """Read an attribute of a bundle; a string holds several values where ``|`` stands between them.

        Raises:
            FilterError: When there is none of that name.

        >>> Attribute.named(pa.table({"genres": ["Drama|War", None, "War"]}), "genres").values
        ('Drama', 'War')
        """
        dtype, values = attribute_type(attributes, column), attributes[column]
        return cls.of(split_values(values) if pa.types.is_string(dtype) or pa.types.is_large_string(dtype) else values)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def shares(
        self, lists: Sequence[Rows], weights: Sequence[NDArray[np.floating]] | None = None
    ) -> NDArray[np.float64]:
        """Give the share of each value in each of B lists of rows: (B, V) float64, lines of sum 1, or 0 without values.

        Every item that has the attribute counts the same, or by its weight, and is divided evenly among its values.

        Args:
            lists: B arrays of rows.
            weights: As many positive numbers for each.
        """
        rows = np.concatenate([_NOTHING, *lists])
        list_index = np.repeat(np.arange(len(lists)), [len(list_rows) for list_rows in lists])
        counted = np.ones(len(rows)) if weights is None else np.concatenate([np.empty(0), *weights])
        lengths, codes = self.among(rows)
        cells = np.repeat(list_index, lengths) * len(self.values) + codes
        amounts = np.repeat(counted / np.maximum(lengths, 1), lengths)
        total = np.bincount(cells, amounts, minlength=len(lists) * len(self.values))
        total = total.reshape(len(lists), len(self.values))
        shares: NDArray[np.float64] = total / np.maximum(total.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return shares

    def among(self, rows: Rows) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give how many values each of R rows has, (R,) int64, and all of these in turn, positions in ``values``."""
        lengths = self.starts[rows + 1] - self.starts[rows]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return lengths, self.codes[np.repeat(self.starts[rows], lengths) + inside]

    def table(self, rows: Rows) -> NDArray[np.int64]:
        """Give the values of (B, K) rows as a table: (B, K, M) int64, positions in ``values``; -1 where there is none.

        M is the most values that any item has, at least 1; -1 among the rows is an item without values.

        >>> Attribute.of(["mug", None, ["cup", "jar"]]).table(np.array([[2, 0, -1]])).tolist()
        [[[0, 1], [2, -1], [-1, -1]]]
        """
        counts = np.diff(self.starts)
        positions = np.arange(max(1, counts.max(initial=0)))
        real = np.maximum(rows, 0)
        exists = (positions < counts[real][..., None]) & (rows >= 0)[..., None]
        table: NDArray[np.int64] = np.full(exists.shape, -1, np.int64)
        table[exists] = self.codes[(self.starts[real][..., None] + positions)[exists]]
        return table

    def alone(self, rows: Rows) -> NDArray[np.float64]:
        """Give the shares of each of (B, K) rows by itself: (B, K, V) float64; 0 for -1 and items without values."""
        codes = self.table(rows)
        row, column, number = np.nonzero(codes >= 0)
        shares = np.zeros((*rows.shape, len(self.values)))
        shares[row, column, codes[row, column, number]] = 1 / (codes >= 0).sum(axis=2)[row, column]
        return shares
