"""What is forgotten stays so, what is kept has a limit, and copies of a log are whole."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from indexing.errors import DamagedFileError, InputError, InteractionsError
from retrieval import Impressions, Interactions
from retrieval.interactions.log_schema import ReadOptions
from retrieval.serving.events import Appended, Event, EventLog, impressions
from retrieval.serving.events.database import lock_forgetting
from retrieval.serving.events.event import rows_of
from retrieval.serving.events.writer import add_events
from tests.databases import fresh_database

DAY = 86_400
NOW = int(time.time())
OLD = NOW - 10 * DAY


def view(user: str, item: str, at: int = OLD, **more: Any) -> Event:  # noqa: ANN401 - any field
    return Event(item, "view", user_id=user, time=at, **more)


def items(log: EventLog, user: str) -> list[str]:
    return list(log.interactions_of([user]).table["item_id"].to_pylist())


def filled(log: EventLog) -> EventLog:
    """Two people: ann with a name from before, a session and something shown to her; and bob."""
    log.append([Event("mug", "view", session_id="s1", time=OLD), view("ann", "cup", OLD + 1, session_id="s1")])
    log.append([view("ann-phone", "jar", OLD + 2), view("bob", "pot", OLD + 3, session_id="s2", event_id="b1")])
    log.append(impressions(["mug", "cup"], "r1", user_id="ann", time=OLD + 4))
    log.merge("ann-phone", "ann")
    return log


def test_forgetting_takes_events_names_and_sessions_and_nobody_else(log: EventLog) -> None:
    done = filled(log).forget("ann-phone")  # whichever of the names
    assert (done.events, done.aliases) == (5, 1)
    for name in ("ann", "ann-phone", "session:s1"):
        assert items(log, name) == []
        assert log.events_of(name) == []
    assert log.interactions_of_sessions(["s1"]).table.num_rows == 0
    assert log.interactions().table.to_pylist() == [
        {"user_id": "bob", "item_id": "pot", "timestamp": OLD + 3, "weight": pytest.approx(0.1)}
    ]
    assert log.impressions() is None
    info = log.info()
    assert (info.users, info.aliases, info.forgotten, info.types) == (1, 0, 3, {"view": 1})


def test_a_dump_does_not_bring_back_who_was_forgotten_since(log: EventLog, tmp_path: Path) -> None:
    assert filled(log).dump(tmp_path / "dump") == 6
    log.forget("ann")
    done = log.restore(tmp_path / "dump")
    assert (done.events, done.duplicates, done.forgotten) == (0, 1, 5)
    assert items(log, "ann") == []
    assert log.info().aliases == 0
    assert log.append([view("ann", "old-click")]).forgotten == 1  # sent late, from before
    assert log.append([Event("new", "view", user_id="ann"), view("ann-phone", "x")]).accepted == 1
    assert items(log, "ann") == ["new"]  # somebody new, who owns nothing of before
    log.dump(tmp_path / "after")
    assert log.restore(tmp_path / "after").duplicates == 2


def test_a_new_log_learns_from_a_later_dump_who_was_forgotten(log: EventLog, tmp_path: Path) -> None:
    filled(log).dump(tmp_path / "before")
    log.forget("ann")
    log.dump(tmp_path / "after")
    with EventLog.open(f"sqlite:///{tmp_path / 'new.db'}") as new:
        assert new.restore(tmp_path / "after").events == 1
        done = new.restore(tmp_path / "before")
        assert (done.events, done.duplicates, done.forgotten) == (0, 1, 5)
        assert new.info().users == 1
        files = b"".join(path.read_bytes() for path in tmp_path.glob("new.db*"))
    assert b"bob" in files
    assert b"ann" not in files


def test_the_file_holds_no_byte_of_who_was_forgotten(tmp_path: Path) -> None:
    with EventLog.open(f"sqlite:///{tmp_path / 'events.db'}") as log:
        log.append([view("ann-of-sales", f"item-{number}") for number in range(500)] + [view("bob", "mug")])
        log.forget("ann-of-sales")
        files = b"".join(path.read_bytes() for path in tmp_path.glob("events.db*"))
    assert b"bob" in files
    assert b"ann-of-sales" not in files


def test_a_restored_log_is_the_same_log(log: EventLog, tmp_path: Path) -> None:
    filled(log).dump(tmp_path / "dump")
    with EventLog.open(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        assert copy.restore(tmp_path / "dump").events == 6
        assert copy.interactions().table.equals(log.interactions().table)
        assert items(copy, "ann-phone") == items(log, "ann-phone") == ["cup", "jar"]
        first, second = copy.impressions(), log.impressions()
        assert first is not None
        assert second is not None
        assert first.table.equals(second.table)
        drop = ("sequence",)
        pairs = zip(copy.events_of("ann"), log.events_of("ann"), strict=True)
        assert all({**one, drop[0]: 0} == {**other, drop[0]: 0} for one, other in pairs)
        assert copy.restore(tmp_path / "dump").duplicates == 6


def test_an_empty_log_can_be_dumped_and_restored(log: EventLog, tmp_path: Path) -> None:
    assert log.dump(tmp_path / "dump") == 0
    assert log.restore(tmp_path / "dump").events == 0


@pytest.mark.parametrize("name", ["events.parquet", "aliases.parquet", "forgotten.parquet"])
def test_a_damaged_dump_restores_nothing(log: EventLog, tmp_path: Path, name: str) -> None:
    filled(log).dump(tmp_path / "dump")
    path = tmp_path / "dump" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with EventLog.open(f"sqlite:///{tmp_path / 'copy.db'}") as copy:
        with pytest.raises(DamagedFileError, match=f"{name} is not as it was written; nothing was restored"):
            copy.restore(tmp_path / "dump")
        assert copy.info().types == {}


def test_dumps_are_new_folders_and_other_folders_are_no_dumps(log: EventLog, tmp_path: Path) -> None:
    log.dump(tmp_path / "dump")
    with pytest.raises(InputError, match="exists already; name a new folder"):
        log.dump(tmp_path / "dump")
    shutil.rmtree(tmp_path / "dump")
    (tmp_path / "dump").mkdir()
    with pytest.raises(InputError, match="is no dump of events"):
        log.restore(tmp_path / "dump")
    content = {"format": 2, "of": "commonspace events"}
    content |= {"files": {f"{name}.parquet": {"sha256": ""} for name in ("events", "aliases", "forgotten")}}
    (tmp_path / "dump" / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="is a dump of version 2, this is version 1: upgrade"):
        log.restore(tmp_path / "dump")


def test_retention_by_age_and_by_number_keeps_the_latest(log: EventLog) -> None:
    log.append([view("ann", f"old-{n}", NOW - 40 * DAY) for n in range(30)])
    log.append([view("bob", f"new-{n}", NOW - DAY + n) for n in range(20)])
    log.append(impressions(["mug"], "r1", user_id="cat", time=NOW - 50 * DAY))
    log.merge("ann-phone", "ann")
    done = log.retain(days=30)
    assert done.events == 31
    assert log.info().types == {"view": 20}
    assert items(log, "bob") == [f"new-{n}" for n in range(20)]
    assert log.retain(events=7).events == 13
    assert items(log, "bob") == [f"new-{n}" for n in range(13, 20)]
    assert log.retain(events=7, days=30).events == 0
    with pytest.raises(InputError, match="neither days nor events say what is kept"):
        log.retain()
    with pytest.raises(InputError, match="days is 0"):
        log.retain(days=0)


def test_users_of_whom_nothing_is_left_go_with_their_names(log: EventLog) -> None:
    log.append([view("ann", "old", NOW - 40 * DAY), view("bob-phone", "new", NOW), view("cat", "new", NOW)])
    log.merge("ann-phone", "ann")
    log.merge("bob-phone", "bob")
    with log.database.writing() as connection:
        connection.exec_driver_sql("UPDATE commonspace_users SET created = created - 9000000000000")
    done = log.retain(days=30)
    assert (done.events, done.users) == (1, 0)  # the names were merged today
    with log.database.writing() as connection:
        connection.exec_driver_sql("UPDATE commonspace_aliases SET merged = merged - 9000000000000")
    assert log.retain(days=30).users == 1
    info = log.info()
    assert (info.users, info.aliases) == (2, 1)
    assert items(log, "bob") == ["new"]


def test_a_number_of_events_that_are_kept_leaves_who_is_who(log: EventLog) -> None:
    log.merge("anon", "ann")
    log.append([view("cat", "old"), view("bob", "mug")])
    with log.database.writing() as connection:
        for column in ("users SET created = created", "aliases SET merged = merged"):
            connection.exec_driver_sql(f"UPDATE commonspace_{column} - 9000000000000")
    done = log.retain(events=1)
    assert (done.events, done.users) == (1, 1)  # cat
    log.append([view("anon", "cup")])
    assert items(log, "ann") == ["cup"]


MERGES = [  # of the log that is dumped, of that which has it restored, and the main name of all of them
    ([("a", "b")], [("b", "c")], "c"),
    ([("a", "b")], [("b", "a")], "a"),
    ([("a", "b")], [("a", "c")], "c"),
    ([("a", "b")], [("x", "a"), ("y", "b")], "b"),
    ([("b", "c"), ("x", "c")], [("a", "b")], "c"),
    ([("a", "b")], [], "b"),
]


@pytest.mark.parametrize(("there", "here", "main"), MERGES)
def test_names_that_a_restored_dump_joins_are_one_person(
    log: EventLog, tmp_path: Path, there: list[tuple[str, str]], here: list[tuple[str, str]], main: str
) -> None:
    names = sorted({name for pair in there + here for name in pair})
    with EventLog.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        other.append([view(name, f"there-{name}") for name in names])
        for pair in there:
            other.merge(*pair)
        other.dump(tmp_path / "dump")
    log.append([view(name, f"here-{name}") for name in names] + [view("bob", "mug")])
    for pair in here:
        log.merge(*pair)
    for _ in range(2):  # the second time nothing is new
        log.restore(tmp_path / "dump")
        assert log.main_names(names) == [main] * len(names)
        assert sorted(items(log, names[0])) == sorted(f"{at}-{name}" for at in ("here", "there") for name in names)
        assert (log.info().users, log.info().aliases) == (2, len(names) - 1)
    log.forget(main)
    assert log.info().types == {"view": 1}
    assert log.info().aliases == 0


def test_who_is_forgotten_is_so_while_another_process_appends(server: str) -> None:
    waiting = sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with fresh_database(server) as url, EventLog.open(url) as log, EventLog.open(url) as other:
        log.append([view("bob", "mug")])
        rows = rows_of([view("ann", "cup")], {"view"})
        with ThreadPoolExecutor(1) as pool:
            with other.database.writing() as connection:
                assert add_events(connection, [rows]) == [Appended(1)]
                done = pool.submit(log.forget, "ann")
                while not done.done() and not connection.execute(waiting).scalar_one():
                    time.sleep(0.001)
            assert done.result().events == 1
            assert log.info().types == {"view": 1}
            with log.database.writing() as connection:
                lock_forgetting(connection)
                late = pool.submit(other.append, [view("ann", "late", OLD)])
                while not late.done() and not connection.execute(waiting).scalar_one():
                    time.sleep(0.001)
                assert not late.done()  # what waits for the forgetting will know of it
            assert late.result() == Appended(0, forgotten=1)


LOG = pa.table(
    {
        "user_id": ["ann", "ann", "bob", "ann", None],
        "item_id": ["mug", "mug", "cup", "jar", "cup"],
        "timestamp": [OLD, OLD, OLD + 1, OLD + 2, OLD],
        "event": ["view", "view", "buy", "view", "view"],
    }
)


def test_a_log_of_elsewhere_is_imported_once(log: EventLog, tmp_path: Path) -> None:
    pq.write_table(LOG, tmp_path / "log.parquet")
    done = log.import_log(tmp_path / "log.parquet")
    assert (done.appended.accepted, done.appended.duplicates) == (4, 0)
    assert done.dropped == {"blank user_id": 1}
    again = log.import_log(tmp_path / "log.parquet")
    assert (again.appended.accepted, again.appended.duplicates) == (0, 4)
    expected = Interactions.from_arrow(LOG, events="usual").table
    assert log.interactions().table.equals(expected)
    log.forget("ann")
    assert log.import_log(LOG).appended.forgotten == 3
    assert items(log, "ann") == []


def test_ratings_and_impressions_are_imported_as_a_type(log: EventLog) -> None:
    ratings = pa.table({"user": ["ann", "bob"], "item": ["mug", "cup"], "time": [OLD, OLD], "rating": [4.0, 0.0]})
    with pytest.raises(InteractionsError, match="has no column of types of events; say what its rows are"):
        log.import_log(ratings)
    done = log.import_log(ratings, kind="like")
    assert done.appended.accepted == 1
    assert done.dropped == {"weight of 0 or less": 1}
    assert log.interactions_of(["ann"]).table["weight"].to_pylist() == [4.0]
    shown = pa.table({"user": ["ann"], "item": ["mug"], "time": [OLD], "rank": [3], "request": ["r9"]})
    assert log.import_log(shown, kind="impression").appended.accepted == 1
    read = log.impressions()
    assert read is not None
    assert read.table["position"].to_pylist() == [3]
    with pytest.raises(InteractionsError, match="events that have no weight: 'nothing'"):
        log.import_log(ratings, kind="nothing")
    long = ratings.set_column(0, "user", pa.array(["a" * 300, "b"]))
    with pytest.raises(InteractionsError, match="of 300 characters; names have at most 256"):
        log.import_log(long, kind="like")


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_an_export_is_read_as_the_log_is(log: EventLog, tmp_path: Path, ending: str) -> None:
    filled(log)
    log.append([view("bob", "again", NOW, weight=2.5)])
    path = tmp_path / f"out.{ending}"
    assert log.export(path) == 5
    assert Interactions.open(path, events="usual").table.equals(log.interactions().table)
    assert log.export(path, impressions=True) == 2
    read = log.impressions()
    assert read is not None
    assert Impressions.open(path).table.equals(read.table)
    with pytest.raises(InputError, match=r"is no file; give one that ends in \.parquet"):
        log.export(tmp_path / "folder")
    assert not list(tmp_path.glob("*.tmp"))


def test_an_export_of_nothing_leaves_no_file(log: EventLog, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no events to export"):
        log.export(tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_learning_reads_days_and_types_as_told(log: EventLog) -> None:
    log.append([view("ann", "old", OLD - 30 * DAY), view("ann", "mug"), Event("cup", "buy", user_id="ann", time=OLD)])
    assert log.interactions(days=5).table["item_id"].to_pylist() == ["mug", "cup"]
    options = ReadOptions("the log", events={"view": 5, "buy": 1})
    assert log.interactions(options).table["weight"].to_pylist() == [5.0, 5.0, 1.0]
    with pytest.raises(InteractionsError, match="1 of 3 rows have events that have no weight: 'buy'"):
        log.interactions(ReadOptions("the log", events={"view": 5}))
