"""Why a column is text although most of its values are numbers, dates or booleans: the first value that is none."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from indexing.types import Mask

SHOWN = 40  # characters of a value
# Stand for "no value" in a column of numbers.
NO_NUMBER = pa.array(["", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null"])
_NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*$"
_DATE = r"^\s*[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?\s*$"
# What people write for a number or a date that Arrow does not read: 1,299.00; 12 €; 01/02/2024; $5; 50 %.
_LIKE_NUMBER = r"^\s*[$€£¥+-]?\s*[0-9][0-9 .,'_]*\s*([$€£¥%]|[A-Z]{3})?\s*$"
_LIKE_DATE = r"^\s*[0-9]{1,4}[./-][0-9]{1,2}[./-][0-9]{1,4}\b.*$"
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
        _Kind("numbers", _NUMBER, f"{_NUMBER}|{_LIKE_NUMBER}"),
        _Kind("dates", _DATE, f"{_DATE}|{_LIKE_DATE}"),
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
        there = pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, value_set=NO_NUMBER)))
        count = int(pc.sum(there).as_py() or 0)
        if not count:
            return
        self.values += count
        self.first = self.first or _first(column, there, rows)
        self.padded = self.padded or _first(column, pc.and_(there, _matching(column, _PADDED)), rows)
        for kind in self.kinds:
            kind.count += int(pc.sum(_matching(column, kind.like)).as_py() or 0)
            strange = pc.and_(there, pc.invert(_matching(column, kind.exact)))
            kind.other = kind.other or _first(column, strange, rows)

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
            return because(*kind.other)
        if kind.name == "numbers" and self.padded is not None:
            return f"{because(*self.padded)}, which a number would not keep as it is written"
        return f"{because(*self.first)}, which the source holds as text like all others"


def because(value: object, row: int) -> str:
    """Name a value and its row in the source as the reason for something."""
    shown = value[:SHOWN] + "…" if isinstance(value, str) and len(value) > SHOWN else value
    return f"because of {repr(shown)[: 2 * SHOWN]} in row {row}"


def reads_as_number(column: pa.Array) -> pa.Array:
    """Say of which texts Arrow makes numbers: booleans, null for null."""
    return pc.match_substring_regex(column, _NUMBER)


def is_meant_as(text: str) -> str | None:
    """Say what a text is meant as, however it is written: a number, a date, a boolean; None for other texts.

    >>> [is_meant_as(text) for text in ("20", "1,299.00", "01/02/2024", "true", "mug")]
    ['a number', 'a number', 'a date', 'true or false', None]
    """
    one = pa.array([text])
    for kind, name in zip(_kinds(), ("a number", "a date", "true or false"), strict=True):
        if _matching(one, kind.like)[0].as_py():
            return name
    return None


def _matching(column: pa.Array, pattern: str) -> pa.Array:
    return pc.fill_null(pc.match_substring_regex(column, pattern), False)


def _first(column: pa.Array, mask: pa.Array, rows: Sequence[int]) -> tuple[str, int] | None:
    found: Mask = mask.to_numpy(zero_copy_only=False)
    place = int(found.argmax()) if len(found) else 0
    return (column[place].as_py(), rows[place]) if len(found) and found[place] else None
