"""The database of a log: its engine, transactions, and errors that hold no secret."""

import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from indexing.catalogue.readers.sql import ESCAPES, database_url, said_without_secrets, without_user
from indexing.errors import CommonspaceError, EventsBusyError, EventsError, InputError
from indexing.runtime.arguments import shown
from retrieval.serving.events.tables import META, METADATA, VERSION

Result = TypeVar("Result")
_FORM = f"write sqlite:///FILE or postgresql://USER@HOST/DATABASE; {ESCAPES}"
_BUSY_SECONDS = 10
_ATTEMPTS = 3
_CACHE_KB = 32_000  # of the pages of a large log
_PAGES = 20_000  # of the file that are given back at once
_AGAIN = ("40001", "40P01")  # SQLSTATE: a transaction that another one was in the way of
_LOCK = 7_240_311  # of PostgreSQL, while tables are made
_WRITING = "commonspace_writing"
_MERGES = "LOCK TABLE commonspace_aliases IN SHARE ROW EXCLUSIVE MODE"
_APPENDING = "LOCK TABLE commonspace_forgotten IN ROW SHARE MODE"
_FORGETTING = "LOCK TABLE commonspace_forgotten IN EXCLUSIVE MODE"  # waits for appending, which waits for it


def now() -> int:
    """Give the time in microseconds since 1970."""
    return time.time_ns() // 1000


class Database:
    """A database in which a log is, or will be.

    SQLite writes ahead (WAL) and flushes each commit to disk. Passwords of URLs are in no message.

    Args:
        url: Any URL of SQLAlchemy that names a file or a server; without ``#TABLE``.

    Attributes:
        shown: The database without what may be secret.

    Raises:
        InputError: When the URL cannot be used.
    """

    def __init__(self, url: str) -> None:
        self.url = _parsed(url)
        self.shown = without_user(self.url)
        if self.is_file:
            options: dict[str, Any] = {"pool_size": 16, "max_overflow": 48, "connect_args": {"timeout": _BUSY_SECONDS}}
        else:
            options = {"pool_size": 16, "max_overflow": 48, "pool_pre_ping": True}
        try:
            self._engine = sa.create_engine(self.url, hide_parameters=True, **options)
        except (sa.exc.ArgumentError, ImportError) as error:
            raise InputError(f"{self.shown} cannot be used: {said_without_secrets(error, self.url)}") from None
        if self.is_file:
            sa.event.listen(self._engine, "connect", _set_up_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)

    def __repr__(self) -> str:
        return f"<Database {self.shown}>"

    @property
    def is_file(self) -> bool:
        """Whether it is a file of SQLite, and no server."""
        return self.url.get_backend_name() == "sqlite"

    @property
    def path(self) -> Path | None:
        """The file of SQLite."""
        return Path(str(self.url.database)) if self.is_file else None

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Connect in a transaction that writes; it is on disk when the block ends without an error.

        Raises:
            EventsBusyError: When another process writes for too long.
            EventsError: When the database cannot be reached, or refuses what is asked.
        """
        with (
            self._typed(),
            self._engine.connect().execution_options(**{_WRITING: True}) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def reading(self, *, whole: bool = False) -> Iterator[sa.Connection]:
        """Connect in order to read; when ``whole``, everything is of one moment, however much is read.

        Raises:
            EventsError: When the database cannot be reached, or refuses what is asked.
        """
        level = {} if self.is_file else {"isolation_level": "REPEATABLE READ" if whole else "AUTOCOMMIT"}
        with self._typed(), self._engine.connect().execution_options(**level) as connection:
            yield connection

    def transact(self, job: Callable[[sa.Connection], Result]) -> Result:
        """Run a job in a transaction that writes; again where another transaction was in its way."""
        for attempt in range(_ATTEMPTS):
            try:
                with self.writing() as connection:
                    return job(connection)
            except EventsError as error:
                state = getattr(getattr(error.__context__, "orig", None), "sqlstate", None)
                if state not in _AGAIN or attempt == _ATTEMPTS - 1:
                    raise
        raise EventsError(f"{self.shown}: {_ATTEMPTS} transactions failed")  # not reached

    def create(self) -> None:
        """Make the tables where they are missing, and check that this version can read them.

        Raises:
            EventsError: When they are of a newer version, or cannot be made.
        """
        with self.reading() as connection:
            is_made = sa.inspect(connection).has_table(META.name)
        if not is_made:  # else it need not wait for who writes
            self.transact(_make_tables)
        self.check()

    def check(self) -> None:
        """Check that there is a log that this version can read.

        Raises:
            EventsError: When there is none, or it is of a newer version.
        """
        if self.path is not None and not self.path.is_file():
            raise EventsError(f"{self.shown}: there is no such file")
        with self.reading() as connection:
            if not sa.inspect(connection).has_table(META.name):
                raise EventsError(f"{self.shown} holds no log of events; one is made by commonspace serve --events URL")
            version = connection.execute(sa.select(META.c.value).where(META.c.name == "version")).scalar_one()
        if not version.isdigit() or int(version) > VERSION:
            raise EventsError(
                f"{self.shown} is a log of version {version}, this is version {VERSION}: upgrade commonspace"
            )

    def shrink(self, within: float = _BUSY_SECONDS) -> None:
        """Give the space of deleted rows back, and leave none of their bytes in the file of changes.

        Of a file alone; while others read and write for so many seconds, it is left to the next time.
        """
        if not self.is_file:
            return
        wait = int(1000 * min(max(within, 0.0), _BUSY_SECONDS))
        with self._typed(), self._engine.connect() as connection, suppress(sqlite3.OperationalError):
            raw = connection.connection.dbapi_connection
            if raw is not None:
                work = f"PRAGMA incremental_vacuum({_PAGES})", "PRAGMA wal_checkpoint(TRUNCATE)"
                try:
                    for statement in (f"PRAGMA busy_timeout={wait}", *work):
                        raw.cursor().execute(statement).fetchall()
                finally:
                    raw.cursor().execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _typed(self) -> Iterator[None]:
        """Raise errors of the database as the project's own."""
        try:
            yield
        except CommonspaceError:
            raise
        except sa.exc.SQLAlchemyError as error:
            said = said_without_secrets(error, self.url)
            if "database is locked" in said or isinstance(error, sa.exc.TimeoutError):
                raise EventsBusyError(f"{self.shown} is busy ({said.splitlines()[0]}); try again") from None
            raise EventsError(f"{self.shown}: {said}") from None  # the cause may hold the URL


