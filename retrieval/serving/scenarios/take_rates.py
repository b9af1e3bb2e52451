"""How much of what each variant showed was taken, and by how much variants differ."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from indexing.errors import InputError, examples
from indexing.runtime.arguments import is_number, shown_number
from retrieval.interactions.event_types import EventTypes
from retrieval.serving.events import EventLog
from retrieval.serving.events.event import SESSION
from retrieval.serving.events.tables import ALIASES, EVENTS


class TakeRate(NamedTuple):
    """How much of what a variant showed was taken.

    Attributes:
        variant: The scenario.
        users: To how many users it showed something.
        shown: How many impressions there are.
        taken: How many of these were taken: the same person, or visit, had to do with the item, in a way that speaks
            for it, by the same request.
        rate: Taken of shown.
        low, high: The interval of the rate.
    """

    variant: str
    users: int
    shown: int
    taken: int
    rate: float
    low: float
    high: float


class Difference(NamedTuple):
    """By how much the rate of a variant is above that of the baseline, with its interval."""

    variant: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class TakeRates:
    """The rates of all variants, and their differences from one of them.

    Attributes:
        baseline: The variant that the others are compared with.
        level: Of the intervals.
        rates: Of each variant.
        differences: Of each other variant.
        without_variant: Impressions that name no variant, which are left out.
        without_weight: How many events of the same requests and items are of a type without a weight, by type; none
            of them counts.
    """

    baseline: str
    level: float
    rates: tuple[TakeRate, ...]
    differences: tuple[Difference, ...]
    without_variant: int
    without_weight: Mapping[str, int]

    def to_json(self) -> dict[str, Any]:
        """Give it as plain JSON values."""
        return asdict(self) | {
            "rates": [rate._asdict() for rate in self.rates],
            "differences": [one._asdict() for one in self.differences],
        }


def take_rates(
    log: EventLog, baseline: str | None = None, *, level: float = 0.95, types: EventTypes | None = None
) -> TakeRates:
    """Compare the variants of a log of live events.

    What one user sees and takes hangs together, so that users are what intervals count: they are those of a ratio of
    sums over users (linearised, with the t distribution). Users who saw several variants count in each of them.

    Args:
        log: With impressions that name their variant.
        baseline: The variant to compare with; the one with the most impressions when None.
        level: Of the intervals.
        types: What each type of event means; those of the log when None.

    Raises:
        InputError: When no impression names a variant, or the baseline is none of them.
    """
    if not is_number(level, 0, 1) or level in (0, 1):
        raise InputError(f"the level is {shown_number(level)}; give a number between 0 and 1, such as 0.95")
    rows, without, without_weight = _counts(log, types or log.types)
    if not rows:
        raise InputError(
            f"{log.database.shown} has no impressions that name a variant ({without} name none); write impressions "
            "with the `variant` of the answer"
        )
    users = {user: place for place, user in enumerate(dict.fromkeys(row[0] for row in rows))}
    variants = sorted({row[1] for row in rows})
    shown, taken = (np.zeros((len(users), len(variants))) for _ in range(2))
    for user, variant, seen, liked in rows:
        shown[users[user], variants.index(variant)] += seen
        taken[users[user], variants.index(variant)] += liked
    if baseline is None:
        baseline = variants[int(shown.sum(axis=0).argmax())]
    if baseline not in variants:
        raise InputError(f"no impression is of the variant {baseline!r}; give one of {examples(variants, 20)}")
    rates, differences = _compared(variants, shown, taken, baseline, level)
    return TakeRates(baseline, level, rates, differences, without, without_weight)


def _counts(log: EventLog, types: EventTypes) -> tuple[Sequence[Any], int, dict[str, int]]:
    """Count what was shown and taken of each user and variant, impressions without a variant, and unknown types."""
    event, name = EVENTS.alias("event"), ALIASES.alias("name")
    person, user = _person(event, name), _person(EVENTS, ALIASES)
    of_visit = sa.or_(*(one.c.user_id == sa.literal(SESSION) + one.c.session_id for one in (event, EVENTS)))
    is_same = sa.or_(person == user, sa.and_(event.c.session_id == EVENTS.c.session_id, of_visit))
    is_of_list = (event.c.request_id == EVENTS.c.request_id, event.c.item_id == EVENTS.c.item_id, is_same)
    events = event.outerjoin(name, name.c.alias == event.c.user_id)
    shown = EVENTS.outerjoin(ALIASES, ALIASES.c.alias == EVENTS.c.user_id)
    likes = [kind for kind, meaning in types.types.items() if meaning.weight > 0]
    liked = sa.exists().select_from(events).where(*is_of_list, event.c.is_shown == sa.literal(False))
    is_taken = liked.where(event.c.type.in_(likes)).correlate(EVENTS, ALIASES)
    counted = (
        sa.select(user, EVENTS.c.variant, sa.func.count(), sa.func.sum(sa.case((is_taken, 1), else_=0)))
        .select_from(shown)
        .where(EVENTS.c.is_shown == sa.literal(True))
        .group_by(user, EVENTS.c.variant)
    )
    was_shown = sa.exists().select_from(shown).where(*is_of_list, EVENTS.c.is_shown == sa.literal(True))
    unknown = (
        sa.select(event.c.type, sa.func.count())
        .select_from(events)
        .where(event.c.is_shown == sa.literal(False), event.c.type.not_in(list(types.types)))
        .where(was_shown.where(EVENTS.c.variant.is_not(None)).correlate(event, name))
        .group_by(event.c.type)
        .order_by(event.c.type)
    )
    with log.database.reading(whole=True) as connection:
        rows, others = connection.execute(counted).all(), connection.execute(unknown).all()
    without = sum(int(row[2]) for row in rows if row[1] is None)
    return [row for row in rows if row[1] is not None], without, {str(kind): int(count) for kind, count in others}


def _person(events: sa.FromClause, names: sa.FromClause) -> sa.ColumnElement[str]:
    """Give the main name of whom an event is."""
    return sa.func.coalesce(names.c.user_id, events.c.user_id)


def _compared(
    variants: list[str],
    shown: NDArray[np.float64],
    taken: NDArray[np.float64],
    baseline: str,
    level: float,
) -> tuple[tuple[TakeRate, ...], tuple[Difference, ...]]:
    from scipy.stats import t

    totals = shown.sum(axis=0)
    rates = taken.sum(axis=0) / totals
    # (U, V): by how much each user moves each rate
    moved = (taken - rates * shown) / totals
    count = len(shown)
    width = float(t.ppf((1 + level) / 2, count - 1)) * np.sqrt(count / (count - 1)) if count > 1 else np.nan

    def interval(value: float, effects: NDArray[np.float64]) -> tuple[float, float]:
        half = float(width * np.sqrt((effects**2).sum()))
        return value - half, value + half

    found = tuple(
        TakeRate(
            name,
            int((shown[:, place] > 0).sum()),
            int(totals[place]),
            int(taken[:, place].sum()),
            float(rates[place]),
            *interval(float(rates[place]), moved[:, place]),
        )
        for place, name in enumerate(variants)
    )
    base = variants.index(baseline)
    differences = tuple(
        Difference(
            name, float(rates[place] - rates[base]),
            *interval(float(rates[place] - rates[base]), moved[:, place] - moved[:, base]),
        )
        for place, name in enumerate(variants)
        if place != base
    )  # fmt: skip
    return found, differences
