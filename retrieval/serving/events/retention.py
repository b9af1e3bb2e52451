"""How long events are kept, by age and by number."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.errors import InputError
from indexing.runtime.arguments import check_number, check_whole
from retrieval.serving.events.tables import ALIASES, EVENTS, USERS

_AT_ONCE = 5_000  # rows of one transaction, so that events are not kept waiting
_US = 1_000_000

Run = Callable[[Callable[[sa.Connection], int]], int]
"""Runs a job in a transaction of the writer, and gives its count."""


@dataclass(frozen=True)
class Retained:
    """What `retain` removed.

    Attributes:
        events: How many events.
        users: How many users of whom nothing was left.
    """

    events: int
    users: int


def retain(run: Run, days: float | None, events: int | None) -> Retained:
    """Remove what is older or more than is kept; see `EventLog.retain`."""
    if days is None and events is None:
        raise InputError("neither days nor events say what is kept; give one of them, or both")
    removed, now = 0, int(time.time())
    first_kept = 0  # of what was merged
    if days is not None:
        days = check_number(days, "days", "give a number above 0", above=0)
        first_kept = now - int(days * SECONDS_PER_DAY)
        removed += _remove(run, EVENTS.c.time < first_kept)
    if events is not None:
        kept = check_whole(events, "events", 1)
        oldest = sa.select(EVENTS.c.sequence).order_by(EVENTS.c.sequence.desc()).offset(kept - 1).limit(1)
        last = run(lambda connection: connection.execute(oldest).scalar() or 0)
        removed += _remove(run, EVENTS.c.sequence < last)
    return Retained(removed, _remove_users(run, now if days is None else first_kept, first_kept))


def _remove(run: Run, condition: sa.ColumnElement[bool]) -> int:
    """Remove events a part at a time."""
    removed = 0
    chosen = sa.select(EVENTS.c.sequence).where(condition).limit(_AT_ONCE)

    def part(connection: sa.Connection) -> int:
        numbers = connection.execute(chosen).scalars().all()
        for start in range(0, len(numbers), 500):
            connection.execute(EVENTS.delete().where(EVENTS.c.sequence.in_(numbers[start : start + 500])))
        return len(numbers)

    while count := run(part):
        removed += count
    return removed


def _remove_users(run: Run, created: int, merged: int) -> int:
    """Remove users of whom there is no event, nor a name that belongs to them and has one, and their names.

    Args:
        run: Runs it.
        created: Users who were first seen before this second.
        merged: None of whose names was merged at this second or later: who is who is kept longer than the events.
    """
    of_names = sa.exists().where(EVENTS.c.user_id == ALIASES.c.alias, ALIASES.c.user_id == USERS.c.user_id)
    own = sa.exists().where(EVENTS.c.user_id == USERS.c.user_id)
    is_alias = sa.exists().where(ALIASES.c.alias == USERS.c.user_id)
    has_names = sa.exists().where(ALIASES.c.user_id == USERS.c.user_id, ALIASES.c.merged >= merged * _US)
    is_left = USERS.c.created < created * _US, ~own, ~of_names, ~is_alias, ~has_names
    left = sa.select(USERS.c.user_id).where(*is_left).limit(_AT_ONCE)

    def part(connection: sa.Connection) -> int:
        users = connection.execute(left).scalars().all()
        for start in range(0, len(users), 500):
            some = users[start : start + 500]
            names = connection.execute(sa.select(ALIASES.c.alias).where(ALIASES.c.user_id.in_(some))).scalars().all()
            connection.execute(ALIASES.delete().where(ALIASES.c.user_id.in_(some)))
            connection.execute(USERS.delete().where(USERS.c.user_id.in_([*some, *names])))
        return len(users)

    removed = 0
    while count := run(part):
        removed += count
    return removed
