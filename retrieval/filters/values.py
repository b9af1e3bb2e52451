"""Values of filters, converted to the type of the attribute that they are compared with."""

import difflib
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.catalogue.attribute_types import in_words
from indexing.errors import FilterError, examples

MAX_NAMES = 2000  # values among which similar ones are looked for
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
        similar = difflib.get_close_matches(name, attributes.column_names) or attributes.column_names
        raise FilterError(f"there is no attribute {name!r}; did you mean one of {similar[:8]}?")
    return attributes.schema.field(name).type


def typed(value: Any, kind: pa.DataType) -> pa.Scalar:  # noqa: ANN401 - what a caller wrote
    """Give a value as a scalar that compares with an attribute of a type; integers have 64 bits, so none overflows.

    Raises:
        FilterError: When it is of another type, missing or NaN.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value != value:  # NaN
        raise FilterError(f"nothing compares with {value!r}; ask whether the value 'is missing' or 'is present'")
    try:
        return pa.scalar(_checked(value, kind), None if pa.types.is_decimal(kind) else _widest(kind))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise FilterError(f"{repr(value)[:80]} does not compare with type {kind}; give {expected(kind)}") from error


def from_text(text: str, kind: pa.DataType) -> Any:  # noqa: ANN401 - as the type has it
    """Parse a value from text, as a plain Python value.

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
        return pa.scalar(text, pa.string()).cast(_widest(kind)).as_py()
    except (pa.ArrowException, KeyError, ValueError, OverflowError, InvalidOperation) as error:
        raise FilterError(f"{repr(text)[:80]} is no {in_words(kind)}; give {expected(kind)}") from error


def known_values(column: pa.Array, value: Any) -> str:  # noqa: ANN401 - what a caller wrote
    """Describe the values of an attribute: those that are spelled like a text, or the range of others.

    >>> known_values(pa.array(["red", "blue"]), "Red"), known_values(pa.array([1990, 2001, None]), 1850)
    ("did you mean 'red'?", 'its values are from 1990 to 2001')
    >>> known_values(pa.array([1, 90], pa.duration("s")), 0.5)
    'its values are from 0:00:01 to 0:01:30'
    """
    values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
    values = values.drop_null()
    if not len(values):
        return "it has no values at all"
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        # Arrow gives no least of durations.
        numbers = values.cast(pa.int64()) if pa.types.is_duration(values.type) else values
        lowest, highest = (bound.cast(values.type).as_py() for bound in pc.min_max(numbers).values())
        return f"its values are from {lowest} to {highest}"
    names = pc.unique(values)[:MAX_NAMES].to_pylist()
    by_folded = {name.casefold(): name for name in reversed(names)}
    close = difflib.get_close_matches(str(value).casefold(), by_folded)
    if close:
        return f"did you mean {' or '.join(repr(by_folded[name]) for name in close)}?"
    return f"its values are such as {examples(names)}"


def expected(kind: pa.DataType) -> str:
    """Describe the values that compare with a type."""
    return next((hint for fits, hint in HINTS if fits(kind)), f"a value of type {kind}")


def _widest(kind: pa.DataType) -> pa.DataType:
    """Give the widest type of the same sort: a value outside int32 then compares with int32 attributes."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("ns" if kind.unit == "ns" else "us", kind.tz)
    if pa.types.is_time(kind):
        return pa.time64("ns" if kind.unit == "ns" else "us")
    if pa.types.is_duration(kind):
        return pa.duration("ns" if kind.unit == "ns" else "us")
    if pa.types.is_float16(kind):
        return pa.float32()
    return pa.int64() if pa.types.is_integer(kind) and kind != pa.uint64() else kind


def _checked(value: Any, kind: pa.DataType) -> Any:  # noqa: ANN401 - what a caller wrote
    """Refuse values that Arrow would convert silently, and parse dates from ISO text."""
    if isinstance(value, bool) != pa.types.is_boolean(kind):
        raise TypeError
    return next((convert(value, kind) for fits, convert in _CONVERTERS if fits(kind)), value)


def _date(value: Any, _: pa.DataType) -> date:  # noqa: ANN401
    value = date.fromisoformat(value) if isinstance(value, str) else value
    if not isinstance(value, date) or isinstance(value, datetime):
        raise TypeError
    return value


def _timestamp(value: Any, _: pa.DataType) -> datetime:  # noqa: ANN401
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
            return float(np.float16(value))  # rounded as the attribute is
    return float(value) if isinstance(value, Decimal) else value


def _integer(value: Any, _: pa.DataType) -> Any:  # noqa: ANN401
    if isinstance(value, float | Decimal):
        if value != int(value):
            raise TypeError
        return int(value)
    return value


_CONVERTERS = (
    (pa.types.is_date, _date),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_time, _time),
    (pa.types.is_duration, _duration),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_floating, _floating),
    (pa.types.is_integer, _integer),
)
