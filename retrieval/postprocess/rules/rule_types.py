"""The rules of a shop: what is pinned, boosted, buried, excluded, and how much it counts that something is new."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

from indexing.errors import InputError, examples
from retrieval.filters import Expression, Where

MOST = 1e6  # times the span of a list that a score is raised: more is no other order, and scores stay finite


@dataclass(frozen=True)
class Pin:
    """Show items at a place, whether or not they were among the candidates, and seen or not.

    Attributes:
        item_ids: Shown one after the other.
        at: The rank of the first, from 1; a place that an earlier rule has taken is passed. Of a shorter list, the end.
        name: What to call the rule; made of the above when empty.
    """

    item_ids: Sequence[str]
    at: int = 1
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_ids", _ids(self.item_ids, "a pin"))
        if not self.item_ids:
            raise InputError("a pin names no items; give item_ids")
        if isinstance(self.at, bool) or not isinstance(self.at, int) or self.at < 1:
            raise InputError(f"a pin at {self.at!r}; give a rank, a whole number of at least 1")

    def __str__(self) -> str:
        return self.name or f"pin {', '.join(self.item_ids[:3])}{', …' if len(self.item_ids) > 3 else ''} at {self.at}"


@dataclass(frozen=True)
class Boost:
    """Raise the scores of some items.

    Attributes:
        where: Which; any filter.
        by: How much, as a share of the distance between the first and the last score of the list: 1 lifts the last
            item to the first.
        name: What to call the rule.
    """

    where: Where
    by: float = 0.2
    name: str = ""

    def __post_init__(self) -> None:
        _check_where(self.where, "a boost")
        _check_positive(self.by, "a boost by", "; to lower items, bury them", MOST)

    def __str__(self) -> str:
        return self.name or f"boost {_told(self.where)} by {self.by:g}"


@dataclass(frozen=True)
class Bury:
    """Put some items behind all others, in the order they had.

    Attributes:
        where: Which; any filter.
        name: What to call the rule.
    """

    where: Where
    name: str = ""

    def __post_init__(self) -> None:
        _check_where(self.where, "a bury")

    def __str__(self) -> str:
        return self.name or f"bury {_told(self.where)}"


@dataclass(frozen=True)
class Exclude:
    """Never show some items, pinned ones included.

    Attributes:
        where: Which; any filter.
        item_ids: And these; one that the bundle lacks, as after a delete, is no fault.
        name: What to call the rule.
    """

    where: Where = ()
    item_ids: Sequence[str] = ()
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_ids", _ids(self.item_ids, "an exclude"))
        if not self.item_ids:
            _check_where(self.where, "an exclude without item_ids")

    @property
    def asks(self) -> bool:
        """Whether there is a filter."""
        return _asks(self.where)

    def __str__(self) -> str:
        parts = [_told(self.where)] if self.asks else []
        return self.name or f"exclude {' or '.join([*parts, *self.item_ids[:3]])}{'…' * (len(self.item_ids) > 3)}"


@dataclass(frozen=True)
class Fresh:
    """Raise the scores of items by how new they are: by ``by``, and half of it for each ``half_life`` of age.

    Attributes:
        column: An attribute with dates, times or numbers, as a year. Without a value an item is not raised.
        half_life: In days for dates and times, else in units of the column.
        by: For what is newest, as for `Boost`.
        now: When age is 0, and everything later is new; the latest value in the catalogue when None, so that the same
            bundle always gives the same answers.
        name: What to call the rule.
    """

    column: str
    half_life: float
    by: float = 0.2
    now: date | datetime | str | float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        _check_positive(self.half_life, "a half_life of")
        _check_positive(self.by, "a fresh by", most=MOST)

    def __str__(self) -> str:
        return self.name or f"fresh {self.column}, half-life {self.half_life:g}, by {self.by:g}"


Rule: TypeAlias = Pin | Boost | Bury | Exclude | Fresh


def _ids(item_ids: Sequence[str], who: str) -> tuple[str, ...]:
    if isinstance(item_ids, str) or not all(isinstance(item_id, str) for item_id in item_ids):
        raise InputError(f"{who} has item_ids {examples([item_ids])}; give a list of strings, even of one")
    return tuple(item_ids)


def _check_positive(value: object, what: str, way_out: str = "", most: float = float("inf")) -> None:
    known = not isinstance(value, bool) and isinstance(value, int | float)
    if not known or not 0 < value <= most or value == float("inf"):  # type: ignore[operator]
        limit = "" if most == float("inf") else f", at most {most:g}"
        raise InputError(f"{what} {value!r}; give a number above 0{limit}{way_out}")


def _asks(where: Where) -> bool:
    return isinstance(where, Expression) or bool(where)


def _check_where(where: Where, who: str) -> None:
    if not _asks(where):
        raise InputError(f"{who} has no filter and would be for every item; give where, as 'category = food'")


def _told(where: Where) -> str:
    if isinstance(where, str | Expression):
        return str(where)
    if isinstance(where, tuple) and len(where) > 1 and isinstance(where[0], str):
        return " ".join(map(str, where))
    return " and ".join(_told(part) for part in where)
