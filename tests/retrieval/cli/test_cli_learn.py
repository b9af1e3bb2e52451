"""`commonspace fit`, its progress, losses and refresh, and `recommend --explain`, as people and programs see them."""

import io
import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.encoders import load_encoder
from retrieval import FitConfig, fit
from retrieval.cli.display.curves import write_losses
from retrieval.cli.display.fit_progress import fit_progress
from retrieval.fitting.steps import EVERYTHING, TRAIN, Step
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from retrieval.retriever.retriever import Retriever
from retrieval.training.settings import write_settings
from tests.cli_run import Run, json_lines, runner
from tests.groups import CLOCK, COUNT, SMALL, catalogue, items, log


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle, two logs, of which the second goes on from the first, and settings."""
    folder = tmp_path_factory.mktemp("shop")
    build_bundle(catalogue(folder, items(range(COUNT))), load_encoder("vectors:"), folder / "bundle")
    table = log(start=CLOCK, each=14).table
    pq.write_table(table, folder / "all.parquet")
    pq.write_table(table.filter(pa.array(table["timestamp"].to_numpy() < CLOCK + 8000)), folder / "first.parquet")
    write_settings(SMALL, folder / "settings.json")
    return folder


@pytest.fixture
def bundle(shop: Path, tmp_path: Path) -> Path:
    shutil.copytree(shop / "bundle", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize(
    ("options", "effort"),
    [((), "default"), (("--effort", "fast"), "fast"), (("--config", "file"), "fast"),
     (("--config", "file", "--effort", "default"), "default")],
)  # fmt: skip
def test_fit_takes_an_effort(
    options: tuple[str, ...], effort: str, shop: Path, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configs: list[FitConfig] = []

    def fake(_: Path, __: Interactions, config: FitConfig, **___: object) -> None:
        configs.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr("retrieval.cli.commands.fit.fit_bundle", fake)
    write_settings(FitConfig(effort="fast"), tmp_path / "settings.json")
    given = [str(tmp_path / "settings.json") if option == "file" else option for option in options]
    run("fit", "bundle", shop / "first.parquet", *given)
    assert [config.effort for config in configs] == [effort]


def test_a_refresh_takes_no_effort(bundle: Path, shop: Path, run: Run) -> None:
    code, _, err = run("fit", bundle, shop / "first.parquet", "--refresh", "--effort", "fast")
    assert code == 2
    assert "--refresh trains as the published model was trained: leave --effort out" in err


def test_fit_shows_what_was_learned_and_draws_its_losses(bundle: Path, shop: Path, run: Run, tmp_path: Path) -> None:
    given = ("fit", bundle, shop / "first.parquet", "--config", shop / "settings.json")
    code, out, err = run(*given, "--loss-curve", tmp_path / "losses.html")
    assert (code, err) == (0, "")  # nothing of progress where nobody looks at a terminal
    manifest = Bundle.open(bundle).manifest
    losses = manifest.learned["training"]["behaviour"]["train"]
    assert len(losses) == 3
    row = next(line for line in out.splitlines() if "behaviour" in line)
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "behaviour",
        "3",
        f"{losses[0]:.3f} → {losses[2]:.3f}",
        f"{manifest.learned['measured']['ndcg@10']['behaviour']:.4f}",
    ]
    assert "Published generation" in out
    assert manifest.generation in out
    drawn = (tmp_path / "losses.html").read_text()
    assert ">behaviour<" in drawn
    assert ">learned from<" in drawn
    assert run("info", bundle, "--loss-curve", tmp_path / "again.html")[0] == 0
    assert ">behaviour<" in (tmp_path / "again.html").read_text()


def test_a_refresh_takes_its_settings_from_what_is_in_force(bundle: Path, shop: Path, run: Run, tmp_path: Path) -> None:
    settings = ("--config", shop / "settings.json")
    first = run("fit", bundle, shop / "first.parquet", *settings, "--json")[1]
    code, out, _ = run(
        "fit", bundle, shop / "all.parquet", "--refresh", "--checkpoint-dir", tmp_path / "work", "--json"
    )
    report = json.loads(out)
    assert (code, report["refused"], report["published"]) == (0, "", ["behaviour"])
    assert report["serving"] == json.loads(first)["serving"]
    assert len(report["training"]["behaviour"]["train"]) == 1
    assert len(list((tmp_path / "work").glob("next-items-*.safetensors"))) == 2
    code, _, err = run("fit", bundle, shop / "all.parquet", "--refresh", "--split", "time")
    assert code == 2
    assert "--split does not go with --refresh" in err


def test_explanations_are_there_for_people_and_programs(bundle: Path, shop: Path, run: Run) -> None:
    run("fit", bundle, shop / "first.parquet", "--config", shop / "settings.json")
    given = ("recommend", bundle, "--history", "i024,i025,i080", "-k", 4)
    code, out, _ = run(*given, "--explain", "--json")
    assert code == 0
    hits = json_lines(out)
    plain = json_lines(run(*given, "--json")[1])
    assert [{name: hit[name] for name in hit if name != "why"} for hit in hits] == plain
    retriever = Retriever.load(bundle)
    found = retriever.rerank(retriever.recommend([["i024", "i025", "i080"]], 200), 4)
    for hit, explanation in zip(hits, retriever.explain(found)[0], strict=True):
        why = hit["why"]
        assert why["content"] + why["behaviour"] + why["popularity"] == pytest.approx(why["score"], abs=1e-5)
        assert [(one["item_id"], one["effect"]) for one in why["history"]] == list(explanation.history)
        assert why["modalities"] == {"text": 1.0}
        assert why["stages"] == dict(explanation.stages)
    code, out, _ = run(*given, "--explain")
    assert code == 0
    assert "because of" in out
    assert "100% text" in " ".join(out.split())
    code, _, err = run(*given, "--explain", "--out", "x.parquet")
    assert code == 2
    assert "leave out --out and --users" in err


def test_users_of_a_log_are_explained_by_how_they_liked_what_they_took(bundle: Path, shop: Path, run: Run) -> None:
    rated = pq.read_table(shop / "first.parquet")
    ratings = pa.array([1.0 + 2 * (row % 3) for row in range(len(rated))])
    pq.write_table(
        rated.set_column(rated.schema.get_field_index("weight"), "weight", ratings), bundle / "../rated.parquet"
    )
    run("fit", bundle, bundle / "../rated.parquet", "--config", shop / "settings.json")
    user = f"u{CLOCK + 3}"
    given = ("--interactions", bundle / "../rated.parquet", "--user", user, "-k", 3)
    code, out, err = run("recommend", bundle, *given, "--explain", "--json")
    assert (code, err) == (0, "")
    hits, retriever = json_lines(out), Retriever.load(bundle)
    assert {hit["query_id"] for hit in hits} == {user}
    (past,) = (
        one for one in histories(Interactions.open(bundle / "../rated.parquet"), retriever.items) if one.user_id == user
    )
    asked, weights = [[retriever.items[row] for row in past.rows]], [past.weights.tolist()]
    found = retriever.rerank(retriever.recommend(asked, 200, weights=weights), 3)
    for hit, explanation in zip(hits, retriever.explain(found, weights=weights)[0], strict=True):
        assert hit["item_id"] == explanation.item_id
        assert [one["effect"] for one in hit["why"]["history"]] == [effect for _, effect in explanation.history]
    assert retriever.explain(found)[0][0].history == retriever.explain(found, weights=weights)[0][0].history
    alike = retriever.explain(found, weights=[[5.0] * 7 + [1.0]])[0][0].history
    assert alike != retriever.explain(found, weights=weights)[0][0].history


def test_each_part_that_is_learned_is_shown_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(
        "indexing.runtime.progress.Console", lambda **_: Console(file=screen, force_terminal=True, width=100)
    )
    with fit_progress() as tell:
        for step in (
            Step("adapter", TRAIN, 4, 9, 1, 5),
            Step("serving", TRAIN, 7, 0, 2, 5),
            Step("behaviour", EVERYTHING, 2, 3, 4, 5),
        ):
            tell(step)
    last = screen.getvalue()[-900:]
    assert "1/5 adapter (train part)" in last
    assert "4/4" in last  # it was stopped early: what it made is all there was
    assert "7/7" in last
    assert "4/5 behaviour (all interactions)" in last
    assert "2/3" in last


def test_losses_that_are_not_there_cannot_be_drawn(bundle: Path, run: Run, tmp_path: Path) -> None:
    code, _, err = run("info", bundle, "--loss-curve", tmp_path / "losses.html")
    assert code == 1
    assert "was learned in passes; there are no losses to draw" in err
    code, _, err = run("fit", bundle, "sample", "--loss-curve", tmp_path / "losses.pdf")
    assert code == 2
    assert "cannot be written as 'losses.pdf'" in err
    held = {"adapter": {"train": [3.0, 2.0], "valid": [3.5, 2.5, 2.6], "best": 1}, "reranker": {"head": "trees"}}
    write_losses(held, tmp_path / "losses.html", "shop")
    drawn = (tmp_path / "losses.html").read_text()
    for shown in ("<bdi>adapter</bdi>: loss", "<title>learned from</title>", "<title>held out</title>"):
        assert shown in drawn
    assert "reranker" not in drawn


def test_a_fit_ends_in_a_sentence_and_a_refused_one_in_another_with_exit_code_3(
    bundle: Path, shop: Path, run: Run
) -> None:
    given = ("fit", bundle, shop / "first.parquet", "--config", shop / "settings.json")
    code, out, _ = run(*given)
    text = " ".join(out.split())
    assert code == 0
    generation = Bundle.open(bundle).manifest.generation
    assert f"Published generation {generation} with behaviour. ndcg@10 on later interactions of" in text
    found = re.search(
        r"(0\.\d+) with the new parts, (0\.\d+) with the vectors of the encoder alone; "
        r"difference \+(0\.\d+) \[(.\d\.\d+), (.\d\.\d+)\]",
        text,
    )
    assert found is not None
    after, before, difference, low, high = map(float, found.groups())
    assert difference == pytest.approx(after - before, abs=1.1e-4)  # each rounded to four digits
    assert low < difference < high
    assert re.search(r"log: interactions . \d+ kept of \d+", text)
    assert "half-life of a history" in text
    code, out, _ = run(*given)
    text = " ".join(out.split())
    assert code == 3
    assert f"Nothing was published: the same parts are published already, bit for bit. Generation {generation}" in text
    code, out, _ = run(*given, "--json")
    report = json.loads(out)
    assert (code, report["published"], report["current"]) == (3, [], ["behaviour"])
    assert report["refused"]
    assert report["summary"].startswith("Nothing was published: ")


def test_a_report_has_a_short_repr_and_a_table(bundle: Path, shop: Path) -> None:
    report = fit(bundle, Interactions.open(shop / "first.parquet"), SMALL)
    assert repr(report).startswith(f"<FitReport Published generation {report.generation} with behaviour.")
    assert len(repr(report)) < 300
    table = report.to_arrow().to_pydict()
    assert table["part"] == ["frozen", "behaviour"]
    assert table["published"] == [False, True]
    assert table["ndcg@10"] == list(report.ndcg.values())
    refused = fit(bundle, Interactions.open(shop / "first.parquet"), SMALL)
    assert (refused.published, refused.current) == ((), ("behaviour",))
    assert repr(refused).startswith("<FitReport Nothing was published:")
