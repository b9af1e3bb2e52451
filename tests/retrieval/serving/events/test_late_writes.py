"""What is refused because the database was locked or slow is not done later, and what has begun is told truthfully."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from indexing.errors import EventsBusyError, EventsError
from retrieval.serving.config import Limits
from retrieval.serving.engine import admission as admission_module
from retrieval.serving.engine.admission import Admission
from retrieval.serving.engine.metering import NoMeter
from retrieval.serving.engine.request import CURRENT, RequestContext
from retrieval.serving.events import Appended, Event, EventLog, users, writer
from retrieval.serving.events.database import now
from tests.retrieval.serving.conftest import WRITE, Started
from tests.retrieval.serving.observability.scraping import scraped

TOKEN = {"authorization": f"Bearer {WRITE}"}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file of SQLite, as another process that writes does."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("COMMIT")


def until(done: Any) -> None:  # noqa: ANN401 - anything to call
    end = time.monotonic() + 30
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)


def event(user: str, event_id: str) -> dict[str, str]:
    return {"user_id": user, "item_id": "red-mug", "type": "view", "event_id": event_id}


def ids_of(client: TestClient, user: str) -> list[str]:
    found = client.get(f"/users/{user}/events", headers=TOKEN).json()["events"]
    return [one["event_id"] for one in found]


def test_what_was_refused_while_the_database_was_locked_is_not_done_later(
    started: Started, shop: Path, tmp_path: Path
) -> None:
    path = tmp_path / "events.db"
    limits = Limits(deadline=0.3)
    client = started(shop, events=f"sqlite:///{path}", write_token=WRITE, limits=limits, poll_seconds=0.02)
    for user in ("ann", "anon", "bob"):
        assert client.post("/events", json=event(user, user), headers=TOKEN).status_code == 200
    with locked(path):
        for answer in (
            client.delete("/users/ann", headers=TOKEN),
            client.post("/users/merge", json={"anonymous": "anon", "known": "bob"}, headers=TOKEN),
            client.post("/events", json=event("cas", "refused"), headers=TOKEN),
        ):
            error = answer.json()["error"]
            assert (answer.status_code, error["type"], answer.headers["retry-after"]) == (503, "EventsBusyError", "1")
            assert error["message"].startswith("the log of live events did not begin to write in time: its database is")
            assert error["message"].endswith("nothing was written")
            assert error["hint"] == "send it again"
        until(lambda: scraped(client).value("commonspace_degraded", reason="events") == 1)
        ready = client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["problems"] == ["the last write of live events failed; /status says why"]
        (why,) = client.get("/status").json()["problems"]
        assert why.startswith("the last write of live events failed: the log of live events did not begin to write")
    until(lambda: client.post("/events", json=event("dan", "dan"), headers=TOKEN).status_code == 200)
    assert client.get("/ready").json()["status"] == "ready"
    until(lambda: scraped(client).total("commonspace_degraded") == 0)
    assert ids_of(client, "ann") == ["ann"]
    assert ids_of(client, "bob") == ["bob"]  # who is not anon
    assert ids_of(client, "cas") == []
    assert client.delete("/users/ann", headers=TOKEN).json()["events"] == 1
    assert ids_of(client, "ann") == []


def test_what_has_begun_at_its_deadline_is_awaited(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    add, begun, may_end = writer.add_events, threading.Event(), threading.Event()

    def slow(connection: sa.Connection, batches: list[list[dict[str, Any]]]) -> list[Appended]:
        begun.set()
        assert may_end.wait(60)
        return add(connection, batches)

    monkeypatch.setattr(writer, "add_events", slow)
    results: dict[str, object] = {}

    def work(name: str, within: float) -> None:
        try:
            results[name] = log.append([Event("mug", "view", user_id=name)], within=within)
        except EventsError as error:
            results[name] = error

    first = threading.Thread(target=work, args=("first", 0.2))
    first.start()
    assert begun.wait(60)
    work("second", 0.3)  # waits behind it, for longer than it may
    assert isinstance(results["second"], EventsBusyError)
    assert "first" not in results  # though its time is over, too
    may_end.set()
    first.join()
    assert results["first"] == Appended(1)
    log.append([Event("mug", "view", user_id="third")])
    assert [len(log.events_of(name)) for name in ("first", "second", "third")] == [1, 0, 1]


def test_a_change_whose_outcome_is_not_known_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    may_end = threading.Event()

    async def asked(late: float) -> str:
        monkeypatch.setattr(admission_module, "LATE", late)
        CURRENT.set(RequestContext.begin(0.02))
        ending = asyncio.get_running_loop().call_later(0.1, may_end.set) if late > 1 else None

        def work() -> str:
            assert may_end.wait(60)
            return "done"

        try:
            return await admission.run("events", work, unknown=EventsBusyError("may be done still"))
        finally:
            if ending is not None:
                ending.cancel()

    admission = Admission(Limits(), NoMeter())
    try:
        with pytest.raises(EventsBusyError, match="may be done still"):
            asyncio.run(asked(0.01))
        assert asyncio.run(asked(30.0)) == "done"
    finally:
        may_end.set()
        admission.close()


def test_forgetting_counts_from_when_it_was_asked_for(log: EventLog, tmp_path: Path) -> None:
    asked = now() - 5_000_000
    second = asked // 1_000_000
    log.append([Event("mug", "view", user_id=user, time=second - 9, event_id=user) for user in ("ann", "bob")])
    log.dump(tmp_path / "dump")
    with log.database.writing() as connection:
        users.forget(connection, "bob", asked)  # what is removed was received later
        users.forget(connection, "zoe", asked)
    assert log.append([Event("cup", "view", user_id="zoe", time=second + 1)]).accepted == 1
    assert log.append([Event("cup", "view", user_id="zoe", time=second - 1)]).forgotten == 1
    log.restore(tmp_path / "dump")
    assert [len(log.events_of(user)) for user in ("ann", "bob")] == [1, 0]
