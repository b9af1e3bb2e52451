"""`push`, `pull` and `states`: what they print, and what a pull that is repeated does when something fails."""

import shutil
import signal
from pathlib import Path

import pytest

from indexing.bundle.edits.edit import delete
from indexing.exchange import push_bundle
from indexing.exchange.object_storage import push as pushing
from retrieval.cli.runs import repeated
from tests.cli_run import Run, json_lines, runner


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_a_bundle_goes_there_and_back(own_toy_bundle: Path, run: Run, tmp_path: Path) -> None:
    place, reader = tmp_path / "place", tmp_path / "reader"
    code, out, _ = run("push", own_toy_bundle, place)
    assert code == 0
    assert f"{place.as_uri()}: state 1 pushed" in out
    (pushed,) = json_lines(run("push", own_toy_bundle, place.as_uri(), "--json")[1], "push")
    assert (pushed["number"], pushed["unchanged"], pushed["uploaded"]) == (1, True, 0)
    (pulled,) = json_lines(run("pull", place, reader, "--json")[1], "pull")
    assert (pulled["number"], pulled["downloaded"]) == (1, pulled["files"])
    assert f"{reader}: state 1 is here already" in run("pull", place, reader)[1]
    (state,) = json_lines(run("states", place, "--json")[1], "state")
    assert (state["number"], state["generation"], state["bytes"]) == (1, pulled["generation"], pulled["bytes"])
    assert pulled["generation"] in run("states", place)[1]
    assert run("info", reader, "--json")[0] == 0

    delete(reader, ["red-mug"])
    code, _, err = run("pull", place, reader)
    assert code == 1
    assert "push it first, pull into another folder, or pull with --discard-local to give it up" in err
    assert run("push", reader, place)[0] == 0
    delete(own_toy_bundle, ["blue-mug"])
    code, _, err = run("push", own_toy_bundle, place)
    assert code == 1
    assert "or push with --supersede to supersede it" in err
    (pushed,) = json_lines(run("push", own_toy_bundle, place, "--supersede", "--keep", 1, "--json")[1], "push")
    assert (pushed["number"], pushed["removed_states"]) == (3, 0)
    assert run("pull", place, reader, "--state", 2, "--json")[0] == 0
    code, _, err = run("pull", place, reader, "--state", 2, "--every", 60)
    assert (code, "--every follows the newest state, and --state 2 names one" in err) == (2, True)
    assert run("states", tmp_path / "nowhere")[1] == f"{tmp_path / 'nowhere'} holds no bundle\n"


def test_a_repeated_pull_follows_and_goes_on_after_an_error(
    own_toy_bundle: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, reader = tmp_path / "place", tmp_path / "reader"
    push_bundle(own_toy_bundle, place)
    handler, waited = signal.getsignal(signal.SIGTERM), []

    def between(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            delete(own_toy_bundle, ["red-mug"])
            push_bundle(own_toy_bundle, place)
        elif len(waited) == 3:
            shutil.move(place, tmp_path / "away")
        elif len(waited) == 4:
            shutil.move(tmp_path / "away", place)
        elif len(waited) == 5:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(repeated, "sleep", between)
    try:
        code, out, err = run("pull", place, reader, "--every", 30, "--json")
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert code == 130
    assert [line["number"] for line in json_lines(out, "pull")] == [1, 2]  # nothing is said where nothing is new
    assert f"{place.as_uri()} holds no bundle; `commonspace push` puts one there; tried again in 30 s" in err
    assert "interrupted; what is finished is kept" in err
    assert waited == [30.0] * 5


def test_an_interrupted_push_says_what_is_left(
    own_toy_bundle: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pushing, "check_file", interrupt)
    code, _, err = run("push", own_toy_bundle, tmp_path / "place")
    assert code == 130
    assert "interrupted; what is uploaded is taken over by the next push within half a day" in err
