"""What ``<`` and ``>`` say of texts: letters for letters, numbers for numbers, dates for dates, and never a mixture."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from indexing.arrays import Mask
from indexing.catalogue.attribute_types import is_meant_as, reads_as_number
from indexing.errors import FilterError
from retrieval.filters.expressions import Compare
from retrieval.filters.values import typed

COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": pc.equal,
    "!=": pc.not_equal,
    "<": pc.less,
    "<=": pc.less_equal,
    ">": pc.greater,
    ">=": pc.greater_equal,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ORDERS = ("<", "<=", ">", ">=")


def ordered_text(attributes: pa.Table, compare: Compare, kind: pa.DataType) -> pa.Array:
    """Compare a text attribute: (N,) bool.

    A text is compared by letters. A number or a date is compared as such if every value is one, and refused otherwise:
    by letters, 100 would be less than 20.

    >>> shop = pa.table({"price": ["5", "100"], "name": ["mug", "lamp"]})
    >>> ordered_text(shop, Compare("price", ">", "20"), pa.string()).to_pylist()
    [False, True]
    >>> ordered_text(shop, Compare("name", ">", "lb"), pa.string()).to_pylist()
    [True, False]

    Raises:
        FilterError: When it is a number, a date or a boolean and some value is none; names the first one.
    """
    column = attributes.column(compare.attribute).combine_chunks()
    text = typed(_written(compare.value), kind).as_py()
    meant = is_meant_as(text)
    if meant is None:
        return COMPARE[compare.operator](column, text)
    read = {"a number": _numbers, "a date": _moments}.get(meant)
    if read is None:
        raise FilterError(f"{text!r} is {meant}, and the attribute holds text, which has no such order; use = or in")
    wanted = read(pa.array([text]))[0]
    if not wanted.is_valid:
        raise FilterError(f"{text!r} looks like {meant} that cannot be read; write it as 1299.5 or 2024-06-01")
    values = read(column)
    strange: Mask = pc.and_(pc.is_valid(column), pc.is_null(values)).to_numpy(zero_copy_only=False)
    if strange.any():
        raise FilterError(_refusal(attributes, compare.attribute, f"{text!r} is {meant}", int(strange.argmax())))
    return COMPARE[compare.operator](values, wanted)


def _written(value: Any) -> Any:  # noqa: ANN401 - what a caller wrote
    """Give numbers and dates as text, to be read like those of the attribute."""
    if isinstance(value, date):  # times among them
        return value.isoformat()
    return str(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else value


def _refusal(attributes: pa.Table, name: str, told: str, row: int) -> str:
    value = repr(attributes.column(name)[row].as_py())[:80]
    named = "item_id" in attributes.column_names
    where = f"item {attributes.column('item_id')[row].as_py()!r}" if named else f"row {row}"
    return (
        f"{told}, and {value} ({where}) is none: the attribute is text, by whose letters 100 comes before 20; mend "
        "such values and build again, or use =, in or contains"
    )


def _numbers(column: pa.Array) -> pa.Array:
    """Give texts as numbers, null where they are none."""
    text = pc.if_else(reads_as_number(column), pc.utf8_trim_whitespace(column), None)
    return pc.utf8_ltrim(text, "+").cast(pa.float64())


def _moments(column: pa.Array) -> pa.Array:
    """Give dates and times as microseconds since 1970, UTC unless they say otherwise; null where there is none."""
    distinct = column.dictionary_encode()
    moments = pa.array([_microseconds(text) for text in distinct.dictionary.to_pylist()], pa.int64())
    return moments.take(distinct.indices)


def _microseconds(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
