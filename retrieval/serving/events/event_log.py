"""The durable log of live events."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from indexing.errors import EventsError, InteractionsError
from indexing.runtime.arguments import check_names, check_whole
from retrieval.batch.table_files import Form
from retrieval.interactions.event_types import USUAL_TYPES, EventTypes
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.log_schema import ReadOptions
from retrieval.serving.events import reading, retention, transfer, users
from retrieval.serving.events.database import Database, now
from retrieval.serving.events.event import Event, rows_of
from retrieval.serving.events.tables import ALIASES, EVENTS, FORGOTTEN, USERS
from retrieval.serving.events.writer import Appended, Writer


@dataclass(frozen=True)
class LogInfo:
    """What a log holds.

    Attributes:
        database: Where it is, without what may be secret.
        types: How many events of each type.
        users: How many persons.
        aliases: How many other names they have.
        forgotten: How many names were forgotten.
        first_time, last_time: Seconds since 1970 of the first and last event; None without any.
        bytes: The size of the file; None of a server.
    """

    database: str
    types: dict[str, int]
    users: int
    aliases: int
    forgotten: int
    first_time: int | None
    last_time: int | None
    bytes: int | None


class EventLog:
    """A log of live events in a database; safe to share between threads, and between processes by its URL.

    What is written is on disk when the call returns, and the next call that reads sees it, in each process.

    Args:
        database: Where the log is.
        types: What each type of event means.

    Attributes:
        database, types: Those.

    Example::

        log = EventLog.open("sqlite:///events.db")
        log.append([Event("mug", "view", user_id="ann", event_id="e1")])  # Appended(accepted=1, …)
        log.interactions_of(["ann"]).table.to_pylist()
    """

    def __init__(self, database: Database, types: EventTypes = USUAL_TYPES) -> None:
        self.database, self.types = database, types
        self._writer = Writer(database)

    @classmethod
    def open(cls, url: str, types: EventTypes | None = None, *, create: bool = True) -> "EventLog":
        """Open the log at a URL of SQLAlchemy, as ``sqlite:///events.db``.

        Args:
            url: Names the database; a password in it is shown nowhere.
            types: What each type of event means; the usual ones when None.
            create: Make the log if there is none.

        Raises:
            InputError: When the URL cannot be used.
            EventsError: When the database cannot be reached, or holds no log.
        """
        database = Database(url)
        try:
            database.create() if create else database.check()
        except BaseException:
            database.close()
            raise
        return cls(database, types or USUAL_TYPES)

    def __repr__(self) -> str:
        return f"<EventLog {self.database.shown}>"

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write what waits, and close the database."""
        self._writer.close()
        self.database.close()

    @property
    def waiting(self) -> int:
        """How many calls wait to be written."""
        return self._writer.waiting

    @property
    def problem(self) -> str | None:
        """Why the last write failed, if it was the database that refused it; None once one succeeds."""
        return self._writer.problem

    def append(
        self,
        events: Sequence[Event | Mapping[str, Any]],
        types: EventTypes | None = None,
        *,
        within: float | None = None,
    ) -> Appended:
        """Write events, whole or not at all, and return once they are on disk.

        Events whose event_id is in the log already count once. Unknown users are created.

        Args:
            events: The events.
            types: The types that they may be of; those of the log when None.
            within: Seconds in which writing must have begun; any time when None.

        Raises:
            InteractionsError: For an event that cannot be used, with its position; nothing was written.
            EventsBusyError: When too much waits, or writing did not begin in time; nothing was written, nor will be.
            EventsError: When the database refuses them; nothing was written.
        """
        rows = rows_of(events, (types or self.types).types)
        return self._writer.append(rows, within) if rows else Appended(0)

    def interactions_of(
        self, user_ids: Sequence[str], types: EventTypes | None = None, *, most: int | None = None
    ) -> Interactions:
        """Read the events of users that are no impressions, with weights; users are named as they are asked for.

        The database is asked each time. Of a user the latest 10,000 events count. The age of events counts to the end
        of the whole log.

        Args:
            user_ids: The users; those of whom nothing is known have no rows.
            types: What each type of event means; those of the log when None.
            most: How many events are read of all users together; any number when None.

        Raises:
            InputError: When the users have more events than ``most``.
        """
        names = check_names(user_ids, "user_ids")
        most = None if most is None else check_whole(most, "most", 1)
        return reading.read_interactions(self.database, names, "user", types or self.types, most)

    def interactions_of_sessions(self, session_ids: Sequence[str], types: EventTypes | None = None) -> Interactions:
        """Read the events of sessions, whoever they are of; ``user_id`` is the session. See `interactions_of`."""
        names = check_names(session_ids, "session_ids")
        return reading.read_interactions(self.database, names, "session", types or self.types)

    def interactions(
        self, options: ReadOptions | None = None, *, days: float | None = None, up_to: int | None = None
    ) -> Interactions:
        """Read the whole log as it stands, without impressions, for `fit`.

        Args:
            options: How it is read; by the types of the log when None.
            days: Read only events of so many days before the end.
            up_to: The last ``sequence`` that is read, as `last_sequence` gave it; that of now when None.

        Raises:
            InteractionsError: When there are no events.
        """
        options = options or ReadOptions(self.database.shown, events=self.types)
        return reading.all_interactions(self.database, options, days, up_to)

    def impressions(self, *, up_to: int | None = None) -> Impressions | None:
        """Read everything that was shown, up to a ``sequence``; None where nothing was."""
        return reading.all_impressions(self.database, up_to)

    def last_sequence(self) -> int:
        """Give the number of the last event of any kind; 0 when there is none."""
        with self.database.reading() as connection:
            return reading.last_sequence(connection)

    def impressions_of(self, names: Sequence[str], by: reading.By = "user") -> Impressions:
        """Read what was shown to users, or in sessions: of each the latest 10,000 impressions."""
        return reading.read_impressions(self.database, check_names(names, "names"), by)

    def events_of(self, user_id: str, limit: int = 100, before: int | None = None) -> list[dict[str, Any]]:
        """Give the last events of a user as they were written, the latest first, impressions with them.

        Args:
            user_id: The user.
            limit: How many.
            before: Give those before this ``sequence``; from the end when None.
        """
        limit = check_whole(limit, "limit", 1)
        names = [column.name for column in EVENTS.columns if column.name != "is_shown"]
        with self.database.reading() as connection:
            known = users.people(connection, check_names([user_id], "user_id"))[user_id]
            query = sa.select(*(EVENTS.c[name] for name in names)).where(EVENTS.c.user_id.in_(known))
            if before is not None:
                query = query.where(EVENTS.c.sequence < check_whole(before, "before", 0))
            found = connection.execute(query.order_by(EVENTS.c.sequence.desc()).limit(limit)).all()
        return [dict(zip(names, row, strict=True)) for row in found]

    def main_names(self, user_ids: Sequence[str]) -> list[str]:
        """Give for each user the name to whom all of the person's events belong."""
        names = check_names(user_ids, "user_ids")
        with self.database.reading() as connection:
            known = users.people(connection, names)
        return [known[name][0] for name in names]

    def last_event_time(self) -> int | None:
        """Give the second of the last event that is no impression; None when there is none."""
        with self.database.reading() as connection:
            return reading.last_time(connection) or None

    def merge(self, anonymous: str, known: str, *, within: float | None = None) -> users.Merged:
        """Let all events of one user, earlier and later ones, belong to another.

        ``within`` is as in `append`.

        Raises:
            InteractionsError: When the first belongs to somebody else already, or the second to the first.
        """
        first, second = self._names(anonymous, known)
        return self._writer.run(lambda connection: users.merge(connection, first, second), within)

    def forget(self, user_id: str, *, within: float | None = None) -> users.Forgotten:
        """Remove a user: all events, names and sessions; a dump that is restored later does not bring them back.

        A salted hash of each name is kept for that, with the time. Later events of the user are of somebody new.

        ``within`` is as in `append`; space is given back in what is left of it, or the next time.
        """
        (name,) = self._names(user_id)
        asked, start = now(), time.monotonic()
        done = self._writer.run(lambda connection: users.forget(connection, name, asked), within)
        if within is None:
            self.database.shrink()
        else:
            with contextlib.suppress(EventsError):  # the user is forgotten already
                self.database.shrink(within - (time.monotonic() - start))
        return done

    def retain(self, *, days: float | None = None, events: int | None = None) -> retention.Retained:
        """Remove events that are older than so many days, or more than so many; the latest stay.

        Users of whom nothing is left are removed. Those who have several names stay, as who is who has to be known of
        later events; with ``days`` they go once they were merged before that, too. An event_id that was removed may
        come again.
        """
        done = retention.retain(self._writer.run, days, events)
        self.database.shrink()
        return done

    def dump(self, folder: Path | str) -> int:
        """Write all of the log, of one moment, into a new folder of Parquet files; gives the number of events.

        The folder appears whole or not at all.
        """
        return transfer.dump(self.database, folder)

    def restore(self, folder: Path | str) -> transfer.Restored:
        """Add what a dump holds, in one transaction; events that are there already count once.

        Users who were forgotten after an event was received are left out with it, by this log or by that of the dump.
        Names that either of them merged are one person, by one main name: that of this log, unless it belongs to
        somebody by the dump.

        Raises:
            InputError: When the folder is no dump.
            DamagedFileError: When a file is not as it was written; nothing was restored.
        """
        return transfer.restore(self._writer, folder)

    def import_log(
        self,
        source: Any,  # noqa: ANN401 - a kind of table
        *,
        options: ReadOptions | None = None,
        kind: str | None = None,
    ) -> transfer.Imported:
        """Add a log of elsewhere; the same rows again count once.

        Args:
            source: What `Interactions.open` reads; of impressions what `Impressions.open` reads.
            options: How it is read.
            kind: The type of all of its events; of their column when None. ``"impression"`` for impressions.

        Raises:
            InteractionsError: When it cannot be read, or a type has no weight.
        """
        if options is None:
            options = ReadOptions("the log", default_events=self.types)
        return transfer.import_log(self._writer, source, options, kind)

    def export(self, path: Path | str, *, impressions: bool = False) -> int:
        """Write the log, or the impressions, as a table that `Interactions.open` reads; gives the number of rows."""
        return transfer.export(self.database, Path(path), impressions=impressions)

    def exported(self, form: Form, *, impressions: bool = False) -> Iterator[bytes]:
        """Give what `export` writes as parts of a file of a form: ``"parquet"``, ``"csv"`` or ``"jsonl"``.

        Raises:
            InputError: When there is nothing to export; with the first part.
        """
        return transfer.exported(self.database, form, impressions=impressions)

    def info(self) -> LogInfo:
        """Say what the log holds."""
        counted = sa.select(EVENTS.c.type, sa.func.count()).group_by(EVENTS.c.type).order_by(EVENTS.c.type)
        ends = sa.select(sa.func.min(EVENTS.c.time), sa.func.max(EVENTS.c.time))
        with self.database.reading(whole=True) as connection:
            types = {str(kind): int(count) for kind, count in connection.execute(counted)}
            persons = USERS.outerjoin(ALIASES, ALIASES.c.alias == USERS.c.user_id)
            count = sa.select(sa.func.count())
            known = connection.execute(count.select_from(persons).where(ALIASES.c.alias.is_(None))).scalar_one()
            aliases, forgotten = (
                int(connection.execute(count.select_from(table)).scalar_one()) for table in (ALIASES, FORGOTTEN)
            )
            first, last = connection.execute(ends).one()
        path = self.database.path
        size = None if path is None else path.stat().st_size
        return LogInfo(self.database.shown, types, int(known), aliases, forgotten, first, last, size)

    def _names(self, *names: str) -> list[str]:
        """Check names of users."""
        for name in check_names(list(names), "user ids"):
            if not name.strip():
                raise InteractionsError(f"a user is named {name!r}; give a name")
        return list(names)
