"""The values of Arrow columns as Python's, also times that Python has none for, as PostgreSQL's ``infinity``."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from indexing.errors import InputError

SECONDS_PER_DAY = 86_400  # of times in seconds since 1970, in UTC
_FIRST = np.iinfo(np.int64).min  # numpy takes it for no time at all


class OutOfRange(str):
    """A date, time or duration that Python has no value for, as text."""

    __slots__ = ()


def python_values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Return the values of a column, None for null; what Python has no date or time for is told as text.

    >>> python_values(pa.array([2**63 - 1, 0, None], pa.timestamp("us")))[0]
    '294247-01-10 04:00:54.775807'
    """
    try:
        values: list[Any] = column.to_pylist()
    except (OverflowError, ValueError):
        values = [python_value(value) for value in column]
    return values


def python_rows(table: pa.Table | pa.RecordBatch) -> list[dict[str, Any]]:
    """Return the rows of a table, their values as in `python_values`."""
    columns = [python_values(column) for column in table.columns]
    return [dict(zip(table.schema.names, values, strict=True)) for values in zip(*columns, strict=True)]


def python_value(value: pa.Scalar) -> Any:  # noqa: ANN401 - of a column of any type
    """Return one value; see `python_values`."""
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
            return OutOfRange(_time_as_text(value.value, value.type))
        raise


def _time_as_text(number: int, kind: pa.DataType) -> str:
    """Write a date or time of any year, in UTC where it has a zone; other numbers with their unit."""
    if pt.is_date(kind):
        days = np.datetime64(number, "D") if pt.is_date32(kind) else np.datetime64(number, "ms").astype("datetime64[D]")
        return str(days)
    if pt.is_timestamp(kind) and number != _FIRST:
        return str(np.datetime64(number, kind.unit)).replace("T", " ") + ("+00:00" if kind.tz else "")
    return f"{number} {kind.unit}"


def not_utf8(column: pa.Array) -> list[int]:
    r"""Return the places of the texts, or lists of texts, whose bytes are no UTF-8.

    >>> not_utf8(pa.array([b"red", b"caf\xe9"]).view(pa.string()))
    [1]
    """
    decoded = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    try:
        decoded.validate(full=True)
    except pa.ArrowInvalid:
        return [position for position in range(len(decoded)) if not _is_text(decoded[position])]
    return []


def require_utf8(column: pa.Array | pa.ChunkedArray, name: str) -> None:
    """Check that texts are UTF-8.

    Raises:
        InputError: When one is not; names the first.
    """
    start = 0
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        if positions := not_utf8(chunk):
            raise InputError(
                f"column {name!r} has text that is not UTF-8 in row {start + positions[0]} (from 0); mend it"
            )
        start += len(chunk)


def _is_text(value: pa.Scalar) -> bool:
    try:
        python_value(value)
    except UnicodeDecodeError:
        return False
    return True


def replace_bad_bytes(column: pa.Array) -> pa.Array:
    r"""Return texts, or lists of texts, with U+FFFD where their bytes are no UTF-8.

    >>> replace_bad_bytes(pa.array([b"red", b"caf\xe9"]).view(pa.string())).to_pylist()
    ['red', 'caf\ufffd']
    """
    if not not_utf8(column):
        return column
    as_bytes = pa.list_(pa.binary()) if pa.types.is_list(column.type) else pa.binary()
    return pa.array([_replaced(value) for value in column.cast(as_bytes).to_pylist()], column.type)


def _replaced(value: bytes | list[bytes | None] | None) -> str | list[str | None] | None:
    if isinstance(value, list):
        return [None if part is None else part.decode(errors="replace") for part in value]
    return None if value is None else value.decode(errors="replace")
