"""Encoders of attributes: categories as multi-hot vectors, numbers by soft one-hot encoding, and vectors."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors, unit
from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.attribute_types import VECTOR, is_embedding, is_number

MAX_VALUES, MIN_ROWS = 500, 2
CENTRES, QUANTILES = 6, 14
_SPAN = 0.8  # width of a bump, as a fraction of the distance between centres


@dataclass(frozen=True)
class Categories:
    """Multi-hot encoding of a categorical column, scaled to length 1.

    Attributes:
        column: Name of the attribute.
        values: Values that several rows have.
    """

    column: str
    values: tuple[str, ...]

    @classmethod
    def of(cls, column: str, rows: list[tuple[str, ...]]) -> "Categories | None":
        """Fit to the most common values that several rows have; None when they are too few or too many."""
        counts = Counter(value for row in rows for value in row if value)
        values = sorted(value for value, count in counts.most_common(MAX_VALUES) if count >= MIN_ROWS)
        return cls(column, tuple(values)) if 1 < len(values) <= len(rows) // 2 else None

    def encode(self, column: pa.ChunkedArray) -> Vectors:
        """Give (N, V) float32."""
        position_of = {value: number for number, value in enumerate(self.values)}
        matrix = np.zeros((len(column), len(position_of)), np.float32)
        for row, values in enumerate(split_values(column)):
            matrix[row, [position_of[value] for value in values if value in position_of]] = 1.0
        return unit(matrix)

    @property
    def width(self) -> int:
        """V."""
        return len(self.values)

    def to_json(self) -> dict[str, Any]:
        """Give the column as plain JSON values."""
        return {"column": self.column, "values": self.values}


@dataclass(frozen=True)
class Numbers:
    """Soft one-hot encoding of a column of numbers, so that near numbers have near encodings.

    Attributes:
        column: Name of the attribute.
        centres: Ascending, evenly spaced.
        quantiles: Ascending quantiles of the column. Empty in earlier versions.
    """

    column: str
    centres: tuple[float, ...]
    quantiles: tuple[float, ...] = ()

    @classmethod
    def of(cls, column: str, values: NDArray[np.float64]) -> "Numbers | None":
        """Fit to the range between the first and the last percentile; None when it is empty."""
        known = values[np.isfinite(values)]
        if not len(known):
            return None
        quantiles = np.unique(np.quantile(known, np.linspace(0.01, 0.99, QUANTILES)))
        low, high = quantiles[[0, -1]].tolist()
        centres = np.linspace(low, high, CENTRES)
        return cls(column, tuple(centres.tolist()), tuple(quantiles.tolist())) if high > low else None

    def encode(self, column: pa.ChunkedArray) -> Vectors:
        """Give (N, C) float32; zero where there is no number."""
        return _soft_one_hot(numbers(column), np.array(self.centres))

    def encode_quantiles(self, column: pa.ChunkedArray) -> Vectors:
        """Give the encoding by quantiles, which separates numbers in dense ranges: (N, Q) float32."""
        return _soft_one_hot(numbers(column), np.array(self.quantiles))

    @property
    def width(self) -> int:
        """C."""
        return len(self.centres)

    def to_json(self) -> dict[str, Any]:
        """Give the column as plain JSON values."""
        return {"column": self.column, "centres": self.centres, "quantiles": self.quantiles}


@dataclass(frozen=True)
class Embedded:
    """A column of vectors, centred by the mean of the catalogue and scaled to length 1.

    Attributes:
        column: Name of the attribute.
        mean: Of the unit vectors.
    """

    column: str
    mean: tuple[float, ...]

    @classmethod
    def of(cls, column: str, vectors: pa.ChunkedArray) -> "Embedded | None":
        """Fit to the vectors of the most common length; None when they are all equal."""
        dims = Counter(length for length in pc.list_value_length(vectors).to_pylist() if length)
        if not dims:
            return None
        dense, exists = embedded(vectors, max(dims, key=lambda dim: (dims[dim], dim)))
        known = unit(dense[exists])
        return cls(column, tuple(known.mean(axis=0).tolist())) if len(known) and np.ptp(known, axis=0).any() else None

    def encode(self, column: pa.ChunkedArray) -> Vectors:
        """Give (N, D) float32 of length 1; zero where there is no vector of that length."""
        if pt.is_null(column.type):
            return np.zeros((len(column), self.width), np.float32)
        dense, exists = embedded(column, self.width)
        dense[exists] = unit(unit(dense[exists]) - np.array(self.mean, np.float32))
        return dense

    @property
    def width(self) -> int:
        """D."""
        return len(self.mean)

    def to_json(self) -> dict[str, Any]:
        """Give the column as plain JSON values."""
        return {"column": self.column, "mean": self.mean}


AttributeColumn: TypeAlias = Categories | Numbers | Embedded


def columns_of(attributes: pa.Table, exclude: Collection[str] = ()) -> tuple[AttributeColumn, ...]:
    """Fit encoders to the columns of attributes, except the excluded and the constant ones."""
    columns = (_column(name, attributes[name]) for name in attributes.column_names if name not in exclude)
    return tuple(column for column in columns if column is not None)


def encode_columns(columns: Sequence[AttributeColumn], attributes: pa.Table) -> list[Vectors]:
    """Encode N rows by each encoder: (N, width) float32, zero for missing values."""
    return [encoder.encode(column_of(attributes, encoder.column)) for encoder in columns]


def column_of(attributes: pa.Table, name: str) -> pa.ChunkedArray:
    """Give a column of attributes, of nulls when they have none."""
    return attributes[name] if name in attributes.column_names else pa.chunked_array([pa.nulls(len(attributes))])


def read_column(stored: Mapping[str, Any]) -> AttributeColumn:
    """Read what `to_json` of an encoder gave."""
    if "values" in stored:
        return Categories(stored["column"], tuple(stored["values"]))
    if "mean" in stored:
        return Embedded(stored["column"], tuple(stored["mean"]))
    return Numbers(stored["column"], tuple(stored["centres"]), tuple(stored.get("quantiles", ())))


def _column(name: str, column: pa.ChunkedArray) -> AttributeColumn | None:
    dtype = column.type
    if is_measured(dtype):
        return Numbers.of(name, numbers(column))
    if is_embedding(dtype) and (name.endswith(VECTOR) or _all_equally_long(column)):
        return Embedded.of(name, column)
    if pt.is_string(dtype) or pt.is_large_string(dtype) or pt.is_dictionary(dtype) or pt.is_list(dtype):
        return Categories.of(name, split_values(column))
    return None


def is_measured(dtype: pa.DataType) -> bool:
    """Whether a type holds numbers, or booleans, dates, times and durations, which are read as numbers."""
    checks = (pt.is_boolean, pt.is_date, pt.is_timestamp, pt.is_time, pt.is_duration)
    return is_number(dtype) or any(check(dtype) for check in checks)


def _all_equally_long(lists: pa.ChunkedArray) -> bool:
    return len(pc.unique(pc.list_value_length(lists).drop_null())) == 1


def _soft_one_hot(values: NDArray[np.float64], centres: NDArray[np.float64]) -> Vectors:
    """Encode N numbers, (N, C) float32: near 1 at a near centre; beyond the outermost centre, that one."""
    position = np.where(np.isfinite(values), np.interp(values, centres, np.arange(len(centres))), np.nan)
    distance = (position[:, None] - np.arange(len(centres))) / _SPAN
    bumps: Vectors = np.nan_to_num(np.exp(-(distance**2))).astype(np.float32)
    return bumps


def embedded(column: pa.ChunkedArray, dim: int) -> tuple[Vectors, Mask]:
    """Give the vectors of N rows, (N, D) float32, and the mask of valid ones: D finite numbers, not all 0."""
    lists = pc.cast(column, pa.list_(pa.float32())).combine_chunks()
    fits = pc.fill_null(pc.equal(pc.list_value_length(lists), dim), False).to_numpy(zero_copy_only=False)
    dense = np.zeros((len(lists), dim), np.float32)
    dense[fits] = pc.list_flatten(lists.filter(pa.array(fits))).to_numpy(zero_copy_only=False).reshape(-1, dim)
    exists: Mask = np.isfinite(dense).all(axis=1) & np.any(dense, axis=1)
    dense[~exists] = 0
    return dense, exists


def split_values(column: pa.ChunkedArray) -> list[tuple[str, ...]]:
    """Give the values of each row: those of a list, or of a string what stands between ``|``; see `item_values`."""
    return [item_values(value, split=True) for value in python_values(column)]


def item_values(value: object, *, split: bool = False) -> tuple[str, ...]:
    """Give the values that an item has of an attribute, each once: none for None, NaN and blanks, several for a list.

    Args:
        value: Of one row.
        split: Whether a string holds several values where ``|`` stands between them.

    >>> item_values(None), item_values("red"), item_values(["red", None, "", "blue", "red"]), item_values(1998)
    ((), ('red',), ('red', 'blue'), ('1998',))
    >>> item_values("red|blue"), item_values("red|blue", split=True)
    (('red|blue',), ('red', 'blue'))
    """
    parts = value.split("|") if split and isinstance(value, str) else value
    items = parts if isinstance(parts, list | tuple | set | frozenset) else [parts]
    present = (item for item in items if item is not None and item == item)  # NaN differs from itself
    return tuple(dict.fromkeys(text for item in present if (text := str(item)).strip()))


def numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """Give (N,) float64, NaN where there is none."""
    if pt.is_date(column.type) or pt.is_timestamp(column.type):
        column = pc.cast(pc.cast(column, pa.timestamp("s"), safe=False), pa.int64())
    elif pt.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    elif pt.is_time(column.type) or pt.is_duration(column.type):
        of_day = pt.is_time(column.type)
        seconds, whole = (pa.time32("s"), pa.int32()) if of_day else (pa.duration("s"), pa.int64())
        column = pc.cast(pc.cast(column, seconds, safe=False), whole)
    cast = pc.cast(column, pa.float64(), safe=False)
    found: NDArray[np.float64] = cast.to_numpy().astype(np.float64)
    return found
