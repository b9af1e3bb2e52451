"""The tables of the log of live events, and rows added to them that are not there yet."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

VERSION = 1
IMPRESSION = "impression"
"""The type of an event that says what was shown, at which position."""
_IDS = 512
_CHUNK = 500  # values of one IN

METADATA = sa.MetaData()
_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite numbers rows by an INTEGER alone

EVENTS = sa.Table(
    "commonspace_events",
    METADATA,
    sa.Column("sequence", _WHOLE, primary_key=True, autoincrement=True),
    sa.Column("event_id", sa.String(_IDS), nullable=False, unique=True),
    sa.Column("user_id", sa.String(_IDS), nullable=False),
    sa.Column("session_id", sa.String(_IDS)),
    sa.Column("item_id", sa.String(_IDS), nullable=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("time", sa.BigInteger, nullable=False),  # seconds since 1970
    sa.Column("weight", sa.Double, nullable=False),
    sa.Column("position", sa.Integer),
    sa.Column("request_id", sa.String(_IDS)),
    sa.Column("variant", sa.String(_IDS)),
    sa.Column("received", sa.BigInteger, nullable=False),  # microseconds since 1970
    sa.Column("is_shown", sa.Boolean, nullable=False),  # whether it is an impression
    sa.Index("commonspace_events_user", "user_id", "is_shown", "time"),
    sa.Index("commonspace_events_session", "session_id", "is_shown", "time"),
    sa.Index("commonspace_events_time", "is_shown", "time"),
    sa.Index("commonspace_events_request", "request_id", "item_id"),
    sqlite_autoincrement=True,  # a number is never given twice
)
USERS = sa.Table(
    "commonspace_users",
    METADATA,
    sa.Column("user_id", sa.String(_IDS), primary_key=True),
    sa.Column("created", sa.BigInteger, nullable=False),  # microseconds since 1970
)
ALIASES = sa.Table(
    "commonspace_aliases",
    METADATA,
    sa.Column("alias", sa.String(_IDS), primary_key=True),
    sa.Column("user_id", sa.String(_IDS), nullable=False, index=True),
    sa.Column("merged", sa.BigInteger, nullable=False),  # microseconds since 1970
)
FORGOTTEN = sa.Table(
    "commonspace_forgotten",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("salt", sa.String(64), nullable=False),
    sa.Column("forgotten", sa.BigInteger, nullable=False),  # microseconds since 1970
)
META = sa.Table(
    "commonspace_meta",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("value", sa.String(_IDS), nullable=False),
)


def add_new(connection: sa.Connection, table: sa.Table, rows: list[dict[str, object]]) -> int:
    """Insert the rows whose key is not there yet, and count them.

    The key is the only column of a unique constraint, or else the primary key.
    """
    if not rows:
        return 0
    key = next((column.name for column in table.columns if column.unique), table.primary_key.columns.keys()[0])
    match connection.dialect.name:
        case "sqlite":
            return connection.execute(sqlite.insert(table).on_conflict_do_nothing(index_elements=[key]), rows).rowcount
        case "postgresql":
            statement = postgresql.insert(table).on_conflict_do_nothing(index_elements=[key]).returning(table.c[key])
            return len(connection.execute(statement, rows).all())  # many rows in one statement have no count
    present = set(matching(connection, sa.select(table.c[key]), table.c[key], [str(row[key]) for row in rows]))
    new = {str(row[key]): row for row in reversed(rows) if (row[key],) not in present}
    if new:
        connection.execute(table.insert(), list(reversed(new.values())))
    return len(new)


def matching(
    connection: sa.Connection, statement: sa.Select[*tuple[Any, ...]], column: sa.ColumnElement[str], values: list[str]
) -> list[tuple[Any, ...]]:
    """Give the rows of a statement whose column has one of the values, which may be any number."""
    found: list[tuple[Any, ...]] = []
    for start in range(0, len(values), _CHUNK):
        found += [tuple(row) for row in connection.execute(statement.where(column.in_(values[start : start + _CHUNK])))]
    return found
