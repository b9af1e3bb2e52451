"""`commonspace prepare`: what it writes, what it says, and what it leaves alone when it cannot."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.filesystem import fsops
from retrieval.interactions.event_types import EventTypes
from retrieval.interactions.interactions import Interactions
from tests.cli_run import Run, runner
from tests.retrieval.cleaning.logs import START


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    rows = [
        ("ann", "mug", 0, "view"),
        ("ann", "mug", 0, "purchase"),
        ("ann", "cup", 5, "view"),
        ("bob", "mug", 9, "return"),
        ("bob", "cup", 9, "purchase"),
        ("", "cup", 9, "view"),
    ]
    path = tmp_path / "log.csv"
    path.write_text("user,item,time,event\n" + "".join(f"{u},{i},{START + t},{e}\n" for u, i, t, e in rows))
    return path


def test_it_writes_the_log_and_the_report(tmp_path: Path, log: Path, run: Run) -> None:
    out, report = tmp_path / "made" / "out.parquet", tmp_path / "report.json"
    events = "view=1,purchase=5,return=0"
    code, said, _ = run("prepare", log, out, "--event-weights", events, "--report", report, "--json")
    assert code == 0
    prepared = Interactions.open(out)
    assert prepared.table.to_pylist() == [
        {"user_id": "ann", "item_id": "mug", "timestamp": START, "weight": 5.0},
        {"user_id": "ann", "item_id": "cup", "timestamp": START + 5, "weight": 1.0},
        {"user_id": "bob", "item_id": "cup", "timestamp": START + 9, "weight": 5.0},
    ]
    written = json.loads(report.read_text())
    assert json.loads(said) == {"type": "preparation", "written": str(out), **written}
    assert (written["report"]["rows"], written["report"]["kept"]) == (4, 3)
    assert written["report"]["removed"] == {
        "duplicate": {"rows": 1, "users": 1, "items": 1, "examples": [["ann", "mug"]]}
    }
    assert written["report"]["unreadable"] == {"blank user_id": 1, "event of weight 0": 1}
    assert written["config"]["caps"]["per_pair"] == 20
    again = tmp_path / "again.parquet"
    code, said, _ = run("prepare", out, again)
    assert code == 0
    assert "3 kept of 3" in said
    assert again.read_bytes() == out.read_bytes()


def test_options_reach_the_rules(tmp_path: Path, log: Path, run: Run) -> None:
    out = tmp_path / "out.parquet"
    for options, kept in (
        (("--max-per-user", 1), [("ann", "cup"), ("bob", "cup")]),
        (("--k-core", "2,2", "--rows", "event=view,purchase", "--shilling", "keep", "--keep-bots"), None),
        (("--rows", "event=view", "--shilling", "users"), [("ann", "mug"), ("ann", "cup")]),
    ):
        code, _, err = run("prepare", log, out, *options)
        if kept is None:
            assert (code, out.exists()) == (1, True)
            assert "none is left" in err
            continue
        assert code == 0, err
        assert [(row["user_id"], row["item_id"]) for row in pq.read_table(out).to_pylist()] == kept


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("out.txt",), "out.txt ends in '.txt', which is not written; name it .parquet, .csv or .jsonl"),
        (("out.parquet", "--event-weights", "view=1"), "'return', 'purchase'|'purchase', 'return'"),
        (("out.parquet", "--event-weights", "view"), "cannot read 'view'"),
        (("out.parquet", "--k-core", "5;5"), "cannot read '5;5' of --k-core; write a number for both"),
        (("out.parquet", "--shilling", "all"), "'all' is not one of 'interactions', 'users', 'keep'"),
        (("out.parquet", "--report", "log.csv"), "log.csv is to be a .json file"),
        (("out.parquet", "--report", "out.parquet"), "out.parquet is to be a .json file"),
    ],
)
def test_what_it_cannot_do_leaves_nothing_behind(
    tmp_path: Path,
    log: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    before = log.read_bytes()
    code, _, err = run("prepare", "log.csv", *arguments)
    assert code == (1 if "purchase" in message else 2)  # that a log has other events is no wrong usage
    assert any(one in err for one in message.split("|"))
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    assert log.read_bytes() == before


def test_the_log_is_never_written_over(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"user": ["a"], "item": ["mug"]}), path)
    code, _, err = run("prepare", path, path)
    assert code == 2
    assert "is the log itself; write to another file" in err


def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, log: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.parquet"
    out.write_bytes(b"before")

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fsops.disk, "write", full)
    code, _, err = run("prepare", log, out)
    assert code == 1
    assert "No space left" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.csv", "out.parquet"]
    assert out.read_bytes() == b"before"


def test_events_are_read() -> None:
    assert EventTypes.open("view=1, add=to=cart=2.5").weights == {"view": 1.0, "add=to=cart": 2.5}
