"""What is appended is there, once, for each process; histories weigh as `fit` reads them; who is who."""

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import EventsBusyError, EventsError, InputError, InteractionsError
from retrieval import Interactions
from retrieval.interactions.event_types import EventTypes
from retrieval.interactions.histories import all_histories
from retrieval.interactions.parse_values import Moment
from retrieval.serving.events import Appended, Event, EventLog, impressions
from retrieval.serving.events import database as database_module
from retrieval.serving.events.event import MAX_EVENTS
from tests.databases import PASSWORD

NOW = 1_700_000_000
DAY = 86_400


def view(user: str, item: str, time: Moment = NOW, **more: Any) -> Event:  # noqa: ANN401 - any field
    return Event(item, more.pop("type", "view"), user_id=user, time=time, **more)


def history(log: EventLog, user: str) -> list[tuple[str, int, float]]:
    table = log.interactions_of([user]).table
    weights = [round(weight, 4) for weight in table["weight"].to_pylist()]
    return list(zip(table["item_id"].to_pylist(), table["timestamp"].to_pylist(), weights, strict=True))


def test_a_history_is_in_time_order_with_the_weights_of_types_and_rows(log: EventLog) -> None:
    assert log.last_event_time() is None
    done = log.append(
        [
            view("ann", "cup", NOW + 5, type="buy"),
            view("ann", "mug", NOW),
            view("ann", "jar", NOW, weight=3.0),  # of the same second: as they were written
            view("bob", "mug", NOW + 9, type="hide"),
        ]
    )
    assert done == Appended(accepted=4)
    assert history(log, "ann") == [("mug", NOW, 0.1), ("jar", NOW, 0.3), ("cup", NOW + 5, 3.0)]
    assert history(log, "bob") == [("mug", NOW + 9, -2.0)]
    assert history(log, "nobody") == []
    both = log.interactions_of(["bob", "ann", "nobody"]).table
    assert both["user_id"].to_pylist() == ["ann", "ann", "ann", "bob"]  # in time order, as a log is
    assert log.last_event_time() == NOW + 9


def test_an_event_id_counts_once_also_within_a_batch_and_from_another_process(log: EventLog, database: str) -> None:
    first = view("ann", "mug", event_id="e1")
    assert log.append([first, first, view("ann", "cup", event_id="e2")]) == Appended(accepted=2, duplicates=1)
    with EventLog.open(database) as other:
        assert other.append([view("ann", "jar", event_id="e2"), view("ann", "jar", event_id="e3")]) == Appended(1, 1)
    assert [item for item, _, _ in history(log, "ann")] == ["mug", "cup", "jar"]
    assert log.append([]) == Appended(0)


def test_what_one_log_acknowledges_the_other_reads_at_once(log: EventLog, database: str) -> None:
    with EventLog.open(database) as other:
        for number in range(20):
            log.append([view("ann", f"item-{number}", NOW + number)])
            assert len(other.interactions_of(["ann"])) == number + 1


def test_a_history_is_what_reading_the_log_as_a_file_gives(log: EventLog) -> None:
    types = EventTypes.open({"view": {"weight": 0.1, "half_life_days": 10}, "buy": 3, "hide": -2, "gone": {"weight": 1, "expires_after_days": 20}})  # fmt: skip  # noqa: E501
    rng = np.random.default_rng(3)
    kinds = ["view", "buy", "hide", "gone"]
    events = [
        {
            "user_id": f"u{rng.integers(6)}", "item_id": f"i{rng.integers(8)}", "type": kinds[rng.integers(4)],
            "time": NOW + int(rng.integers(60 * DAY)), "weight": float(rng.integers(1, 4)),
        }
        for _ in range(300)
    ]  # fmt: skip
    with_types = EventLog(log.database, types)
    with_types.append(events)
    whole = with_types.interactions()
    by_file = Interactions.from_arrow(_as_table(events), events=types)
    assert whole.table.equals(by_file.table)
    for users in (["u3"], ["u0", "u5"]):  # what ages does so by the end of the whole log, however few are asked for
        live = with_types.interactions_of(users).table
        expected = [row for row in whole.table.to_pylist() if row["user_id"] in users]
        assert sorted(live.to_pylist(), key=_order) == sorted(expected, key=_order)
    with_types._writer.close()


def _order(row: dict[str, Any]) -> tuple[int, str, str]:
    return row["timestamp"], row["user_id"], row["item_id"]


def _as_table(events: list[dict[str, Any]]) -> pa.Table:
    names = {"user_id": "user_id", "item_id": "item_id", "type": "event", "time": "timestamp", "weight": "weight"}
    return pa.table({new: [event[old] for event in events] for old, new in names.items()})


