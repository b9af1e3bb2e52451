"""Users of a log: who is who, their histories, and forgetting them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from indexing.errors import InteractionsError
from retrieval.serving.events.database import lock_aliases, lock_forgetting, now
from retrieval.serving.events.event import SESSION
from retrieval.serving.events.forgotten import forgotten_since, remember_forgotten
from retrieval.serving.events.tables import ALIASES, EVENTS, USERS, add_new, matching

HISTORY = 10_000
"""The events of a user that are read for an answer: the latest so many."""


def _history(chosen: sa.ColumnElement[bool], *, shown: bool = False) -> sa.Select[Any]:
    names = ("item_id", "position", "time", "request_id") if shown else ("item_id", "type", "time", "weight")
    read = (EVENTS.c[name] for name in names)
    # A sum has no index: without statistics SQLite would rather scan that of the times than sort a history.
    order = (EVENTS.c.time + 0).desc(), EVENTS.c.sequence.desc()
    return sa.select(*read).where(chosen, EVENTS.c.is_shown == sa.literal(shown)).order_by(*order).limit(HISTORY)


_NAME = sa.bindparam("name", type_=sa.String)
_MAIN = sa.func.coalesce(sa.select(ALIASES.c.user_id).where(ALIASES.c.alias == _NAME).scalar_subquery(), _NAME)
_NAMES = sa.union_all(sa.select(_MAIN), sa.select(ALIASES.c.alias).where(ALIASES.c.user_id == _MAIN))
SHOWN_TO_USER = _history(EVENTS.c.user_id.in_(_NAMES), shown=True)
SHOWN_IN_SESSION = _history(EVENTS.c.session_id == _NAME, shown=True)
"""The latest impressions of the person, or of the session, called ``name``: item, position, time and request."""
OF_USER, OF_SESSION = _history(EVENTS.c.user_id.in_(_NAMES)), _history(EVENTS.c.session_id == _NAME)
"""The latest events of the person, or of the session, called ``name``: item, type, time and weight, the last first."""


@dataclass(frozen=True)
class Merged:
    """What `merge` did.

    Attributes:
        user_id: To whom all of it belongs.
        events: How many events that were the other user's belong to them now.
    """

    user_id: str
    events: int


@dataclass(frozen=True)
class Forgotten:
    """What `forget` removed.

    Attributes:
        events: How many events.
        aliases: How many other names of the same user.
    """

    events: int
    aliases: int


def people(connection: sa.Connection, user_ids: Sequence[str]) -> dict[str, list[str]]:
    """Give for each user all names of the same person, the main one first."""
    pairs = sa.select(ALIASES.c.alias, ALIASES.c.user_id)
    main = {str(alias): str(user) for alias, user in matching(connection, pairs, ALIASES.c.alias, list(user_ids))}
    mains = list(dict.fromkeys(main.get(user, user) for user in user_ids))
    names: dict[str, list[str]] = {user: [user] for user in mains}
    for alias, user in matching(connection, pairs, ALIASES.c.user_id, mains):
        names[str(user)].append(str(alias))
    return {user: names[main.get(user, user)] for user in user_ids}


def merge(connection: sa.Connection, anonymous: str, known: str) -> Merged:
    """Let everything of one user belong to another; see `EventLog.merge`."""
    lock_aliases(connection)
    names = people(connection, [anonymous, known])
    main = names[known][0]
    of_anonymous = sa.select(sa.func.count()).where(EVENTS.c.user_id.in_(names[anonymous]))
    if names[anonymous][0] == main:
        if anonymous in (main, known):
            raise InteractionsError(f"{known!r} belongs to {anonymous!r} already; name two users")
        return Merged(main, 0)
    if names[anonymous][0] != anonymous:
        raise InteractionsError(
            f"{anonymous!r} belongs to {names[anonymous][0]!r} already; merge that user, if they are the same person"
        )
    moment, events = now(), connection.execute(of_anonymous).scalar_one()
    connection.execute(ALIASES.update().where(ALIASES.c.user_id == anonymous).values(user_id=main))
    add_new(connection, ALIASES, [{"alias": anonymous, "user_id": main, "merged": moment}])
    add_new(connection, USERS, [{"user_id": user, "created": moment} for user in (main, anonymous)])
    return Merged(main, events)


def join_names(connection: sa.Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Add who is who by another log: all names that are joined by either log are one person, with one main name.

    That is the one of this log, unless the other one says more: a name that belongs to nobody by either of them.

    Args:
        connection: Of the transaction.
        rows: Rows of ALIASES. Those of somebody who was forgotten later are left out, and removed here.
    """
    lock_aliases(connection)
    here = {str(alias): (str(user), int(moment)) for alias, user, moment in connection.execute(sa.select(ALIASES))}
    pairs = [(alias, user, moment, True) for alias, (user, moment) in here.items()]
    pairs += [(row["alias"], row["user_id"], row["merged"], False) for row in rows]
    since = forgotten_since(connection, list(dict.fromkeys(name for pair in pairs for name in pair[:2])))
    pairs = [pair for pair in pairs if pair[2] > max(since.get(pair[0], 0), since.get(pair[1], 0))]
    joined = _joined(pairs)
    changed = [alias for alias, row in here.items() if alias not in joined or joined[alias] != row]
    for start in range(0, len(changed), 500):
        connection.execute(ALIASES.delete().where(ALIASES.c.alias.in_(changed[start : start + 500])))
    new = {alias: row for alias, row in joined.items() if alias not in here or here[alias] != row}
    names = [{"alias": alias, "user_id": user, "merged": moment} for alias, (user, moment) in new.items()]
    add_new(connection, ALIASES, names)
    moments = {name: moment for alias, (user, moment) in new.items() for name in (alias, user)}
    add_new(connection, USERS, [{"user_id": name, "created": moment} for name, moment in moments.items()])


