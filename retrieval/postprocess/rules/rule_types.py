"""The rules of a shop: what is pinned, boosted, buried, excluded, and how much it counts that something is new."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.errors import InputError, examples
from retrieval.candidates import Candidates
from retrieval.filters import Expression, Where
from retrieval.postprocess.rules.ruled_candidates import Ruled

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


STAGE = "rules"
_FELT = 0.01  # less than this share of a list's span is not noted


class Lists:
    """The lists of B queries, and which of the rules touched each hit.

    Args:
        candidates: Best first.
        names: Of R rules.

    Raises:
        InputError: When the score of a candidate is no number.

    Attributes:
        rows: (B, K) int64, -1 pads at the end.
        scores: (B, K) float64, -inf for padding.
        touched: (B, K, R) bool.
        excluded: (B, R) int64, how many hits a rule took out.
    """

    def __init__(self, candidates: Candidates, names: list[str]) -> None:
        if not np.isfinite(candidates.scores[candidates.rows >= 0]).all():
            raise InputError("some scores are NaN or infinite, so that rules cannot raise them; score these anew")
        self.rows, self.names = candidates.rows, names
        self.scores = np.where(self.rows >= 0, candidates.scores, -np.inf).astype(np.float64)
        self.touched = np.zeros((*self.rows.shape, len(names)), np.bool_)
        self.excluded = np.zeros((len(self.rows), len(names)), np.int64)
        span = self._span()
        self._unit = np.where(span > 0, span, 1.0)

    def exclude(self, rule: int, banned: Mask) -> None:
        """Take rows out, (N,) bool; what follows moves up."""
        gone = (self.rows >= 0) & banned[self.rows]
        self.excluded[:, rule] = gone.sum(axis=1)
        self.rows = np.where(gone, -1, self.rows)
        self.scores = np.where(gone, -np.inf, self.scores)
        self._sort(self.rows < 0)

    def lift(self, lifts: Mapping[int, NDArray[np.float64]]) -> None:
        """Raise the scores by shares of what lay between the first and the last of the list: (N,) float64 a rule.

        The order of rules changes nothing: shares are added from the smallest, and equal scores keep their order.
        """
        shares = np.where(self.rows >= 0, np.stack(list(lifts.values()))[:, self.rows], 0.0)
        self.touched[:, :, list(lifts)] = np.moveaxis(shares, 0, -1) >= _FELT
        self.scores = self.scores + np.sort(shares, axis=0).sum(axis=0) * self._unit
        self._sort(-self.scores)

    def bury(self, buried: Mapping[int, Mask]) -> None:
        """Lower the rows of any of some rules, (N,) bool each, below all others."""
        there, below = self.rows >= 0, np.zeros(self.rows.shape, np.bool_)
        for rule, rows in buried.items():
            self.touched[:, :, rule] = there & rows[self.rows]
            below |= self.touched[:, :, rule]
        self.scores = np.where(below, self.scores - self._span() - self._unit, self.scores)
        self._sort(-self.scores)

    def pin(self, places: Mapping[int, tuple[int, int]]) -> None:
        """Put rows at places from 0: place → (row, rule). Lists keep their length, or have that of the pins."""
        if not places:
            return
        rows = np.array([row for row, _ in places.values()], np.int64)
        length = self.rows.shape[1]
        columns = np.array(list(places), np.int64)
        others = np.setdiff1d(np.arange(length + len(rows)), columns)
        moved = np.isin(self.rows, rows)
        kept = np.where(moved, -1, self.rows), np.where(moved, -np.inf, self.scores)
        order = np.argsort(moved, axis=1, kind="stable")
        wide = (len(self.rows), length + len(rows))
        before = self.touched
        self.rows, self.scores = np.full(wide, -1, np.int64), np.full(wide, -np.inf)
        self.touched = np.zeros((*wide, len(self.names)), np.bool_)
        self.rows[:, others] = np.take_along_axis(kept[0], order, axis=1)
        self.scores[:, others] = np.take_along_axis(kept[1], order, axis=1)
        self.touched[:, others] = np.take_along_axis(before, order[:, :, None], axis=1)
        self.rows[:, columns] = rows
        self.touched[:, columns, [rule for _, rule in places.values()]] = True
        self._sort(self.rows < 0)
        self._score_pins()
        cut = slice(max(length, len(rows)))
        self.rows, self.scores, self.touched = self.rows[:, cut], self.scores[:, cut], self.touched[:, cut]

    def ruled(self, candidates: Candidates) -> Ruled:
        """Give what became of the candidates."""
        notes: list[dict[int, tuple[str, ...]]] = [{} for _ in self.rows]
        touched = self.touched & (self.rows >= 0)[:, :, None]
        for line, place, rule in np.argwhere(touched).tolist():
            row = int(self.rows[line, place])
            notes[line][row] = (*notes[line].get(row, ()), self.names[rule])
        gone = [{self.names[rule]: int(count[rule]) for rule in np.flatnonzero(count)} for count in self.excluded]
        same = {one.name: getattr(candidates, one.name) for one in fields(Candidates)}
        with np.errstate(over="ignore"):
            scores = self.scores.astype(np.float32)
        if not np.isfinite(scores[self.rows >= 0]).all():
            raise InputError("rules raise some scores beyond what a float32 holds; lower `by`, or score these anew")
        changed = {"rows": self.rows, "scores": scores, "stage": STAGE}
        return Ruled(**(same | changed), notes=tuple(notes), excluded=tuple(gone))

    def _span(self) -> NDArray[np.float64]:
        """Give how far the best and the worst score of each list are apart, 0 for an empty one: (B, 1) float64."""
        there = self.rows >= 0
        low = np.where(there, self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        high = np.where(there, self.scores, low).max(axis=1, initial=-np.inf, keepdims=True)
        return np.where(np.isfinite(low), high, 0.0) - np.where(np.isfinite(low), low, 0.0)

    def _sort(self, keys: NDArray[np.generic]) -> None:
        """Order every line by rising keys (B, K); equal ones keep their order."""
        order = np.argsort(keys, axis=1, kind="stable")
        self.rows = np.take_along_axis(self.rows, order, axis=1)
        self.scores = np.take_along_axis(self.scores, order, axis=1)
        self.touched = np.take_along_axis(self.touched, order[:, :, None], axis=1)

    def _score_pins(self) -> None:
        """Give what has no score that of the hit behind it; at the end the last there is, or 0."""
        behind = np.maximum.accumulate(self.scores[:, ::-1], axis=1)[:, ::-1]
        last = np.where(np.isfinite(self.scores), self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        filled = np.where(np.isfinite(behind), behind, np.where(np.isfinite(last), last, 0.0))
        self.scores = np.where(self.rows >= 0, filled, -np.inf)
