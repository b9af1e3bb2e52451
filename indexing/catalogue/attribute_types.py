"""Which types of columns can be compared, and are attributes; what people call them, and why others are none."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from indexing.arrays import Mask

VECTOR = "_vector"  # how the names of columns of vectors end

_SCALARS = (
    (pt.is_boolean, "true or false"),
    (pt.is_integer, "whole number"),
    (pt.is_floating, "number"),
    (pt.is_decimal, "number"),
    (pt.is_date, "date"),
    (pt.is_timestamp, "time and date"),
    (pt.is_time, "time of day"),
    (pt.is_duration, "duration"),
)
_LEFT_OUT = (
    (pt.is_struct, "objects cannot be compared; make a column of each of their fields"),
    (pt.is_map, "maps cannot be compared; make a column of each of their keys"),
    (pt.is_null, "no row has a value"),
    (pt.is_nested, "only lists of single values can be compared"),
)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type holds lists, of a fixed length or not."""
    return bool(pt.is_list(kind) or pt.is_large_list(kind) or pt.is_fixed_size_list(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether a type holds text: strings, or lists of them."""
    if pt.is_list(kind) or pt.is_large_list(kind):
        return is_text(kind.value_type)
    if pt.is_dictionary(kind):
        return is_text(kind.value_type)
    return bool(pt.is_string(kind) or pt.is_large_string(kind) or pt.is_string_view(kind))


def is_vector(kind: pa.DataType) -> bool:
    """Whether a type holds vectors: lists of numbers, of a fixed length or not."""
    return is_list(kind) and bool(pt.is_floating(kind.value_type) or pt.is_integer(kind.value_type))


def is_embedding(kind: pa.DataType) -> bool:
    """Whether a type holds vectors of floating numbers."""
    return is_vector(kind) and bool(pt.is_floating(kind.value_type))


def is_named_vector(name: str, kind: pa.DataType) -> bool:
    """Whether a column is an attribute that is a vector: lists of floating numbers under a name with ``_vector``."""
    return name.endswith(VECTOR) and is_embedding(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type holds numbers, decimal ones among them."""
    return bool(pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind))


def is_scalar(kind: pa.DataType) -> bool:
    """Whether a type holds single values that filters can compare."""
    kind = plain_type(kind)
    return bool(pt.is_string(kind)) or any(fits(kind) for fits, _ in _SCALARS)


def is_plain(kind: pa.DataType) -> bool:
    """Whether filters can use a type: text, numbers, booleans, dates, times, durations, and lists of these.

    >>> [is_plain(kind) for kind in (pa.decimal128(9, 2), pa.list_(pa.int8()), pa.struct({"a": pa.int8()}))]
    [True, True, False]
    """
    kind = plain_type(kind)
    return is_scalar(kind.value_type) if pt.is_list(kind) else is_scalar(kind)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the plain form of a type: no dictionaries, no large, view or fixed-size variants.

    >>> plain_type(pa.dictionary(pa.int8(), pa.large_string())), plain_type(pa.list_(pa.int8(), 2))
    (DataType(string), ListType(list<item: int8>))
    """
    if pt.is_dictionary(kind):
        return plain_type(kind.value_type)
    if is_list(kind):
        return pa.list_(plain_type(kind.value_type))
    return pa.string() if is_text(kind) else kind


def in_words(kind: pa.DataType) -> str:
    """Say what an attribute of a type holds.

    >>> in_words(pa.decimal128(9, 2)), in_words(pa.list_(pa.string()))
    ('number', 'list of text')
    """
    kind = plain_type(kind)
    if pt.is_list(kind):
        return f"list of {in_words(kind.value_type)}"
    return next((words for fits, words in _SCALARS if fits(kind)), "text" if pt.is_string(kind) else str(kind))


def why_left_out(kind: pa.DataType) -> str:
    """Say why a column of a type that is not plain is no attribute.

    >>> why_left_out(pa.binary())
    'binary cannot be compared'
    """
    reason = next((words for fits, words in _LEFT_OUT if fits(kind)), None)
    return reason or f"{kind} cannot be compared"


MAX_SHOWN = 40  # characters of a value
# Stand for "no value" in a column of numbers.
NO_NUMBER = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null")
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_DATE = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\s*$"
# What people write for a number or a date that Arrow does not read: 1,299.00; 12 €; 01/02/2024; $5; 50 %.
_WRITTEN_NUMBER = r"^\s*[$€£¥+-]?\s*[0-9][0-9 .,'_]*\s*([$€£¥%]|[A-Z]{3})?\s*$"
_WRITTEN_DATE = r"^\s*[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}\b.*$"
_BOOLEAN = r"(?i)^\s*(true|false|yes|no)\s*$"
_PADDED = r"^\s*[+-]?(0[0-9]|[0-9]{16})"  # 007, or more digits than a number keeps


@dataclass
class _Kind:
    """Values of one kind in a column.

    Attributes:
        name: Of the kind.
        exact: Finds those that Arrow reads as such.
        like: Finds those that people mean as such.
        count: How many are meant.
        other: The first value that is not read as such, with its row.
    """

    name: str
    exact: str
    like: str
    count: int = 0
    other: tuple[str, int] | None = None


def _kinds() -> list[_Kind]:
    return [
        _Kind("numbers", _NUMBER, f"{_NUMBER}|{_WRITTEN_NUMBER}"),
        _Kind("dates", _DATE, f"{_DATE}|{_WRITTEN_DATE}"),
        _Kind("true or false", _BOOLEAN, _BOOLEAN),
    ]


@dataclass
class WhyText:
    """Looks at one text column, batch by batch."""

    values: int = 0
    first: tuple[str, int] | None = None
    padded: tuple[str, int] | None = None
    kinds: list[_Kind] = field(default_factory=_kinds)

    def add(self, column: pa.Array, rows: Sequence[int]) -> None:
        """Look at some values, and the row of the source of each."""
        has_value = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, value_set=pa.array(NO_NUMBER))))
        count = int(pc.sum(has_value).as_py() or 0)
        if not count:
            return
        self.values += count
        self.first = self.first or _first(column, has_value, rows)
        self.padded = self.padded or _first(column, pc.and_(has_value, _matching(column, _PADDED)), rows)
        for kind in self.kinds:
            kind.count += int(pc.sum(_matching(column, kind.like)).as_py() or 0)
            unexpected = pc.and_(has_value, pc.invert(_matching(column, kind.exact)))
            kind.other = kind.other or _first(column, unexpected, rows)

    def reason(self) -> str | None:
        """Say why the column is text, or give None when hardly any value is anything else.

        >>> why = WhyText()
        >>> why.add(pa.array(["5", "10", "call us"]), range(3))
        >>> why.reason()
        "because of 'call us' in row 2"
        """
        kind = max(self.kinds, key=lambda kind: kind.count)
        if kind.count < self.values / 2 or self.first is None:
            return None
        if kind.other is not None:
            return because_of_value(*kind.other)
        if kind.name == "numbers" and self.padded is not None:
            return f"{because_of_value(*self.padded)}, which a number would not keep as it is written"
        return f"{because_of_value(*self.first)}, which the source holds as text like all others"


def because_of_value(value: object, row: int) -> str:
    """Name a value and its row in the source as the reason for something."""
    shown = value[:MAX_SHOWN] + "…" if isinstance(value, str) and len(value) > MAX_SHOWN else value
    return f"because of {repr(shown)[: 2 * MAX_SHOWN]} in row {row}"


def reads_as_number(column: pa.Array) -> pa.Array:
    """Say of which texts Arrow makes numbers: booleans, null for null."""
    return pc.match_substring_regex(column, _NUMBER)


def is_meant_as(text: str) -> str | None:
    """Say what a text is meant as, however it is written: a number, a date, a boolean; None for other texts.

    >>> [is_meant_as(text) for text in ("20", "1,299.00", "01/02/2024", "true", "mug")]
    ['a number', 'a number', 'a date', 'true or false', None]
    """
    column = pa.array([text])
    for kind, name in zip(_kinds(), ("a number", "a date", "true or false"), strict=True):
        if _matching(column, kind.like)[0].as_py():
            return name
    return None


def _matching(column: pa.Array, pattern: str) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(column, pattern), False)


def _first(column: pa.Array, mask: pa.Array, rows: Sequence[int]) -> tuple[str, int] | None:
    matches: Mask = mask.to_numpy(zero_copy_only=False)
    position = int(matches.argmax()) if len(matches) else 0
    return (column[position].as_py(), rows[position]) if len(matches) and matches[position] else None