def test_what_happens_within_a_second_keeps_its_order(log: EventLog) -> None:
    names = [f"item-{number}" for number in range(12)]
    for name in names:
        log.append([view("ann", name)])
    found = log.interactions_of(["ann"])
    items = ItemIds(sorted(names))
    history = all_histories(found, items).of_user(0)
    assert [items[row] for row in history.rows.tolist()] == names


def test_a_session_has_its_events_whoever_they_are_of_and_survives_a_restart(log: EventLog, database: str) -> None:
    log.append([Event("mug", "view", session_id="s1", time=NOW), view("ann", "cup", NOW + 1, session_id="s1")])
    log.append([view("ann", "jar", NOW + 2)])
    log.close()
    with EventLog.open(database, create=False) as again:
        table = again.interactions_of_sessions(["s1"]).table
        assert table.select(["user_id", "item_id"]).to_pylist() == [
            {"user_id": "s1", "item_id": "mug"},
            {"user_id": "s1", "item_id": "cup"},
        ]
        assert [item for item, _, _ in history(again, "session:s1")] == ["mug"]
        assert again.info().users == 2


def test_impressions_are_no_interactions_and_are_read_as_impressions(log: EventLog) -> None:
    shown = impressions(["mug", "cup"], "r1", user_id="ann", time=NOW, variant="b")
    assert log.append([*shown, view("ann", "cup", NOW + 3, request_id="r1", variant="b")]) == Appended(3)
    assert log.append(shown) == Appended(0, duplicates=2)
    assert history(log, "ann") == [("cup", NOW + 3, 0.1)]
    read = log.impressions()
    assert read is not None
    assert read.table.to_pylist() == [
        {"user_id": "ann", "item_id": item, "position": place, "timestamp": NOW, "request_id": "r1"}
        for place, item in ((1, "mug"), (2, "cup"))
    ]
    assert log.last_event_time() == NOW + 3
    last, *_ = log.events_of("ann", limit=1)
    assert (last["item_id"], last["request_id"], last["variant"], last["type"]) == ("cup", "r1", "b", "view")
    assert [event["position"] for event in log.events_of("ann", before=last["sequence"])] == [2, 1]


def test_each_item_of_an_answer_counts_once_also_where_its_pages_are_sent_one_by_one(log: EventLog) -> None:
    pages = ["deer", "fox"], ["owl"], ["fox"]
    done = [log.append(impressions(page, "r1", user_id="ann")) for page in pages]
    assert [(one.accepted, one.duplicates) for one in done] == [(2, 0), (1, 0), (0, 1)]
    with pytest.raises(InteractionsError, match="item_ids names 'deer' twice"):
        impressions(["deer", "owl", "deer"], "r2", user_id="ann")


def test_an_answer_to_several_users_was_shown_to_each_of_them(log: EventLog) -> None:
    shown = [
        *impressions(["mug", "cup"], "r1", user_id="ann", time=NOW),
        *impressions(["jar", "cup"], "r1", user_id="bob" * 80, time=NOW),  # a long name
        *impressions(["pot"], "r1", session_id="s1", time=NOW),
        *impressions(["pan"], "r" * 256, session_id="s2", time=NOW),
    ]
    assert log.append(shown) == Appended(6)
    assert log.append(shown) == Appended(0, duplicates=6)
    assert log.impressions_of(["bob" * 80]).table["item_id"].to_pylist() == ["jar", "cup"]
    assert log.impressions_of(["s1"], "session").table["item_id"].to_pylist() == ["pot"]


def test_merge_moves_what_was_and_what_will_be(log: EventLog) -> None:
    log.append([view("anon", "mug", NOW), view("ann", "cup", NOW + 1), view("other", "jar", NOW)])
    merged = log.merge("anon", "ann")
    assert (merged.user_id, merged.events) == ("ann", 1)
    log.append([view("anon", "pot", NOW + 2)])
    for name in ("ann", "anon"):
        assert [item for item, _, _ in history(log, name)] == ["mug", "cup", "pot"]
    log.merge("ann", "ann-of-sales")  # names of names
    assert [item for item, _, _ in history(log, "anon")] == ["mug", "cup", "pot"]
    assert set(log.interactions().table["user_id"].to_pylist()) == {"ann-of-sales", "other"}
    assert log.merge("anon", "ann-of-sales").events == 0  # said before
    info = log.info()
    assert (info.users, info.aliases) == (2, 2)


