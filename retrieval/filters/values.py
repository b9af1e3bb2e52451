"""A value as Arrow wants it, in the type of the attribute that it is compared with."""

import difflib
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa

from indexing.catalogue.attribute_types import in_words
from indexing.errors import FilterError

HINTS = (
    (pa.types.is_boolean, "true or false"),
    (pa.types.is_integer, "a whole number"),
    (pa.types.is_floating, "a number"),
    (pa.types.is_decimal, "a number"),
    (pa.types.is_date, "a date, as 2024-06-01"),
    (pa.types.is_timestamp, "a time, as 2024-06-01T12:00:00, which is UTC unless it says otherwise"),
    (pa.types.is_time, "a time of day, as 14:30"),
    (pa.types.is_duration, "a number of seconds"),
    (pa.types.is_string, "a text"),
)


def attribute_type(attributes: pa.Table, name: str) -> pa.DataType:
    """Give the type of an attribute.

    Raises:
        FilterError: When there is none of that name.
    """
    if name not in attributes.column_names:
        close = difflib.get_close_matches(name, attributes.column_names) or attributes.column_names
        raise FilterError(f"there is no attribute {name!r}; did you mean one of {close[:8]}?")
    return attributes.schema.field(name).type


def typed(value: Any, kind: pa.DataType) -> pa.Scalar:  # noqa: ANN401 - what a caller wrote
    """Give a value as a scalar that compares with an attribute of a type; whole numbers have 64 bits: none is cut.

    Raises:
        FilterError: When it is of another type, missing or NaN.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value:  # NaN
        raise FilterError(f"nothing compares with {value!r}; ask whether the value 'is missing' or 'is present'")
    try:
        return pa.scalar(_fitting(value, kind), None if pa.types.is_decimal(kind) else _wide(kind))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise FilterError(f"{repr(value)[:80]} does not compare with type {kind}; give {expected(kind)}") from error


def from_text(text: str, kind: pa.DataType) -> Any:  # noqa: ANN401 - as the type has it
    """Read a value that was typed as text, as a plain Python value.

    Raises:
        FilterError: When it cannot be one of that type.
    """
    try:
        if pa.types.is_boolean(kind):
            return {"true": True, "false": False}[text.lower()]
        if pa.types.is_decimal(kind):
            return Decimal(text)
        if pa.types.is_duration(kind):
            return timedelta(seconds=float(text))
        if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
            return typed(text, kind).as_py()
        return pa.scalar(text, pa.string()).cast(_wide(kind)).as_py()
    except (pa.ArrowException, KeyError, ValueError, OverflowError, InvalidOperation) as error:
        raise FilterError(f"{repr(text)[:80]} is no {in_words(kind)}; give {expected(kind)}") from error


def expected(kind: pa.DataType) -> str:
    """Say what compares with a type."""
    return next((hint for fits, hint in HINTS if fits(kind)), f"a value of type {kind}")


def _wide(kind: pa.DataType) -> pa.DataType:
    """Give a type as the widest of its sort: what is outside an int32 is larger than all of them, and no error."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ns" if kind.unit == "ns" else "us", kind.tz)
    if pa.types.is_time(kind):
        return pa.time64("ns" if kind.unit == "ns" else "us")
    if pa.types.is_duration(kind):
        return pa.duration("ns" if kind.unit == "ns" else "us")
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.int64() if pa.types.is_integer(kind) and kind != pa.uint64() else kind


def _fitting(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - what a caller wrote
    """Refuse what Arrow would bend into a type without a word, and read dates from ISO text."""
    if isinstance(value, bool) != pa.types.is_boolean(kind):
        raise TypeError
    return next((fitted(value, kind) for fits, fitted in _FITTED if fits(kind)), value)


def _date(value: Any, _: pa.DataType) -> date:  # noqa: ANN401
    value = date.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return value


def _moment(value: Any, _: pa.DataType) -> datetime:  # noqa: ANN401
    value = datetime.fromisoformat(value) if isinstance(value, str) else value
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # which Arrow reads as UTC
    if not isinstance(value, datetime):
        raise TypeError
    return value


def _time(value: Any, _: pa.DataType) -> time:  # noqa: ANN401
    value = time.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(value, time):
        raise TypeError
    return value


def _duration(value: Any, _: pa.DataType) -> timedelta:  # noqa: ANN401
    return value if isinstance(value, timedelta) else timedelta(seconds=float(value))


def _decimal(value: Any, _: pa.DataType) -> Decimal:  # noqa: ANN401
    if not isinstance(value, int | float | Decimal):
        raise TypeError
    return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)


def _floating(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401
    if pa.types.is_float16(kind) and isinstance(value, int | float | Decimal):
        with np.errstate(over="ignore"):
            return float(np.float16(value))  # as the attribute has it, as with 32 bits
    return float(value) if isinstance(value, Decimal) else value


def _whole(value: Any, _: pa.DataType) -> Any:  # noqa: ANN401
    if isinstance(value, float | Decimal):
        if value != int(value):
            raise TypeError
        return int(value)
    return value


_FITTED = (
    (pa.types.is_date, _date),
    (pa.types.is_timestamp, _moment),
    (pa.types.is_time, _time),
    (pa.types.is_duration, _duration),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_floating, _floating),
    (pa.types.is_integer, _whole),
)
