"""`commonspace events` and `fit --events`: what is printed, read and refused."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval import FitConfig, Impressions, Interactions, fit
from retrieval.cli.options.log import EVENTS_VARIABLE
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.interactions.event_types import EventTypes
from retrieval.serving.events import Event, EventLog, impressions
from retrieval.training.config import BehaviourConfig
from tests.cli_run import Run, json_lines, runner
from tests.retrieval.batch.shop import shop_log

OLD = 1_700_000_000
LOG = pa.table(
    {
        "user_id": ["ann", "bob", "ann", None],
        "item_id": ["red-mug", "blue-mug", "red-shoe", "red-shoe"],
        "timestamp": [OLD, OLD + 1, OLD + 2, OLD + 3],
        "event": ["view", "buy", "view", "view"],
    }
)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.delenv(EVENTS_VARIABLE, raising=False)
    return runner(capsys)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'events.db'}"


def lines(run: Run, *arguments: object) -> dict[str, Any]:
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    (line,) = json_lines(out, "events")
    return line


def test_a_log_is_imported_looked_at_dumped_and_restored(run: Run, url: str, tmp_path: Path) -> None:
    pq.write_table(LOG, tmp_path / "log.parquet")
    imported = lines(run, "events", "import", tmp_path / "log.parquet", "--events", url)
    assert imported == {"accepted": 3, "duplicates": 0, "forgotten": 0, "dropped": {"blank user_id": 1}}
    info = lines(run, "events", "info", "--events", url)
    assert (info["types"], info["users"], info["last_time"]) == ({"buy": 1, "view": 2}, 2, OLD + 2)
    assert lines(run, "events", "dump", tmp_path / "dump", "--events", url)["rows"] == 3
    assert lines(run, "events", "forget", "ann", "--events", url) == {"events": 2, "aliases": 0}
    restored = lines(run, "events", "restore", tmp_path / "dump", "--events", url)
    assert restored == {"events": 0, "duplicates": 1, "forgotten": 2}
    assert lines(run, "events", "export", tmp_path / "out.csv", "--events", url)["rows"] == 1
    assert Interactions.open(tmp_path / "out.csv").table["user_id"].to_pylist() == ["bob"]
    assert lines(run, "events", "retain", "--days", "30", "--events", url)["events"] == 1
    code, out, _ = run("events", "info", "--events", url)
    assert code == 0
    assert "forgotten" in out


def test_types_and_columns_are_named_on_import(run: Run, url: str, tmp_path: Path) -> None:
    table = pa.table({"who": ["ann"], "item": ["mug"], "time": [OLD], "how": [2.0]})
    pq.write_table(table, tmp_path / "log.parquet")
    command = ("events", "import", tmp_path / "log.parquet", "--events", url, "--user-column", "who")
    code, _, err = run(*command)
    assert code == 1
    assert "say what its rows are; with --type view" in err
    assert lines(run, *command, "--type", "wave", "--event-weights", "wave=4")["accepted"] == 1
    code, _, err = run("fit", tmp_path / "bundle", "--events", url)
    assert code == 1
    assert "'wave'" in err or "no bundle" in err


def test_fit_reads_the_log_as_it_stands_with_what_was_shown(
    run: Run, url: str, toy_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EventLog.open(url) as log:
        log.append([Event("red-mug", "view", user_id="anon", time=OLD), Event("red-shoe", "buy", user_id="ann", time=OLD + 5)])  # fmt: skip  # noqa: E501
        log.append(impressions(["red-mug", "red-shoe"], "r1", user_id="anon", time=OLD))
        log.merge("anon", "ann")
    read: dict[str, Any] = {}

    def fit(bundle: Path, interactions: Interactions, *_: object, impressions: Impressions, **__: object) -> None:
        read.update(log=interactions, shown=impressions)
        raise KeyboardInterrupt

    monkeypatch.setattr("retrieval.cli.commands.fit.fit_bundle", fit)
    assert run("fit", toy_bundle, "--events", url)[0] == 130
    assert read["log"].table.to_pylist() == [
        {"user_id": "ann", "item_id": "red-mug", "timestamp": OLD, "weight": pytest.approx(0.1)},
        {"user_id": "ann", "item_id": "red-shoe", "timestamp": OLD + 5, "weight": 3.0},
    ]
    assert read["log"].events.weights["buy"] == 3.0
    assert read["shown"].table.select(["user_id", "item_id", "position"]).to_pylist() == [
        {"user_id": "ann", "item_id": "red-mug", "position": 1},
        {"user_id": "ann", "item_id": "red-shoe", "position": 2},
    ]
    assert run("fit", toy_bundle, "--events", url, "--refresh")[0] == 130
    assert read["shown"] is None  # a refresh trains no head
    monkeypatch.setenv(EVENTS_VARIABLE, url)
    assert run("fit", toy_bundle, "--event-weights", "view=2,buy=1")[0] == 130
    assert read["log"].table["weight"].to_pylist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        ((), "no log is named; give a file, or the URL of the live log with --events", 2),
        (("sample", "--events", "sqlite:///x.db"), "both 'sample' and --events name a log; give one", 2),
        (("--events", "view=.1,buy=3"), "is no URL; it names a database, and --event-weights says what types weigh", 2),
        (("--events", "sqlite:///x.db", "--user-column", "who"), "the live log has columns of its own", 2),
        (("--events", "sqlite:///x.db"), "sqlite:///x.db: there is no such file", 1),
        (("--events", "postgresql://ann:s3cret@127.0.0.1:1/shop"), "postgresql://127.0.0.1:1/shop: ", 1),
    ],
)
def test_fit_refuses_what_names_no_live_log(
    run: Run, toy_bundle: Path, tmp_path: Path, arguments: tuple[str, ...], message: str, code: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    done, out, err = run("fit", toy_bundle, *arguments)
    assert (done, message in err) == (code, True), err
    assert "s3cret" not in out + err


def test_commands_that_read_make_no_log(run: Run, url: str, tmp_path: Path) -> None:
    for command in (("info",), ("forget", "ann"), ("retain", "--days", "3"), ("dump", tmp_path / "d")):
        code, _, err = run("events", *command, "--events", url)
        assert code == 1
        assert "there is no such file" in err
    assert not (tmp_path / "events.db").exists()
    code, _, err = run("events", "info")
    assert code == 2
    assert "--events" in err


def test_compare_counts_the_types_that_it_is_given(run: Run, url: str) -> None:
    with EventLog.open(url, EventTypes.open("booked=3")) as log:
        log.append(impressions(["i0", "i1"], "r1", user_id="ann", time=OLD, variant="a"))
        log.append([Event("i0", "booked", user_id="ann", time=OLD, request_id="r1")])
    for arguments, taken, is_said in (((), 0, True), (("--event-weights", "booked=3"), 1, False)):
        code, out, err = run("compare", "--events", url, "--json", *arguments)
        assert code == 0, err
        (line,) = json_lines(out, "variants")
        assert [rate["taken"] for rate in line["rates"]] == [taken]
        assert ("events of the type 'booked', which has no weight, are not counted: 1" in err) is is_said


def test_compare_counts_the_types_that_a_bundle_has_learned(run: Run, url: str, own_toy_bundle: Path) -> None:
    weights = EventTypes.open("booked=3,view=1")
    table = shop_log().drop_columns(["weight"])
    events = pa.array(["booked" if row % 3 else "view" for row in range(len(table))])
    log = Interactions.from_arrow(table.append_column("event", events), events=weights)
    behaviour = BehaviourConfig(ease_dims=4, next_items=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Validation, "gain", lambda *_: Gain(32, 0.5, 1.0, 0.5, 0.4, 0.6))
        fit(own_toy_bundle, log, FitConfig(adapter=None, behaviour=behaviour, reranker=None))
    with EventLog.open(url, weights) as live:
        live.append(impressions(["i0", "i1"], "r1", user_id="ann", time=OLD, variant="a"))
        live.append([Event("i0", "booked", user_id="ann", time=OLD, request_id="r1")])
    code, out, err = run("compare", "--events", url, "--bundle", own_toy_bundle, "--json")
    assert code == 0, err
    (line,) = json_lines(out, "variants")
    assert [(rate["shown"], rate["taken"]) for rate in line["rates"]] == [(2, 1)]
    assert "which has no weight" not in err


def test_compare_gives_take_rates_of_variants(run: Run, url: str) -> None:
    with EventLog.open(url) as log:
        for user, variant, taken in (("ann", "a", 2), ("bob", "b", 1), ("cat", "a", 0), ("dan", "b", 3)):
            log.append(impressions(["i0", "i1", "i2", "i3"], user, user_id=user, time=OLD, variant=variant))
            log.append([Event(f"i{n}", "view", user_id=user, time=OLD, request_id=user) for n in range(taken)])
    code, out, err = run("compare", "--events", url, "--baseline", "a", "--json")
    assert code == 0, err
    (line,) = json_lines(out, "variants")
    assert [(rate["variant"], rate["shown"], rate["taken"], rate["rate"]) for rate in line["rates"]] == [
        ("a", 8, 2, 0.25),
        ("b", 8, 4, 0.5),
    ]
    assert line["differences"][0]["difference"] == 0.25
    code, out, _ = run("compare", "--events", url, "--baseline", "a")
    assert code == 0
    assert "0.2500 [" in out
    assert "above a" in out
    for arguments, message in (
        (("a.json", "b.json", "--events", url), "leave out the files"),
        (("a.json",), "give two files of evaluate --save, or --events URL"),
        (("a.json", "b.json", "--baseline", "a"), "with which go --baseline"),
        (("--events", url, "--bundle", "b", "--event-weights", "usual"), "either --bundle or --event-weights"),
    ):
        code, _, err = run("compare", *arguments)
        assert (code, message in err) == (2, True), err
