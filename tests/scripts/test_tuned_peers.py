"""The benchmark of tuned peers: the rule that tunes, requests to a runner and its failures, rows that are kept."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.index.tuning.recall import GroundTruth, Queries
from scripts.benchmarks.index.tuned_peers import environments, runner_process, tuned_peers
from scripts.benchmarks.index.tuned_peers.drawn_files import PARTS, DrawnFiles
from scripts.benchmarks.index.tuned_peers.environments import NotInstalledError, interpreter
from scripts.benchmarks.index.tuned_peers.measure_peer import Limits, measure_peer
from scripts.benchmarks.index.tuned_peers.peer_list import PEERS, Peer, ladder
from scripts.benchmarks.index.tuned_peers.runner_process import RUNNERS, NotMeasuredError, RunnerProcess
from scripts.benchmarks.index.tuned_peers.tuned_peers import compared, measure_row, measured_rows
from scripts.benchmarks.index.tuned_peers.tuning import Effort, Measured, smallest_effort

K, ITEMS = 10, 40
PATIENT = Limits(build=60, search=60, goal=0.95, threads=1)
STUB = Peer("stub", "stub_runner", [ladder("rows", (10, 20, 38, 40))], names=("numpy",))


def measure(effort: Effort) -> Measured:
    """An effort that says what is measured of it."""
    return Measured(effort, effort["recall"], effort["seconds"])


def of(recall: float, seconds: float) -> Effort:
    return {"recall": recall, "seconds": seconds}


def test_the_first_effort_of_a_ladder_that_reaches_the_goal_is_taken() -> None:
    tuned = smallest_effort([[of(0.5, 1), of(0.95, 2), of(0.99, 1)]], measure, 0.95)
    assert (tuned.chosen.recall, tuned.reaches, tuned.tried) == (0.95, True, 2)


def test_of_several_ladders_the_fastest_is_taken() -> None:
    tuned = smallest_effort([[of(0.9, 1), of(0.96, 4)], [of(0.94, 2), of(0.95, 3)], [of(0.97, 5)]], measure, 0.95)
    assert (tuned.chosen.recall, tuned.chosen.seconds, tuned.tried) == (0.95, 3, 5)


def test_a_ladder_is_left_where_it_is_slower_than_what_reached_the_goal() -> None:
    tuned = smallest_effort([[of(0.96, 4)], [of(0.6, 5), of(0.99, 1)]], measure, 0.95)
    assert (tuned.chosen.seconds, tuned.tried) == (4, 2)


def test_without_one_that_reaches_it_the_best_recall_is_taken_and_said() -> None:
    tuned = smallest_effort([[of(0.5, 1), of(0.7, 2)], [of(0.6, 1)]], measure, 0.95)
    assert (tuned.chosen.recall, tuned.reaches) == (0.7, False)
    with pytest.raises(ValueError, match="at least one ladder with an effort"):
        smallest_effort([[]], measure, 0.95)


@pytest.fixture
def catalogue(tmp_path: Path) -> DrawnFiles:
    rng = np.random.default_rng(0)
    items = unit(rng.normal(size=(ITEMS, 3)).astype(np.float32))
    np.save(tmp_path / "items.npy", items)
    truths = {}
    for part in PARTS:
        for kind in ("text", "image"):
            queries = unit(rng.normal(size=(60, 3)).astype(np.float32))
            np.save(tmp_path / f"{part}_{kind}.npy", queries)
            truths[part, kind] = GroundTruth(Queries(queries), -np.sort(-queries @ items.T, axis=1)[:, :K])
    return DrawnFiles(tmp_path, items, truths, {"items": ITEMS})


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Peer:
    monkeypatch.setattr(runner_process, "RUNNERS", "tests.scripts")
    return STUB


def test_a_peer_is_built_tuned_and_measured(stub: Peer, catalogue: DrawnFiles, tmp_path: Path) -> None:
    row = measure_peer(stub, Path(sys.executable), catalogue, PATIENT, tmp_path)
    assert row["bytes a vector"] == 12
    assert row["note"] == "1 threads, ['image', 'text']"
    assert row["versions"] == {"numpy": np.__version__}
    assert row["MiB at most"] >= row["MiB before the build"] > 0
    for kind in ("text", "image"):
        shares = {}
        for part in PARTS:
            truth = catalogue.truths[part, kind]
            exact = np.argsort(-truth.queries.vectors @ catalogue.items.T, axis=1)[:, :K]
            shares[part] = {rows: (exact < rows).mean() for rows in (10, 20, 38, 40)}
        first = next(rows for rows, share in shares["tune"].items() if share >= PATIENT.goal)
        found = row[kind]
        assert found["effort"] == {"rows": first}
        assert found["reaches the goal on held-out queries"] is True
        assert found["recall on held-out queries"] == pytest.approx(shares["tune"][first], abs=1e-4)
        assert found["recall"] == pytest.approx(shares["report"][first], abs=1e-4)
        assert min(found["queries/s"], found["ms a query by itself, p50"]) > 0


@pytest.mark.parametrize(
    ("fails", "limits", "reason"),
    [
        ("by an error", PATIENT, "ValueError: no index of 3 dimensions"),
        ("by an end", PATIENT, "ended with exit code 7: out of patience"),
        ("by a signal", PATIENT, "ended by SIGABRT"),
        ("by taking long", Limits(0.2, 60, 0.95, 1), "'build' took more than 0 s"),
        ("by wrong rows", PATIENT, "a search with {'rows': 10} gave row 40 of 40 items"),
        ("by few rows", PATIENT, "a search with {'rows': 10} gave shape (60, 7)"),
        ("", Limits(60, 0, 0.95, 1), "tuning and measuring took more than 0 s; stopped at text, {'rows': 10}"),
    ],
)
def test_a_failure_is_a_row_with_its_reason(
    fails: str, limits: Limits, reason: str, stub: Peer, catalogue: DrawnFiles, tmp_path: Path
) -> None:
    peer = Peer(stub.name, stub.runner, stub.ladders, {"fails": fails})
    row = measure_peer(peer, Path(sys.executable), catalogue, limits, tmp_path)
    assert row["not measured"].startswith(reason)
    assert row["settings"] == {"fails": fails}
    assert "text" not in row


def test_a_runner_that_is_asked_before_it_is_built_says_so(stub: Peer, catalogue: DrawnFiles, tmp_path: Path) -> None:
    with RunnerProcess.of(Path(sys.executable), stub.runner, tmp_path / "log.txt") as runner:
        request = {"do": "search", "queries": str(catalogue.queries("tune", "text"))}
        with pytest.raises(NotMeasuredError, match="nothing is built yet"):
            runner.ask(request, 60)


def test_a_module_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with RunnerProcess([sys.executable, "-c", "import no_such_library"], tmp_path / "log.txt") as runner:
        with pytest.raises(NotMeasuredError, match="exit code 1: ModuleNotFoundError: No module named 'no_such_lib"):
            runner.ask({"do": "build"}, 60)
        with pytest.raises(NotMeasuredError, match="exit code 1"):
            runner.ask({"do": "build"}, 60)


@pytest.fixture
def given(tmp_path: Path) -> argparse.Namespace:
    return argparse.Namespace(work=tmp_path, again=[], minutes=1.0, build_limit=60.0, search_limit=60.0, threads=1)


def test_rows_are_kept_and_measured_anew_when_asked(
    catalogue: DrawnFiles, given: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[str] = []

    def count(peer: Peer, *_: object) -> dict[str, Any]:
        measured.append(peer.name)
        return {"settings": dict(peer.settings), "text": len(measured)}

    monkeypatch.setattr(tuned_peers, "measure_peer", count)
    slow, quick = Peer("slow", "stub_runner", STUB.ladders, slow=True), Peer("quick", "stub_runner", STUB.ladders)
    (rows,), left = measured_rows([slow, quick], [catalogue], given)
    assert (measured, list(rows), left) == (["quick", "slow"], ["slow", "quick"], [])
    assert {"commit", "clean_tree", "load before"} <= rows["slow"].keys()
    assert measured_rows([slow, quick], [catalogue], given)[0] == [rows]
    given.again = ["slow"]
    assert measured_rows([slow, quick], [catalogue], given)[0][0]["slow"]["text"] == 3
    given.again = []
    changed = Peer("quick", "stub_runner", STUB.ladders, {"bits": 2})
    assert measured_rows([changed], [catalogue], given)[0][0]["quick"]["text"] == 4
    kept = given.work / "rows" / catalogue.folder.name / "slow.json"
    assert json.loads(kept.read_text())["text"] == 3


def test_a_run_whose_time_is_over_names_what_is_left(
    catalogue: DrawnFiles, given: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned_peers, "measure_peer", lambda *_: {"settings": {}})
    other = Peer("other", "stub_runner", STUB.ladders)
    measured_rows([other], [catalogue], given)
    given.minutes = 0.0
    assert measured_rows([other, STUB], [catalogue], given) == ([], ["stub of 40"])


def test_a_run_ends_without_a_result_until_every_row_is_there(
    stub: Peer, catalogue: DrawnFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results: list[dict[str, Any]] = []
    monkeypatch.setattr(tuned_peers, "PEERS", (stub,))
    monkeypatch.setattr(tuned_peers, "draw_files", lambda *_: catalogue)
    monkeypatch.setattr(tuned_peers, "keep", lambda name, result, seed: results.append({name: result}))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    command = ["tuned_peers", "pairs", "--work", str(tmp_path), "--counts", "40", "--threads", "1"]
    monkeypatch.setattr("sys.argv", [*command, "--minutes", "0"])
    with pytest.raises(SystemExit, match=r"0\.0 minutes are over; 1 rows are left, run again: stub of 40"):
        tuned_peers.main()
    monkeypatch.setattr("sys.argv", [*command, "--peers", "stub"])
    tuned_peers.main()
    assert not results
    monkeypatch.setattr("sys.argv", command)
    tuned_peers.main()
    (size,) = results[0]["tuned_peers"]["sizes"].values()
    assert size["peers"]["stub"]["text"]["recall"] >= 0.9
    assert size["compared"]["text"]["best peer"]["name"] == "stub"


def test_what_cannot_be_installed_is_a_row(
    catalogue: DrawnFiles, given: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> Path:
        raise NotInstalledError("ERROR: No matching distribution found for stub==1")

    monkeypatch.setattr(tuned_peers, "interpreter", fail)
    row = measure_row(STUB, catalogue, given)
    assert row["not measured"] == "not installed: ERROR: No matching distribution found for stub==1"


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def run(command: list[str]) -> None:
        ran.append(command[-1])
        (tmp_path / "one").mkdir(exist_ok=True)

    monkeypatch.setattr(environments, "_run", run)
    assert interpreter(tmp_path, "one", ["a==1"]) == tmp_path / "one" / "bin" / "python"
    interpreter(tmp_path, "one", ["a==1"])
    assert ran == [str(tmp_path / "one"), "a==1"]
    interpreter(tmp_path, "one", ["a==2"])
    assert ran[2:] == [str(tmp_path / "one"), "a==2"]
    assert interpreter(tmp_path, "", ()) == Path(sys.executable)


def test_what_pip_says_is_the_reason(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match="no such option: --no-such"):
        environments._run([sys.executable, "-m", "pip", "install", "--no-such"])


def test_the_best_peer_reaches_the_goal_and_what_is_missing_is_named() -> None:
    def row(speed: float, reaches: bool = True) -> dict[str, Any]:
        return {"text": {"queries/s": speed, "reaches the goal on held-out queries": reaches}}

    ours = dict(zip(tuned_peers.OURS, (row(600), row(800)), strict=True))
    rows = {
        **ours,
        "a": row(100),
        "b": row(200),
        "FAISS x": row(1000),
        "c": row(900, False),
        "d": {"not measured": "?"},
    }
    assert compared(rows) == {
        "text": {
            "ours": 600,
            "our lists": 800,
            "best peer": {"name": "b", "queries/s": 200, "ours / this": 3.0, "our lists / this": 4.0},
            "best type of FAISS": {"name": "FAISS x", "queries/s": 1000, "ours / this": 0.6, "our lists / this": 0.8},
        },
        "image": {},
        "not measured": ["d"],
    }
    assert set(tuned_peers.OURS) == {peer.name for peer in PEERS if peer.runner == "commonspace_index"}


def test_every_peer_has_a_runner_a_name_of_its_own_and_pinned_packages() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        file = runner_process.ROOT.joinpath(*RUNNERS.split("."), f"{peer.runner}.py")
        assert file.exists()
        assert all(len(each) for each in peer.ladders)
        assert not peer.packages or peer.packages[0].split("==")[0] == peer.names[0] == peer.environment
