"""Business rules: pin, boost, bury, exclude and freshness, and the lists that they change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.errors import InputError, examples
from retrieval.candidates import Candidates, sources_of
from retrieval.filters import Expression, Where
from retrieval.postprocess.rules.ruled_candidates import Ruled

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


Rule: TypeAlias = Pin | Boost | Bury | Exclude | Fresh


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


STAGE = "rules"
_MIN_NOTED = 0.01  # boosts of a smaller fraction of a list's span are not noted


class Lists:
    """The lists of B queries, and the rules that changed each hit.

    Args:
        candidates: Best first.
        names: Names of R rules.

    Raises:
        InputError: When the score of a candidate is no number.

    Attributes:
        rows: (B, K) int64, -1 pads at the end.
        scores: (B, K) float64, -inf for padding.
        touched: (B, K, R) bool, the rules that changed each hit.
        excluded: (B, R) int64, the number of hits that each rule removed.
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

    def exclude(self, rule: int, mask: Mask) -> None:
        """Remove the rows of a mask, (N,) bool; later hits move up."""
        is_excluded = (self.rows >= 0) & mask[self.rows]
        self.excluded[:, rule] = is_excluded.sum(axis=1)
        self.rows = np.where(is_excluded, -1, self.rows)
        self.scores = np.where(is_excluded, -np.inf, self.scores)
        self._sort(self.rows < 0)

    def lift(self, boosts: Mapping[int, NDArray[np.float64]]) -> None:
        """Raise the scores by fractions of the span of the list: (N,) float64 for each rule.

        The order of rules does not matter: fractions are added in ascending order, and ties keep their order.
        """
        fractions = np.where(self.rows >= 0, np.stack(list(boosts.values()))[:, self.rows], 0.0)
        self.touched[:, :, list(boosts)] = np.moveaxis(fractions, 0, -1) >= _MIN_NOTED
        self.scores = self.scores + np.sort(fractions, axis=0).sum(axis=0) * self._unit
        self._sort(-self.scores)

    def bury(self, buried: Mapping[int, Mask]) -> None:
        """Lower the rows of masks, (N,) bool for each rule, below all others."""
        is_hit, is_buried = self.rows >= 0, np.zeros(self.rows.shape, np.bool_)
        for rule, rows in buried.items():
            self.touched[:, :, rule] = is_hit & rows[self.rows]
            is_buried |= self.touched[:, :, rule]
        self.scores = np.where(is_buried, self.scores - self._span() - self._unit, self.scores)
        self._sort(-self.scores)

    def pin(self, pins: Mapping[int, tuple[int, int]]) -> None:
        """Place rows: position from 0 → (row, rule). Lists keep their length, or have that of the pins."""
        if not pins:
            return
        rows = np.array([row for row, _ in pins.values()], np.int64)
        num_columns = self.rows.shape[1]
        columns = np.array(list(pins), np.int64)
        free_columns = np.setdiff1d(np.arange(num_columns + len(rows)), columns)
        is_pinned = np.isin(self.rows, rows)
        unpinned = np.where(is_pinned, -1, self.rows), np.where(is_pinned, -np.inf, self.scores)
        order = np.argsort(is_pinned, axis=1, kind="stable")
        wide_shape = (len(self.rows), num_columns + len(rows))
        touched = self.touched
        self.rows, self.scores = np.full(wide_shape, -1, np.int64), np.full(wide_shape, -np.inf)
        self.touched = np.zeros((*wide_shape, len(self.names)), np.bool_)
        self.rows[:, free_columns] = np.take_along_axis(unpinned[0], order, axis=1)
        self.scores[:, free_columns] = np.take_along_axis(unpinned[1], order, axis=1)
        self.touched[:, free_columns] = np.take_along_axis(touched, order[:, :, None], axis=1)
        self.rows[:, columns] = rows
        self.touched[:, columns, [rule for _, rule in pins.values()]] = True
        self._sort(self.rows < 0)
        self._score_pins()
        kept_columns = slice(max(num_columns, len(rows)))
        self.rows, self.scores, self.touched = (
            self.rows[:, kept_columns],
            self.scores[:, kept_columns],
            self.touched[:, kept_columns],
        )

    def ruled(self, candidates: Candidates) -> Ruled:
        """Give the candidates with the changed lists."""
        notes: list[dict[int, tuple[str, ...]]] = [{} for _ in self.rows]
        touched = self.touched & (self.rows >= 0)[:, :, None]
        for query, position, rule in np.argwhere(touched).tolist():
            row = int(self.rows[query, position])
            notes[query][row] = (*notes[query].get(row, ()), self.names[rule])
        excluded = [
            {self.names[rule]: int(counts[rule]) for rule in np.flatnonzero(counts)} for counts in self.excluded
        ]
        unchanged = {field.name: getattr(candidates, field.name) for field in fields(Candidates)}
        with np.errstate(over="ignore"):
            scores = self.scores.astype(np.float32)
        if not np.isfinite(scores[self.rows >= 0]).all():
            raise InputError("rules raise some scores beyond what a float32 holds; lower `by`, or score these anew")
        sources = sources_of(self.rows, candidates.rows, candidates.sources, default="rule")  # only pins are new
        changed = {"rows": self.rows, "scores": scores, "stage": STAGE, "sources": sources}
        return Ruled(**(unchanged | changed), notes=tuple(notes), excluded=tuple(excluded))

    def _span(self) -> NDArray[np.float64]:
        """Give the difference of the best and the worst score of each list, 0 for an empty one: (B, 1) float64."""
        is_hit = self.rows >= 0
        low = np.where(is_hit, self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        high = np.where(is_hit, self.scores, low).max(axis=1, initial=-np.inf, keepdims=True)
        return np.where(np.isfinite(low), high, 0.0) - np.where(np.isfinite(low), low, 0.0)

    def _sort(self, keys: NDArray[np.generic]) -> None:
        """Sort each list by ascending keys (B, K); ties keep their order."""
        order = np.argsort(keys, axis=1, kind="stable")
        self.rows = np.take_along_axis(self.rows, order, axis=1)
        self.scores = np.take_along_axis(self.scores, order, axis=1)
        self.touched = np.take_along_axis(self.touched, order[:, :, None], axis=1)

    def _score_pins(self) -> None:
        """Give hits without a score that of the next hit; at the end the lowest one, or 0."""
        next_scores = np.maximum.accumulate(self.scores[:, ::-1], axis=1)[:, ::-1]
        lowest = np.where(np.isfinite(self.scores), self.scores, np.inf).min(axis=1, initial=np.inf, keepdims=True)
        filled = np.where(np.isfinite(next_scores), next_scores, np.where(np.isfinite(lowest), lowest, 0.0))
        self.scores = np.where(self.rows >= 0, filled, -np.inf)
