"""The one writer of a log: what waits is written in one transaction, and acknowledged after its commit."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
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


class Writer:
    """Writes to a log in one thread.

    Batches that wait are committed together, so that a flush to disk serves many. A batch is whole or absent.

    Args:
        database: Of the log.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._jobs: queue.Queue[_Job[Any] | None] = queue.Queue()
        self._lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="commonspace-events", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return self._jobs.qsize()

    def append(self, events: list[dict[str, Any]]) -> Appended:
        """Write a batch, and return once it is on disk.

        Raises:
            EventsBusyError: When too much waits; nothing was written.
            EventsError: When the database refuses it; nothing was written.
        """
        return self._wait(_Job[Appended](events))

    def run(self, call: Callable[[sa.Connection], Result]) -> Result:
        """Run something else in a transaction of its own, in its turn."""
        return self._wait(_Job[Result](None, call))

    def close(self) -> None:
        """Write what waits, and end."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _wait(self, job: "_Job[Result]") -> Result:
        with self._lock:
            if self._closed:
                raise EventsError(f"{self._database.shown} was closed; open the log again")
            if self._jobs.qsize() >= _WAITING:
                raise EventsBusyError(f"{_WAITING} calls wait for {self._database.shown} already; try again later")
            self._jobs.put(job)
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
        try:
            if (call := group[0].call) is not None:
                results = [self._database.transact(call)]
            else:
                batches = [job.events or [] for job in group]
                results = self._database.transact(lambda connection: add_events(connection, batches))
        except Exception as error:
            if len(group) == 1 or _concerns_all(error):
                for job in group:
                    job.done.set_exception(error)
                return
            for job in group:
                self._commit([job])
        else:
            for job, result in zip(group, results, strict=True):
                job.done.set_result(result)


def _concerns_all(error: Exception) -> bool:
    """Say whether an error is that of the database rather than of what is written."""
    away = sa.exc.OperationalError, sa.exc.InterfaceError
    return isinstance(error, EventsBusyError) or isinstance(error.__context__, away)


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