def test_merge_refuses_circles_and_second_owners(log: EventLog) -> None:
    log.append([view("anon", "mug"), view("ann", "cup"), view("bob", "cup")])
    log.merge("anon", "ann")
    with pytest.raises(InteractionsError, match="'anon' belongs to 'ann' already; name two users"):
        log.merge("ann", "anon")
    with pytest.raises(InteractionsError, match="'ann' belongs to 'ann' already"):
        log.merge("ann", "ann")
    with pytest.raises(InteractionsError, match="'anon' belongs to 'ann' already; merge that user"):
        log.merge("anon", "bob")
    with pytest.raises(InteractionsError, match="a user is named ' '"):
        log.merge(" ", "bob")
    assert [item for item, _, _ in history(log, "bob")] == ["cup"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "viw"}, r"event 1 \(from 0\): type is 'viw', which has no weight; give one of 'impression', 'view'"),
        ({"user_id": "nan"}, "user_id is 'nan', a word for nobody"),
        ({"user_id": ""}, "neither a user_id nor a session_id"),
        ({"user_id": " "}, "user_id is ' ', which is no text"),
        ({"user_id": "a\0b"}, "with a character that cannot be printed"),
        ({"user_id": "a\ud800"}, "with a character that cannot be printed"),
        ({"item_id": 7}, "item_id is 7 of type int, which is no text"),
        ({"item_id": "x" * 257}, "of 257 characters; give a text of 1 to 256 characters"),
        ({"time": True}, "time has True, which cannot be read as a time; give a date or a time like"),
        ({"time": -1}, "time has -1, which cannot be read as a time"),
        ({"time": "yesterday"}, "time has 'yesterday', which cannot be read as a time"),
        ({"time": 10**10}, "time is 10000000000, which is in the future; give that of the event"),
        ({"time": "2100-01-01"}, "which is in the future"),
        ({"weight": 0}, "weight is 0; give a number above 0"),
        ({"weight": float("nan")}, "weight is nan; give a number"),
        ({"weight": True}, "weight is True"),
        ({"position": 0}, "position is 0; give a whole number from 1 to 1000000"),
        ({"type": "impression"}, "an impression has no position"),
        ({"rank": 3}, "it has the unknown field 'rank'; the fields are event_id, item_id"),
    ],
)
def test_a_bad_event_is_named_and_nothing_of_its_batch_is_written(
    log: EventLog, change: dict[str, Any], message: str
) -> None:
    good = {"user_id": "ann", "item_id": "mug", "type": "view", "time": NOW}
    with pytest.raises(InteractionsError, match=message) as caught:
        log.append([good, good | change])
    assert "event 1 (from 0): " in str(caught.value)
    assert "none of these events was written" in str(caught.value)
    assert history(log, "ann") == []


@pytest.mark.parametrize(
    "time",
    [1_717_243_200, 1_717_243_200_500, "2024-06-01T12:00:00Z", "2024-06-01 14:00+02:00", datetime(2024, 6, 1, 12),
     20_240_601_120_000, 1_717_243_200.5],
)  # fmt: skip
def test_times_are_read_as_those_of_requests(log: EventLog, time: Any) -> None:  # noqa: ANN401
    log.append([view("ann", "mug", time=time)])
    assert [row["time"] for row in log.events_of("ann")] == [1_717_243_200]


def test_other_arguments_are_refused(log: EventLog) -> None:
    with pytest.raises(InteractionsError, match=r"events are {'a': 1} of type dict; give a list"):
        log.append({"a": 1})  # type: ignore[arg-type]
    with pytest.raises(InteractionsError, match=r"event 0.*it is 'x' of type str; give an Event"):
        log.append(["x"])  # type: ignore[list-item]
    with pytest.raises(InteractionsError, match="it has no type; give one"):
        log.append([{"item_id": "mug"}])
    with pytest.raises(InteractionsError, match=f"10001 events at once; give at most {MAX_EVENTS}"):
        log.append([view("ann", "mug")] * 10_001)
    with pytest.raises(InteractionsError, match="has no events yet"):
        log.interactions()
    assert log.impressions() is None
    log.close()
    with pytest.raises(EventsError, match="was closed; open the log again"):
        log.append([view("ann", "mug")])


def test_many_threads_are_committed_together_and_each_batch_is_whole(log: EventLog) -> None:
    done: list[Appended] = []

    def work(thread: int) -> None:
        for batch in range(10):
            names = [f"{thread}-{batch}-{number}" for number in range(7)]
            done.append(log.append([view(f"u{thread}", name, event_id=name) for name in names]))

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [Appended(7)] * 80
    assert log.info().types == {"view": 560}
    assert log.info().users == 8
    received = [event["received"] for event in log.events_of("u3")]
    assert received == sorted(received, reverse=True)