def lock_appending(connection: sa.Connection) -> None:
    """Let nobody be forgotten until this transaction, which appends, ends."""
    _lock(connection, _APPENDING)


def lock_forgetting(connection: sa.Connection) -> None:
    """Wait for the transactions that append, and let no other begin to; before anything else in a transaction.

    Then what they received is there to be removed, and what is received later is checked by who was forgotten.
    """
    _lock(connection, _FORGETTING)


def lock_aliases(connection: sa.Connection) -> None:
    """Let no other transaction change who is who until this one ends; after the locks above, if both are taken."""
    _lock(connection, _MERGES)


def _lock(connection: sa.Connection, statement: str) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.execute(sa.text(statement))


def _parsed(url: object) -> sa.URL:
    if not isinstance(url, str):
        raise InputError(f"the URL of a log of events is {shown(url)}; {_FORM}")
    made: sa.URL | None = None if "#" in url else database_url(url)
    if made is None or made.database == ":memory:":
        raise InputError(f"the URL of a log of events cannot be read, or names no file or database; {_FORM}")
    return made


def _set_up_sqlite(connection: Any, _: object) -> None:  # noqa: ANN401 - of the driver
    connection.isolation_level = None  # transactions begin where SQLAlchemy says so
    cursor = connection.cursor()
    if not cursor.execute("PRAGMA page_count").fetchone()[0]:  # a new file; of others it would wait for who writes
        cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
    mode = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    if mode != "wal":
        raise EventsError(f"SQLite cannot write ahead on this file system (mode {mode!r}); put the log on a local disk")
    for setting in (
        "synchronous=FULL",
        f"cache_size=-{_CACHE_KB}",
        f"busy_timeout={_BUSY_SECONDS * 1000}",
        "secure_delete=ON",
    ):
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get(_WRITING)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _make_tables(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if sa.inspect(connection).has_table(META.name):
        return
    METADATA.create_all(connection)
    values = {"version": str(VERSION), "salt": secrets.token_hex(16)}
    connection.execute(META.insert(), [{"name": name, "value": value} for name, value in values.items()])