def _joined(pairs: Sequence[tuple[str, str, int, bool]]) -> dict[str, tuple[str, int]]:
    """Give the main name, and the moment, of each name that is not the main one of its set of connected names.

    Args:
        pairs: A name, to whom it belongs, since when, and whether by this log.
    """
    sets: dict[str, set[str]] = {}
    moments: dict[str, int] = {}
    for alias, user, moment, _ in pairs:
        both = sets.setdefault(alias, {alias}), sets.setdefault(user, {user})
        if both[0] is not both[1]:
            small, large = sorted(both, key=len)
            large |= small
            sets.update(dict.fromkeys(small, large))
        moments[alias] = max(moments.get(alias, 0), moment)
        moments[user] = max(moments.get(user, 0), moment)
    here = {alias for alias, _, _, is_here in pairs if is_here}
    elsewhere = {alias for alias, _, _, is_here in pairs if not is_here}
    owners = {user for _, user, _, is_here in pairs if is_here}

    def preference(name: str) -> tuple[bool, bool, bool, str]:
        return name in here, name in elsewhere, name not in owners, name

    mains = {id(names): min(names, key=preference) for names in sets.values()}
    of_names = {name: mains[id(names)] for name, names in sets.items()}
    return {name: (main, moments[name]) for name, main in of_names.items() if name != main}


def forget(connection: sa.Connection, user_id: str, asked: int) -> Forgotten:
    """Remove all that is known of a person; see `EventLog.forget`.

    Args:
        connection: In a transaction.
        user_id: One of the names.
        asked: When that was asked for, in microseconds: what happens later is of somebody new, but for what is removed.
    """
    lock_forgetting(connection)
    lock_aliases(connection)
    names = people(connection, [user_id])[user_id]
    visits = sa.select(EVENTS.c.session_id).where(EVENTS.c.user_id.in_(names), EVENTS.c.session_id.is_not(None))
    sessions = [SESSION + visit for visit in connection.execute(visits.distinct()).scalars()]
    owners = people(connection, sessions)
    gone = list(dict.fromkeys([*names, *(visit for visit in sessions if owners[visit][0] in (visit, names[0]))]))
    events, moment = 0, asked
    for start in range(0, len(gone), 500):
        part = gone[start : start + 500]
        latest = connection.execute(
            sa.select(sa.func.max(EVENTS.c.received)).where(EVENTS.c.user_id.in_(part))
        ).scalar()
        moment = max(moment, latest or 0)  # no copy of what is removed comes back
        events += connection.execute(EVENTS.delete().where(EVENTS.c.user_id.in_(part))).rowcount
        for column in (ALIASES.c.alias, ALIASES.c.user_id, USERS.c.user_id):
            connection.execute(column.table.delete().where(column.in_(part)))
    remember_forgotten(connection, gone, moment)
    return Forgotten(events, len(names) - 1)
