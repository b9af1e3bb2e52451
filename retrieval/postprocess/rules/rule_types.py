"""Business rules: pin, boost, bury, exclude, freshness and frequency."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias

from indexing.errors import InputError, examples
from retrieval.filters import Expression, Where

MAX_BOOST = 1e6  # largest boost, in spans of a list: a larger one gives the same order, and scores stay finite


@dataclass(frozen=True)
class Pin:
    """Place items at a rank, whether or not they are among the candidates or in the history.

    Attributes:
        item_ids: The items, one after the other.
        at: The rank of the first, from 1; ranks taken by earlier rules are skipped. In a shorter list, the end.
        name: The name of the rule; made of the above when empty.
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
    """Raise the scores of items.

    Attributes:
        where: A filter of the items.
        by: As a fraction of the difference between the first and the last score of the list: 1 raises the last item
            to the score of the first.
        name: The name of the rule.
    """

    where: Where
    by: float = 0.2
    name: str = ""

    def __post_init__(self) -> None:
        _check_where(self.where, "a boost")
        _check_positive(self.by, "a boost by", "; to lower items, bury them", MAX_BOOST)

    def __str__(self) -> str:
        return self.name or f"boost {_where_text(self.where)} by {self.by:g}"


@dataclass(frozen=True)
class Bury:
    """Move items to the end of the list, in the order they had.

    Attributes:
        where: A filter of the items.
        name: The name of the rule.
    """

    where: Where
    name: str = ""

    def __post_init__(self) -> None:
        _check_where(self.where, "a bury")

    def __str__(self) -> str:
        return self.name or f"bury {_where_text(self.where)}"


@dataclass(frozen=True)
class Exclude:
    """Remove items from the list, pinned ones included.

    Attributes:
        where: A filter of the items.
        item_ids: Further items; ids that are not in the bundle, as after a delete, are ignored.
        name: The name of the rule.
    """

    where: Where = ()
    item_ids: Sequence[str] = ()
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "item_ids", _ids(self.item_ids, "an exclude"))
        if not self.item_ids:
            _check_where(self.where, "an exclude without item_ids")

    @property
    def has_filter(self) -> bool:
        """Whether there is a filter."""
        return _has_filter(self.where)

    def __str__(self) -> str:
        parts = [_where_text(self.where)] if self.has_filter else []
        return self.name or f"exclude {' or '.join([*parts, *self.item_ids[:3]])}{'…' * (len(self.item_ids) > 3)}"


@dataclass(frozen=True)
class Fresh:
    """Raise the scores of items by their age: by ``by * 0.5 ** (age / half_life)``.

    Attributes:
        column: An attribute with dates, times or numbers, as a year. Items without a value are not raised.
        half_life: In days for dates and times, else in units of the column.
        by: For the newest items, as for `Boost`.
        now: The time at which the age is 0, and before which it is counted; the latest value in the catalogue when
            None, so that the same bundle always gives the same answers.
        name: The name of the rule.
    """

    column: str
    half_life: float
    by: float = 0.2
    now: date | datetime | str | float | None = None
    name: str = ""

    def __post_init__(self) -> None:
        _check_positive(self.half_life, "a half_life of")
        _check_positive(self.by, "a fresh by", maximum=MAX_BOOST)

    def __str__(self) -> str:
        return self.name or f"fresh {self.column}, half-life {self.half_life:g}, by {self.by:g}"


@dataclass(frozen=True)
class FrequencyCap:
    """Remove from the list of a user what was shown to this user often enough lately, pinned items included.

    Attributes:
        times: Show an item at most so many times.
        days: In so many days before the request.
        name: The name of the rule.
    """

    times: int = 3
    days: float = 7
    name: str = ""

    def __post_init__(self) -> None:
        _check_times(self.times, "a frequency cap of")
        _check_positive(self.days, "a frequency cap in days of")

    def __str__(self) -> str:
        return self.name or f"show at most {self.times} times in {self.days:g} days"


@dataclass(frozen=True)
class Rotate:
    """Move what was shown to a user often lately to the end of the list of this user, in the order it had.

    Attributes:
        times: From so many times on.
        days: In so many days before the request.
        name: The name of the rule.
    """

    times: int = 1
    days: float = 1
    name: str = ""

    def __post_init__(self) -> None:
        _check_times(self.times, "a rotation after times of")
        _check_positive(self.days, "a rotation in days of")

    def __str__(self) -> str:
        return self.name or f"rotate what was shown {self.times} times in {self.days:g} days"


Rule: TypeAlias = Pin | Boost | Bury | Exclude | Fresh | FrequencyCap | Rotate
ShownRule: TypeAlias = FrequencyCap | Rotate
"""Counts what was shown to a user."""


def _check_times(times: object, name: str) -> None:
    if isinstance(times, bool) or not isinstance(times, int) or times < 1:
        raise InputError(f"{name} {times!r}; give a whole number of at least 1")


def _ids(item_ids: Sequence[str], rule_name: str) -> tuple[str, ...]:
    if isinstance(item_ids, str) or not all(isinstance(item_id, str) for item_id in item_ids):
        raise InputError(f"{rule_name} has item_ids {examples([item_ids])}; give a list of strings, even of one")
    return tuple(item_ids)


def _check_positive(value: object, name: str, hint: str = "", maximum: float = float("inf")) -> None:
    is_number = not isinstance(value, bool) and isinstance(value, int | float)
    if not is_number or not 0 < value <= maximum or value == float("inf"):  # type: ignore[operator]
        limit = "" if maximum == float("inf") else f", at most {maximum:g}"
        raise InputError(f"{name} {value!r}; give a number above 0{limit}{hint}")


def _has_filter(where: Where) -> bool:
    return isinstance(where, Expression) or bool(where)


def _check_where(where: Where, rule_name: str) -> None:
    if not _has_filter(where):
        raise InputError(f"{rule_name} has no filter and would be for every item; give where, as 'category = food'")


def _where_text(where: Where) -> str:
    if isinstance(where, str | Expression):
        return str(where)
    if isinstance(where, tuple) and len(where) > 1 and isinstance(where[0], str):
        return " ".join(map(str, where))
    return " and ".join(_where_text(part) for part in where)
