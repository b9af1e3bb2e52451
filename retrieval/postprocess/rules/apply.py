"""Applying rules to candidates: exclude and cap, boost, bury and rotate, then pin."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.attribute_types import is_number
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import CommonspaceWarning, FilterError, InputError
from indexing.runtime.warn import warn
from retrieval.candidates import Candidates, check_num_rows
from retrieval.filters import Where, matching
from retrieval.filters.values import attribute_type, typed
from retrieval.interactions.impressions import Impressions
from retrieval.models.features.column_encoders import numbers
from retrieval.postprocess.rules.rule_types import (
    Boost,
    Bury,
    Exclude,
    FrequencyCap,
    Fresh,
    Pin,
    Rule,
    ShownRule,
)
from retrieval.postprocess.rules.ruled_candidates import Ruled
from retrieval.postprocess.rules.ruled_lists import RankedLists


class UnshownUsersWarning(CommonspaceWarning):
    """A rule of frequency is applied to users of whom none has impressions, and not a single new one."""


class ShownImpressions(NamedTuple):
    """Impressions of the users of a request, for rules of frequency.

    Attributes:
        impressions: Items that were shown to each user; none for a user without impressions.
        at: The second of the request, since 1970; that of the last impression when None, so that the same impressions
            always give the same answers.
    """

    impressions: Impressions
    at: int | None = None

    def rows_for(self, rule: ShownRule, candidates: Candidates) -> list[Rows]:
        """Give for each query the rows that were shown to its user so often that a rule concerns them.

        Warns with `UnshownUsersWarning` where nothing was shown to any of the users: their names may be other ones. A
        single user without a history is no sign of that: to a new one nothing was shown yet.

        Raises:
            InputError: When the queries are not named after users.
        """
        at = self.impressions.latest if self.at is None else self.at
        names = candidates.query_ids
        if names and len(self.impressions) and not any(map(self.impressions.knows, names)):
            if names == tuple(map(str, range(len(names)))):
                raise InputError(
                    f"rule {str(rule)!r} looks for users by name, and these queries have none: give user_ids to "
                    "recommend, or rename the candidates by named"
                )
            if len(names) > 1 or len(candidates.histories[0]):
                known = self.impressions.table["user_id"][0].as_py()
                warn(
                    f"rule {str(rule)!r} changes nothing: the impressions have no user {names[0]!r}"
                    f"{f' and none of the other {len(names) - 1}' * (len(names) > 1)}; they name users as {known!r}",
                    UnshownUsersWarning,
                )
        counts = (self.impressions.counts_for(user_id, candidates.items, at, rule.days) for user_id in names)
        return [np.array([row for row, count in rows.items() if count >= rule.times], np.int64) for rows in counts]


def applied(
    candidates: Candidates, rules: Sequence[Rule], attributes: pa.Table, shown: ShownImpressions | None = None
) -> Ruled:
    """Apply rules: excludes and caps first, then boosts and freshness, then buries and rotation, and pins last.

    Args:
        candidates: B queries, best first.
        rules: In any order; of pins at the same position the first is placed there.
        attributes: One row for each item, in the order of rows.
        shown: What was shown to the users that the queries are named after; needed by frequency caps and rotation.

    Returns:
        The candidates with stage ``"rules"``; each list keeps its length, or has that of the pins when longer. A
        pinned hit has the score of the hit after it.

    Raises:
        FilterError: When a filter does not fit the attributes.
        UnknownItemError: When a pinned item is not in the bundle.
        InputError: When a score is no number, the column of a freshness rule has no dates, times or numbers, or a rule
            needs impressions and there are none.
        ShapeError: When the attributes are of other items.
    """
    check_num_rows(attributes.num_rows, candidates, "attributes")
    lists, items = RankedLists(candidates, [str(rule) for rule in rules]), candidates.items
    excluded = np.zeros(len(items), np.bool_)
    buried: dict[int, Mask] = {}
    boosts: dict[int, NDArray[np.float64]] = {}
    pins: list[tuple[int, Pin]] = []
    capped, rotated = _shown_rows(candidates, rules, shown)
    for index, rule in enumerate(rules):
        match rule:
            case Exclude():
                mask = _excluded_rows(rule, attributes, items)
                lists.exclude(index, mask)
                excluded |= mask
            case Boost():
                boosts[index] = np.where(_where(attributes, rule, rule.where), rule.by, 0.0)
            case Fresh():
                boosts[index] = rule.by * newness(attributes, rule, items.is_live)
            case Bury():
                buried[index] = _where(attributes, rule, rule.where)
            case Pin():
                pins.append((index, rule))
    for index, rows in capped.items():
        lists.cap(index, rows)
    if boosts:
        lists.lift(boosts)
    if buried or rotated:
        lists.bury(buried, rotated)
    lists.pin(_pinned_rows(pins, items, excluded, candidates.rows.shape[1]), capped)
    return lists.ruled(candidates)


def _shown_rows(
    candidates: Candidates, rules: Sequence[Rule], shown: ShownImpressions | None
) -> tuple[dict[int, list[Rows]], dict[int, list[Rows]]]:
    """Give by the place of each rule what caps remove, and what rotation moves to the end."""
    capped: dict[int, list[Rows]] = {}
    rotated: dict[int, list[Rows]] = {}
    for index, rule in enumerate(rules):
        if isinstance(rule, ShownRule):
            if shown is None:
                raise InputError(
                    f"rule {str(rule)!r} needs to know what was shown to each user",
                    python="give impressions=Impressions.open(PATH)",
                    cli="give --impressions FILE",
                    http="ask /recommend for user_ids or a session, of whom the log of live events knows it",
                )
            (capped if isinstance(rule, FrequencyCap) else rotated)[index] = shown.rows_for(rule, candidates)
    return capped, rotated


def newness(attributes: pa.Table, rule: Fresh, is_live: Mask | None = None) -> NDArray[np.float64]:
    """Give 0.5 ** (age / half-life) of each row, 0 without a date: (N,) float64.

    Args:
        attributes: One row for each item.
        rule: The rule, with its column and half-life.
        is_live: (N,) bool, the live rows: the newest of these has age 0. All when None.

    Raises:
        InputError: When the column has no dates, times or numbers, or ``now`` cannot be read as one.
    """
    kind = attribute_type(attributes, rule.column)
    dated = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if not (dated or is_number(kind)):
        raise InputError(f"rule {str(rule)!r}: {rule.column!r} holds {kind}; name a column of dates, times or numbers")
    values = numbers(attributes[rule.column])
    known = np.isfinite(values)
    if not known.any():
        return np.zeros(len(values))
    counted = known if is_live is None else known & is_live
    now = float(values[counted if counted.any() else known].max())
    if rule.now is not None:
        try:
            now = float(numbers(pa.chunked_array([pa.array([typed(rule.now, kind).as_py()], kind)]))[0])
        except (FilterError, pa.ArrowException) as error:
            raise InputError(f"rule {str(rule)!r}: now is {rule.now!r}: {error}") from error
    age = np.maximum(now - np.where(known, values, now), 0.0) / (rule.half_life * (SECONDS_PER_DAY if dated else 1.0))
    return np.where(known, 0.5**age, 0.0)


def _where(attributes: pa.Table, rule: Rule, where: Where) -> Mask:
    try:
        return matching(attributes, where)
    except FilterError as error:
        raise FilterError(f"rule {str(rule)!r}: {error}") from error


def _excluded_rows(rule: Exclude, attributes: pa.Table, items: ItemIds) -> Mask:
    mask = np.zeros(len(items), np.bool_)
    if rule.has_filter:
        mask |= _where(attributes, rule, rule.where)
    mask[items.rows(items.known(rule.item_ids))] = True
    return mask


def _pinned_rows(
    pins: Sequence[tuple[int, Pin]], items: ItemIds, excluded: Mask, length: int
) -> dict[int, tuple[int, int]]:
    """Give for each position from 0 the pinned row and its rule; an item is pinned once, and not when excluded."""
    pinned_rows: dict[int, tuple[int, int]] = {}
    seen: set[int] = set()
    for index, pin in pins:
        position = min(pin.at - 1, length)
        for row in items.rows(pin.item_ids).tolist():
            if row in seen or excluded[row]:
                continue
            while position in pinned_rows:
                position += 1
            pinned_rows[position] = (row, index)
            seen.add(row)
    return pinned_rows
