"""The values of Arrow columns as Python's, also times that Python has none for, as PostgreSQL's ``infinity``."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

_FIRST = np.iinfo(np.int64).min  # numpy takes it for no time at all


class OutOfRange(str):
    """A date, time or duration that Python has no value for, as text."""

    __slots__ = ()


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Give the values of a column, None for null; what Python has no date or time for is told as text.

    >>> python_values(pa.array([2**63 - 1, 0, None], pa.timestamp("us")))[0]
    '294247-01-10 04:00:54.775807'
    """
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        values = [python_value(value) for value in column]
    return values


def python_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Give the rows of a table, their values as in `python_values`."""
    columns = [python_values(column) for column in table.columns]
    return [dict(zip(table.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def python_value(value: pa.Scalar) -> Any:  # noqa: ANN401 - of a column of any type
    """Give one value; see `python_values`."""
    try:
        return value.as_py()
    except (OverflowError, ValueError):
        match value:
            case pa.ListScalar():
                return [python_value(part) for part in value.values]
            case pa.StructScalar():
                return {name: python_value(part) for name, part in value.items()}
            case pa.DictionaryScalar() | pa.ExtensionScalar():
                return python_value(value.value)
        if pt.is_temporal(value.type):
            return OutOfRange(_told(value.value, value.type))
        raise


def _told(number: int, kind: pa.DataType) -> str:
    """Write a date or time of any year, in UTC where it has a zone; other numbers with their unit."""
    if pt.is_date(kind):
        days = np.datetime64(number, "D") if pt.is_date32(kind) else np.datetime64(number, "ms").astype("datetime64[D]")
        return str(days)
    if pt.is_timestamp(kind) and number != _FIRST:
        return str(np.datetime64(number, kind.unit)).replace("T", " ") + ("+00:00" if kind.tz else "")
    return f"{number} {kind.unit}"