def appended_together(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, fail: Callable[[list[str]], Exception | None]
) -> tuple[dict[str, object], list[list[str]]]:
    """Append four batches, the last three at once; give what each call got, and the items of each transaction."""
    from retrieval.serving.events import writer

    add, begun, held = writer.add_events, threading.Event(), threading.Event()
    tried: list[list[str]] = []

    def failing(connection: sa.Connection, batches: list[list[dict[str, Any]]]) -> list[Appended]:
        begun.set()
        held.wait(60)
        tried.append([row["item_id"] for batch in batches for row in batch])
        if error := fail(tried[-1]):
            raise error
        return add(connection, batches)

    monkeypatch.setattr(writer, "add_events", failing)
    results: dict[str, object] = {}

    def work(item: str) -> None:
        try:
            results[item] = log.append([view("ann", item)])
        except EventsError as error:
            results[item] = str(error)

    threads = [threading.Thread(target=work, args=(item,)) for item in ("first", "good", "bad", "fine")]
    threads[0].start()
    assert begun.wait(60)  # so that the others wait together
    for thread in threads[1:]:
        thread.start()
    while log.waiting < 3:
        time.sleep(0.001)
    held.set()
    for thread in threads:
        thread.join()
    return results, tried


def test_one_bad_batch_of_a_group_fails_alone(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the database refuses must not take the batches of others with it."""
    results, _ = appended_together(log, monkeypatch, lambda items: EventsError("refused") if "bad" in items else None)
    assert results == {"first": Appended(1), "good": Appended(1), "bad": "refused", "fine": Appended(1)}


@pytest.mark.parametrize("error", [EventsBusyError("is busy"), sa.exc.OperationalError("INSERT", {}, OSError("gone"))])
def test_a_database_that_is_busy_or_away_is_told_to_all_of_a_group_at_once(
    log: EventLog, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Each alone would wait as long again, one after another."""
    results, tried = appended_together(log, monkeypatch, lambda items: error if "bad" in items else None)
    assert results.pop("first") == Appended(1)
    assert [sorted(items) for items in tried] == [["first"], ["bad", "fine", "good"]]
    assert set(results) == {"good", "bad", "fine"}
    assert all("busy" in str(result) or "gone" in str(result) for result in results.values())


def test_a_log_of_elsewhere_is_refused_and_passwords_are_in_no_message(database: str) -> None:
    with pytest.raises(EventsError, match=r"no such file|holds no log of events; one is made by") as caught:
        EventLog.open(database, create=False)
    assert PASSWORD not in str(caught.value)
    with EventLog.open(database) as made:
        assert PASSWORD not in repr(made) + repr(made.database) + str(made.info())
        with made.database.writing() as connection:
            connection.exec_driver_sql("UPDATE commonspace_meta SET value = '99' WHERE name = 'version'")
    with pytest.raises(EventsError, match="is a log of version 99, this is version 1: upgrade commonspace"):
        EventLog.open(database)


@pytest.mark.parametrize("create", [True, False])
def test_a_file_is_read_while_another_process_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, create: bool
) -> None:
    monkeypatch.setattr(database_module, "_BUSY_SECONDS", 0)  # who waits at all fails at once
    path = tmp_path / "shop.db"
    with EventLog.open(f"sqlite:///{path}") as log:
        log.append([view("ann", "mug")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        assert other.execute("PRAGMA auto_vacuum").fetchone() == (2,)  # incremental
        other.execute("BEGIN IMMEDIATE")
        with EventLog.open(f"sqlite:///{path}", create=create) as log:
            assert history(log, "ann") == [("mug", NOW, 0.1)]


@pytest.mark.parametrize(
    "bad", ["shop.db", "sqlite://", "sqlite:///:memory:", "postgresql://ann:hidden#word@host/x", "://", "", 3]
)
def test_urls_that_name_no_database_are_refused(bad: str) -> None:
    with pytest.raises(InputError, match="URL of a log of events") as caught:
        EventLog.open(bad)
    assert "hidden" not in str(caught.value)


def test_a_server_that_is_not_there_is_an_error_without_its_password() -> None:
    with pytest.raises(EventsError, match=r"postgresql://127.0.0.1:1/shop: ") as caught:
        EventLog.open("postgresql://ann:hidden-word@127.0.0.1:1/shop?application_name=hidden-word")
    assert "hidden" not in str(caught.value)
    assert "ann" not in str(caught.value)
