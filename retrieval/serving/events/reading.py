"""The log as tables: histories for an answer, and all of it for learning."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from indexing.arrays import Mask
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.errors import InputError, InteractionsError
from retrieval.interactions.event_types import EventTypes
from retrieval.interactions.impressions import SCHEMA as SHOWN
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.log_schema import LogRows, ReadOptions
from retrieval.interactions.parse_values import Times, read_events
from retrieval.serving.events.database import Database
from retrieval.serving.events.tables import ALIASES, EVENTS
from retrieval.serving.events.users import HISTORY, OF_SESSION, OF_USER, SHOWN_IN_SESSION, SHOWN_TO_USER

By = Literal["user", "session"]
CHUNK = 20_000  # rows that are in memory as Python's objects
_TYPES: dict[str, pa.DataType] = {
    "sequence": pa.int64(),
    "event_id": pa.string(),
    "user_id": pa.string(),
    "session_id": pa.string(),
    "item_id": pa.string(),
    "type": pa.string(),
    "time": pa.int64(),
    "weight": pa.float64(),
    "position": pa.int32(),
    "request_id": pa.string(),
    "variant": pa.string(),
    "received": pa.int64(),
    "is_shown": pa.bool_(),
}
_HISTORIES = pa.schema([(name, _TYPES[name]) for name in ("user_id", "item_id", "type", "time", "weight")])


class OrderedInteractions(Interactions):
    """Interactions whose order is known also within a second: that in which they were written."""

    @property
    def has_times(self) -> bool:
        """Whether the order says what came first."""
        return len(self) > 0


def read_interactions(
    database: Database, names: Sequence[str], by: By, types: EventTypes, most: int | None = None
) -> Interactions:
    """Read the events of some users or sessions, with weights, as of now.

    What ages is as old as it is at the end of the whole log, as in `fit`.

    Args:
        database: Of the log.
        names: Users or sessions; those without events have no rows.
        by: Which of them.
        types: What each type of event means.
        most: How many events are read of all together; any number when None.

    Raises:
        InputError: When they have more.
    """
    with database.reading() as connection:
        read = _histories(connection, names, by, most)
        ages = any(kind.half_life_days or kind.expires_after_days for kind in types.types.values())
        end = last_time(connection) if ages and len(read) else 0
    return _weighed(read, types, end)


def _histories(connection: sa.Connection, names: Sequence[str], by: By, most: int | None) -> pa.Table:
    """Read histories one after the other, each oldest first, with whose they are; few rows are Python's objects."""
    parts: list[pa.Table] = []
    rows: list[tuple[Any, ...]] = []
    count = 0
    for name in dict.fromkeys(names):
        found = connection.execute(OF_USER if by == "user" else OF_SESSION, {"name": name}).all()
        count += len(found)
        if most is not None and count > most:
            raise InputError(
                f"{len(names)} {by}s have more than {most} events in all, of each the latest {HISTORY} counted; "
                f"ask for fewer {by}s at once"
            )
        rows += [(name, *row) for row in reversed(found)]
        if len(rows) >= CHUNK:
            parts.append(_table(rows))
            rows = []
    return pa.concat_tables([*parts, _table(rows)])


