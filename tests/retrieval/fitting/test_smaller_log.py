"""A fit on fewer interactions than the published parts were trained on warns; one on live events is refused."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.encoders import load_encoder
from indexing.errors import TrainingError
from retrieval import Interactions, fit
from retrieval.fitting.fit_config import FitConfig
from retrieval.fitting.publish_gate import NOTE, SmallerLogWarning, loss_note, num_learned, why_smaller
from retrieval.fitting.selection.validation import Gain, Validation
from retrieval.serving.admin import learning
from retrieval.serving.events import Event, EventLog
from tests.cli_run import Run, runner
from tests.groups import CLOCK, COUNT, SMALL, catalogue, items, log

USERS, EACH = 90, 8
LEARNED = USERS * EACH


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smaller")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    fit(folder / "bundle", log(USERS, CLOCK, each=EACH), SMALL)
    return folder / "bundle"


@pytest.fixture
def root(learned: Path, tmp_path: Path) -> Path:
    shutil.copytree(learned, tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture
def young(tmp_path: Path) -> str:
    """A log of live events with two interactions."""
    url = f"sqlite:///{tmp_path / 'events.db'}"
    with EventLog.open(url) as live:
        live.append([Event(f"i00{n}", "like", user_id="ann", time=CLOCK + n) for n in range(2)])
    return url


def test_a_fit_on_fewer_interactions_warns_and_its_report_says_so(root: Path) -> None:
    said = rf"the log has 480 interactions, and the published parts \(behaviour\) were trained on {LEARNED}, where"
    with pytest.warns(SmallerLogWarning, match=said):
        report = fit(root, log(60, CLOCK), SMALL)
    assert report.published == ("behaviour",)
    assert report.notes[NOTE] == f"trained on 480; the parts before were trained on {LEARNED}"
    assert num_learned(Bundle.open(root)) == 480
    again = fit(root, log(61, CLOCK), SMALL)  # more than those, and no word of it
    assert NOTE not in again.notes


def test_a_refresh_on_the_later_part_alone_was_trained_on_all_that_came_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Validation, "gain", lambda *_: Gain(60, 0.5, 0.6, 0.1, 0.05, 0.15))
    later = log(60, CLOCK + 100_000)
    report = fit(root, later, refresh=True)
    assert (report.published, NOTE in report.notes) == (("behaviour",), False), report
    assert num_learned(Bundle.open(root)) == LEARNED


def test_parts_without_a_successor_are_named(root: Path) -> None:
    manifest = SimpleNamespace(features=("behaviour", "reranker"), learned={"interactions": 8_038})
    bundle: Any = SimpleNamespace(manifest=manifest)
    history: Any = range(600)
    lost = "; the parts before were trained on 8,038, and reranker (the second stage) of them has no successor"
    assert loss_note(bundle, [history], ("behaviour",)) == {NOTE: f"trained on 600{lost}"}
    assert loss_note(bundle, [range(8_038)], ("behaviour",)) == {}  # type: ignore[list-item]
    assert "8,038" in why_smaller(bundle, 8_037)
    assert why_smaller(bundle, 8_038) == ""
    manifest.features = ()  # nothing was learned that could be lost
    assert why_smaller(bundle, 0) == ""


def test_a_log_of_many_repeated_events_is_refused_by_the_count_of_training(
    root: Path, young: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two items of one user, and one that is not in the bundle, however often they were seen."""
    seen = [Event(f"i00{n % 2}", "view", user_id="ann", time=CLOCK + n) for n in range(LEARNED)]
    with EventLog.open(young) as live:
        live.append([*seen, Event("gone", "view", user_id="ann", time=CLOCK)])
    with pytest.raises(TrainingError, match=rf"has 2 interactions, .* trained on {LEARNED}, where an item of a user"):
        learning.fit_bundle(root, {}, None, young, lambda _: None)
    code, _, error = runner(capsys)("fit", root, "--events", young)
    assert (code, "the log has 2 interactions, and" in error) == (1, True)


@pytest.mark.parametrize("asked", [{}, {"publish": False}, {"replace": False}])
def test_a_job_on_fewer_live_events_is_refused_before_it_learns(asked: dict[str, Any], root: Path, young: str) -> None:
    before = Bundle.open(root).manifest.generation
    with pytest.raises(TrainingError, match=rf'has 2 interactions.* trained on {LEARNED}.*; add .*"replace": true'):
        learning.fit_bundle(root, asked, None, young, lambda _: None)
    assert Bundle.open(root).manifest.generation == before


@pytest.mark.parametrize("asked", [{"replace": True}, {"refresh": True}])
def test_a_job_that_is_told_to_replace_or_refreshes_learns(
    asked: dict[str, Any], root: Path, young: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned_from: list[int] = []

    def fake(_: Path, interactions: Interactions, __: FitConfig | None, **more: Any) -> None:  # noqa: ANN401
        assert more["refresh"] is asked.get("refresh", False)
        learned_from.append(len(interactions))
        raise KeyboardInterrupt

    monkeypatch.setattr(learning, "fit", fake)
    with pytest.raises(KeyboardInterrupt):
        learning.fit_bundle(root, asked, None, young, lambda _: None)
    assert learned_from == [2]


def test_an_uploaded_log_may_be_smaller(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "interactions.parquet"
    pq.write_table(pa.table({"user": ["ann"], "item": ["i001"], "time": [CLOCK]}), path)
    monkeypatch.setattr(learning, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        learning.fit_bundle(root, {"log": learning.UPLOAD}, path, None, lambda _: None)


def test_the_command_line_refuses_too_and_says_the_ways_out(
    root: Path, young: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run: Run = runner(capsys)
    monkeypatch.setattr(
        "retrieval.cli.commands.fit.fit_bundle", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    code, _, err = run("fit", root, "--events", young)
    assert code == 1
    for said in ("2 interactions", f"{LEARNED}", "commonspace events import", "--refresh", "--replace"):
        assert said in " ".join(err.split())
    assert run("fit", root, "--events", young, "--replace")[0] == 130
    assert run("fit", root, "--events", young, "--refresh")[0] == 130
    code, _, err = run("fit", root, "--events", young, "--refresh", "--replace")
    assert (code, "replaces none" in err) == (2, True)
    code, _, err = run("fit", root, "log.csv", "--replace")
    assert (code, "--replace is for the live log" in err) == (2, True)
