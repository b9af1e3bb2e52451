"""The one writer of a log: what waits is written in one transaction, and acknowledged after its commit."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from indexing.errors import EventsBusyError, EventsError
from retrieval.serving.events.database import Database, lock_appending, now
from retrieval.serving.events.forgotten import dropped_rows
from retrieval.serving.events.tables import EVENTS, USERS, add_new

Result = TypeVar("Result")
_GROUP = 10_000  # events in one transaction
_WAITING = 1024  # calls


@dataclass(frozen=True)
class Appended:
    """What became of a batch of events.

    Attributes:
        accepted: How many are on disk now.
        duplicates: How many were there already, by event_id.
        forgotten: How many were left out, as their user was forgotten after they happened.
    """

    accepted: int
    duplicates: int = 0
    forgotten: int = 0


@dataclass
class _Job(Generic[Result]):
    """Events to write, or something else to do in a transaction of its own."""

    events: list[dict[str, Any]] | None
    call: Callable[[sa.Connection], Result] | None = None
    done: "Future[Result]" = field(default_factory=Future)

    def begin(self) -> bool:
        """Say whether it is still wanted; if so, it cannot be withdrawn from now on."""
        if self.done.cancelled():
            return False
        return self.done.running() or self.done.set_running_or_notify_cancel()


class Writer:
    """Writes to a log in one thread.

    Batches that wait are committed together, so that a flush to disk serves many. A batch is whole or absent. A call
    that says in which time it must begin is withdrawn when it has not, and is not done later.

    Args:
        database: Of the log.

    Attributes:
        problem: Why the last write failed, if it was the database that refused it; None once one succeeds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.Queue[_Job[Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False
        self.problem: str | None = None
        self._thread = threading.Thread(target=self._work, name="commonspace-events", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._jobs.qsize()

    def append(self, events: list[dict[str, Any]], within: float | None = None) -> Appended:
        """Write a batch, and return once it is on disk. Rows that do not say when they were received are so now.

        Args:
            events: The rows.
            within: Seconds in which its transaction must have begun; any time when None.

        Raises:
            EventsBusyError: When too much waits, or it did not begin in time; nothing was written, nor will be.
            EventsError: When the database refuses it; nothing was written.
        """
        received = now()
        for row in events:
            row.setdefault("received", received)
        return self._wait(_Job[Appended](events), within)

    def run(self, call: Callable[[sa.Connection], Result], within: float | None = None) -> Result:
        """Run something else in a transaction of its own, in its turn; see `append`."""
        return self._wait(_Job[Result](None, call), within)

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _wait(self, job: "_Job[Result]", within: float | None) -> Result:
        with self._lock:
            if self._closed:
                raise EventsError(f"{self._database.shown} was closed; open the log again")
            if self._jobs.qsize() >= _WAITING:
                raise EventsBusyError(f"{_WAITING} calls wait for {self._database.shown} already; try again later")
            self._jobs.put(job)
        if within is not None:
            wait([job.done], max(within, 0.0))
            if job.done.cancel():
                late = EventsBusyError(
                    f"{self._database.shown} did not begin to write in time: its database is slow, or locked by "
                    "another process, and nothing was written; send it again"
                )
                self.problem = str(late)
                raise late
        return job.done.result()

    def _work(self) -> None:
        job = self._jobs.get()
        while job is not None:
            group, job = self._group(job)
            self._commit(group)
            job = job or self._jobs.get()

    def _group(self, job: _Job[Any]) -> tuple[list[_Job[Any]], _Job[Any] | None]:
        """Give what can be committed together with a job, and a job after it that cannot be."""
        group, size = [job], len(job.events or ())
        while job.events is not None and size < _GROUP and not self._jobs.empty():
            other = self._jobs.get()
            if other is None:
                self._jobs.put(None)  # nothing comes after it
                break
            if other.events is None:
                return group, other
            group.append(other)
            size += len(other.events)
        return group, None

    def _commit(self, group: Sequence[_Job[Any]]) -> None:
        """Do what is in a group in one transaction; each alone where that fails, as one may be at fault.

        A database that is busy or away is no fault of one: all are told at once, rather than wait one after another.
        """
        wanted = [job for job in group if not job.done.cancelled()]
        if not wanted:
            return
        begun: list[_Job[Any]] = []
        try:
            results = self._database.transact(lambda connection: _do(connection, wanted, begun))
        except Exception as error:
            if len(wanted) > 1 and not _concerns_all(error):
                for job in wanted:
                    self._commit([job])
                return
            self._failed(wanted, error)
        else:
            self.problem = None if begun else self.problem
            for job, result in zip(begun, results, strict=True):
                job.done.set_result(result)

    def _failed(self, wanted: Sequence[_Job[Any]], error: Exception) -> None:
        """Tell an error to all who still wait for what it befell."""
        if _is_of_database(error):
            self.problem = str(error)
        for job in wanted:
            if job.begin():
                job.done.set_exception(error)


def _do(connection: sa.Connection, wanted: Sequence[_Job[Any]], begun: list[_Job[Any]]) -> list[Any]:
    """Do what is still wanted in a transaction, which may have had to wait until it could begin.

    Args:
        connection: In the transaction.
        wanted: Batches, or something else alone.
        begun: Is given those of them that are done, in the order of the results.
    """
    begun[:] = [job for job in wanted if job.begin()]
    if begun and (call := begun[0].call) is not None:
        return [call(connection)]
    return list(add_events(connection, [job.events or [] for job in begun])) if begun else []


def _concerns_all(error: Exception) -> bool:
    """Say whether an error is that of the database rather than of what is written."""
    away = sa.exc.OperationalError, sa.exc.InterfaceError
    return isinstance(error, EventsBusyError) or isinstance(error.__context__, away)


def _is_of_database(error: Exception) -> bool:
    """Say whether an error is one of the database, whatever is written: locked, full, damaged, away."""
    of_rows = sa.exc.IntegrityError, sa.exc.DataError
    cause = error.__context__
    is_of_rows = not isinstance(cause, sa.exc.SQLAlchemyError) or isinstance(cause, of_rows)
    return isinstance(error, EventsBusyError) or not is_of_rows


def add_events(connection: sa.Connection, batches: Sequence[list[dict[str, Any]]]) -> list[Appended]:
    """Add batches of events, and the users whom nobody knew yet.

    Rows may say when they were received; now when they do not.
    """
    lock_appending(connection)
    received = now()
    rows = [row for batch in batches for row in batch]
    for row in rows:
        row.setdefault("received", received)
    dropped = dropped_rows(connection, rows)
    left = [[row for row in batch if id(row) not in dropped] for batch in batches] if dropped else batches
    users = dict.fromkeys(row["user_id"] for batch in left for row in batch)
    add_new(connection, USERS, [{"user_id": user, "created": received} for user in users])
    done = []
    for batch, kept in zip(batches, left, strict=True):
        added = add_new(connection, EVENTS, kept)
        done.append(Appended(added, len(kept) - added, len(batch) - len(kept)))
    return done