def _table(rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    columns = zip(*rows, strict=True) if rows else ((),) * len(_HISTORIES)
    return pa.table([pa.array(one, kind) for one, kind in zip(columns, _HISTORIES.types, strict=True)], _HISTORIES)


def _weighed(read: pa.Table, types: EventTypes, end: int) -> Interactions:
    """Count events by their types and their age, as `Interactions` does with a log."""
    none = np.zeros(len(read), np.int64)
    owners, items = (read[name].combine_chunks() for name in ("user_id", "item_id"))
    log = LogRows({}, owners, items, Times(read["time"].to_numpy(), none, none))
    log.weights = read["weight"].to_numpy().astype(np.float32)
    if len(read):
        names = read["type"].combine_chunks()
        is_known: Mask = pc.is_in(names, value_set=pa.array([*types.types], pa.string())).to_numpy(zero_copy_only=False)
        if unknown := int((~is_known).sum()):  # of a table of types that is used no more
            log.lost["event of a type without a weight"] += unknown
            log.keep(is_known)
        log.weigh(*read_events(names.filter(pa.array(is_known)), "type", types))
        log.leave_out_unusable()
        log.age(types, end)
    return OrderedInteractions(log.table(), dict(log.lost), log.repairs(), log.examples, "max", types)


def read_impressions(database: Database, names: Sequence[str], by: By) -> Impressions:
    """Read what was shown to some users or in some sessions, perhaps nothing."""
    statement = SHOWN_TO_USER if by == "user" else SHOWN_IN_SESSION
    with database.reading() as connection:
        rows = [
            (name, *row)
            for name in dict.fromkeys(names)
            for row in reversed(connection.execute(statement, {"name": name}).all())
        ]
    rows.sort(key=lambda row: int(row[3]))  # by time; what was shown together keeps its order
    columns = zip(*rows, strict=True) if rows else ((),) * len(SHOWN)
    arrays = [pa.array(values, kind) for values, kind in zip(columns, SHOWN.types, strict=True)]
    return Impressions(pa.table(arrays, SHOWN))


def last_time(connection: sa.Connection) -> int:
    """Give the second of the last event that is no impression; 0 when there is none."""
    query = sa.select(sa.func.max(EVENTS.c.time)).where(EVENTS.c.is_shown == sa.literal(False))
    return int(connection.execute(query).scalar_one() or 0)


def stream(
    connection: sa.Connection,
    columns: Sequence[str],
    *,
    shown: bool | None = None,
    since: int | None = None,
    merged: bool = True,
    up_to: int | None = None,
) -> Iterator[pa.Table]:
    """Give columns of the log in the order of writing, a part at a time, so that memory is bounded.

    Args:
        connection: To read by.
        columns: Their names.
        shown: Impressions alone, or all but them; everything when None.
        since: Only what happened at this second or later.
        merged: Write users by the names that they were merged into.
        up_to: The last ``sequence`` that is read; that of now when None.
    """
    read: list[sa.ColumnElement[Any]] = [EVENTS.c[name] for name in columns]
    source: sa.FromClause = EVENTS
    if merged and "user_id" in columns:
        source = EVENTS.outerjoin(ALIASES, ALIASES.c.alias == EVENTS.c.user_id)
        read[list(columns).index("user_id")] = sa.func.coalesce(ALIASES.c.user_id, EVENTS.c.user_id).label("user_id")
    query = sa.select(*read).select_from(source).order_by(EVENTS.c.sequence)
    if shown is not None:
        query = query.where(EVENTS.c.is_shown == sa.literal(shown))
    if since is not None:
        query = query.where(EVENTS.c.time >= since)
    if up_to is not None:
        query = query.where(EVENTS.c.sequence <= up_to)
    schema = pa.schema([(name, _TYPES[name]) for name in columns])
    result = connection.execution_options(stream_results=True, max_row_buffer=CHUNK).execute(query)
    while rows := result.fetchmany(CHUNK):
        arrays = [pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), schema.types, strict=True)]
        yield pa.table(arrays, schema)


def last_sequence(connection: sa.Connection) -> int:
    """Give the number of the last event, of any kind; 0 when there is none."""
    return int(connection.execute(sa.select(sa.func.max(EVENTS.c.sequence))).scalar_one() or 0)


def all_interactions(
    database: Database, options: ReadOptions, days: float | None = None, up_to: int | None = None
) -> Interactions:
    """Read the whole log for `fit`, without impressions.

    Args:
        database: Of the log.
        options: How a log is read; types of events are needed.
        days: Read only events of so many days before the end.
        up_to: The last ``sequence`` that is read; that of now when None.

    Raises:
        InteractionsError: When there is none, or a type has no weight.
    """
    with database.reading(whole=True) as connection:
        since = None if days is None else last_time(connection) - int(days * SECONDS_PER_DAY)
        names = ("user_id", "item_id", "time", "type", "weight")
        tables = list(stream(connection, names, shown=False, since=since, up_to=up_to))
    if not tables:
        raise InteractionsError(f"{database.shown} has no events yet but impressions; there is nothing to learn from")
    table = pa.concat_tables(tables).rename_columns(["user_id", "item_id", "timestamp", "event", "weight"])
    return Interactions(*options.clean(table, names=table.column_names))


def all_impressions(database: Database, up_to: int | None = None) -> Impressions | None:
    """Read what was shown, up to a ``sequence``; None where nothing was."""
    names = ("user_id", "item_id", "position", "time", "request_id")
    with database.reading(whole=True) as connection:
        tables = list(stream(connection, names, shown=True, up_to=up_to))
    if not tables:
        return None
    return Impressions.from_arrow(pa.concat_tables(tables).rename_columns([*names[:3], "timestamp", names[4]]))
