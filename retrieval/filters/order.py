"""``<`` and ``>`` of texts: compared as letters, as numbers or as dates, but never as a mixture."""

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
    text = typed(_as_text(compare.value), kind).as_py()
    meaning = is_meant_as(text)
    if meaning is None:
        return COMPARE[compare.operator](column, text)
    parse = {"a number": _numbers, "a date": _times}.get(meaning)
    if parse is None:
        raise FilterError(f"{text!r} is {meaning}, and the attribute holds text, which has no such order; use = or in")
    bound = parse(pa.array([text]))[0]
    if not bound.is_valid:
        raise FilterError(f"{text!r} looks like {meaning} that cannot be read; write it as 1299.5 or 2024-06-01")
    values = parse(column)
    unreadable: Mask = pc.and_(pc.is_valid(column), pc.is_null(values)).to_numpy(zero_copy_only=False)
    if unreadable.any():
        raise FilterError(_refusal(attributes, compare.attribute, f"{text!r} is {meaning}", int(unreadable.argmax())))
    return COMPARE[compare.operator](values, bound)


def _as_text(value: Any) -> Any:  # noqa: ANN401 - what a caller wrote
    """Give numbers and dates as text, to be parsed like those of the attribute."""
    if isinstance(value, date):  # times among them
        return value.isoformat()
    return str(value) if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else value


def _refusal(attributes: pa.Table, name: str, problem: str, row: int) -> str:
    value = repr(attributes.column(name)[row].as_py())[:80]
    has_ids = "item_id" in attributes.column_names
    where = f"item {attributes.column('item_id')[row].as_py()!r}" if has_ids else f"row {row}"
    return (
        f"{problem}, and {value} ({where}) is none: the attribute is text, by whose letters 100 comes before 20; mend "
        "such values and build again, or use =, in or contains"
    )


def _numbers(column: pa.Array) -> pa.Array:
    """Parse texts as numbers, null where they are none."""
    text = pc.if_else(reads_as_number(column), pc.utf8_trim_whitespace(column), None)
    return pc.utf8_ltrim(text, "+").cast(pa.float64())


def _times(column: pa.Array) -> pa.Array:
    """Parse dates and times as microseconds since 1970, UTC unless they have a zone; null where they are none."""
    distinct = column.dictionary_encode()
    micros = pa.array([_microseconds(text) for text in distinct.dictionary.to_pylist()], pa.int64())
    return micros.take(distinct.indices)


def _microseconds(text: str) -> int | None:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - _EPOCH) // timedelta(microseconds=1)
