"""`commonspace evaluate` and `compare`: what they print, what they write, and what they say when they cannot."""

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.evaluation import Evaluation, evaluate
from retrieval.evaluation.results_file import load
from tests.cli_run import Run, runner
from tests.retrieval.evaluation.shop import Shop
from tests.toy import ToyEncoder


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return Shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Path:
    rows = [
        {"user_id": f"user {user}", "item_id": item, "timestamp": 1_700_000_000 + step, "part": part}
        for user, (seen, later) in enumerate(zip(shop.histories, shop.relevant, strict=True))
        for step, (item, part) in enumerate([*((one, "past") for one in seen), *((one, "later") for one in later)])
    ]
    path = tmp_path_factory.mktemp("log") / "log.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", lambda *_, **__: ToyEncoder())
    monkeypatch.setenv("COLUMNS", "160")

    return runner(capsys)


SPLIT = ("--history-rows", "part=past", "--relevant-rows", "part=later", "--num-candidates", 20)


def test_one_run_gives_table_page_values_and_metrics(shop: Shop, log: Path, run: Run, tmp_path: Path) -> None:
    bundle, made = shop.retriever.bundle.root, tmp_path / "made"
    html, saved, metrics = made / "report.html", made / "a.json", made / "metrics.json"
    wanted = ("--html", html, "--items", shop.items, "--colour-by", "colour", "--save", saved, "--metrics-out", metrics)
    code, out, _ = run("evaluate", bundle, log, *SPLIT, *wanted)
    expected = evaluate(shop.retriever.recommend(shop.histories, 20), shop.relevant)
    assert code == 0
    for row in expected.table():
        line = next(line for line in out.splitlines() if line.startswith(f"│ {row.measure} "))
        assert re.findall(r"[\d.]+", line.replace(row.measure, "")) == [f"{value:.4f}" for value in row[1:]]
    assert f"page written to {html}" in out
    back = load(saved)
    assert back.evaluation.query_ids == tuple(f"user {n}" for n in range(10))
    for measure, values in expected.per_query.items():
        np.testing.assert_array_equal(back.evaluation.per_query[measure], values)
    assert back.about["queries"] == "10 users; 40 interactions as history, 40 to be found"
    assert back.about["split"] == "history where part=past; to be found where part=later"
    assert back.about["ordered by"] == "retrieve, lists of 20"
    assert json.loads(metrics.read_text())["recall_at_10"] == expected.means["recall@10"]
    page = html.read_text()
    assert page.count("<img") > 50
    assert f"<td class='number'><bdi>{expected.means['recall@10']:.4f}</bdi></td>" in page
    assert "coloured by colour" in page
    _, out, _ = run("evaluate", bundle, log, *SPLIT, "--json")
    report = json.loads(out)
    assert {name: report[name] for name in expected.to_json()} == expected.to_json()
    assert (report["without_history"], report["losses"]) == (0, [])
    users = {row["value"]: row["queries"] for row in report["slices"] if row["name"] == report["slices"][0]["name"]}
    assert sum(users.values()) == 10


def test_what_was_lost_and_what_is_beyond_accuracy(shop: Shop, log: Path, run: Run) -> None:
    code, out, _ = run(
        "evaluate", shop.retriever.bundle.root, log, *SPLIT, "--no-rerank", "--beyond-accuracy", "--breakdown", "--json"
    )
    report = json.loads(out)
    assert code == 0
    assert {"novelty@10", "serendipity@10", "diversity@10"} <= report["means"].keys()
    for row in report["losses"]:
        assert row["served"] == report["means"][row["measure"]]
        assert row["lost_by_index"] == 0.0  # so small a bundle is searched exactly
        assert row["lost_by_model"] == pytest.approx(row["perfect"] - row["exact"])


def test_texts_find_the_items_that_they_mean(shop: Shop, run: Run, tmp_path: Path) -> None:
    """Ranks are those of exact search; an item that is not there and a text that names another are not found."""
    texts = ["red thing10", "a blue thing11", "white thing12", "green thing13", "green thing13"]
    meant = ["red-10", "blue-11", "white-12", "green-20", "gone"]
    pq.write_table(pa.table({"text": texts, "item_id": meant}), tmp_path / "pairs.parquet")
    bundle = shop.retriever.bundle.root
    saved = tmp_path / "a.json"
    asked = ("evaluate", bundle, "--queries", tmp_path / "pairs.parquet", "--save", saved, "--num-candidates", 50)
    code, out, _ = run(*asked, "--json")
    scores = ToyEncoder().encode_texts(texts) @ shop.retriever.vectors.T
    rows = [shop.retriever.items.row(item_id) for item_id in meant]
    ranks = [np.inf if row is None else 1 + np.sum(line > line[row]) for line, row in zip(scores, rows, strict=True)]
    ranks = [rank if rank <= 50 else np.inf for rank in ranks]
    found = json.loads(out)
    assert code == 0
    assert found["median_rank"] == np.median(ranks)
    for k in (1, 5, 10):
        assert found["means"][f"recall@{k}"] == np.mean(np.array(ranks) <= k)
    assert found["means"]["recall@10"] < 1
    assert found["own_texts"] == 2  # the second has a word more, the others mean another item
    assert load(saved).evaluation.query_ids[3:] == ("green thing13", "green thing13 (2)")
    _, out, _ = run(*asked)
    assert "caution: 2 texts are those that their items were encoded with" in out
    pq.write_table(pa.table({"text": texts[3:], "item_id": ["white-1", "gone"]}), tmp_path / "pairs.parquet")
    _, out, _ = run(*asked[:4], "--num-candidates", 1)
    assert re.search(r"median rank\s+\S\s+beyond 1\b", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either a log of interactions or --queries FILE"),
        (["{log}", "--queries", "{log}"], "give either a log of interactions or --queries FILE"),
        (["--queries", "{log}"], "lacks ['text']; there are ['user_id', 'item_id', 'timestamp', 'part']"),
        (["--queries", "nowhere.parquet"], "nowhere.parquet: there is no such file"),
        (["--queries", "{holes}"], "1 rows of"),
        (["--queries", "{strange}"], "is in the bundle; are they the same ids?"),
        (["{log}", "--items", "nowhere.parquet"], "nowhere.parquet: there is no such file"),
        (["{log}", "--html", "r.html", "--colour-by", "color"], "there is no attribute 'color' to colour by"),
    ],
)
def test_mistakes_are_one_line_with_a_way_out(
    arguments: list[str], message: str, shop: Shop, log: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {"log": log, "holes": tmp_path / "holes.parquet", "strange": tmp_path / "strange.parquet"}
    pq.write_table(pa.table({"text": ["a", " "], "item_id": ["red-1", "red-2"]}), files["holes"])
    pq.write_table(pa.table({"text": ["a"], "item_id": ["x"]}), files["strange"])
    filled = [argument.format(**files) for argument in arguments]
    code, out, err = run("evaluate", shop.retriever.bundle.root, *filled)
    wrong_usage = message.startswith("give ")  # options that do not go together
    assert (code, out) == (2 if wrong_usage else 1, "")
    assert message in err
    assert len([line for line in err.strip().splitlines() if not line.startswith("note: ")]) == 1


def test_two_evaluations_are_compared(
    shop: Shop, log: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `compare` of the package finds is shown, of just what was saved."""
    given: list[Evaluation] = []

    def fake(a: Evaluation, b: Evaluation) -> Any:  # noqa: ANN401
        given.extend((a, b))
        row = SimpleNamespace(
            measure="precision@10",
            mean_a=0.25,
            mean_b=0.5,
            difference=0.25,
            low=0.1,
            high=0.4,
            p=0.00001,
            p_corrected=0.03,
        )
        return SimpleNamespace(rows=(row,), queries=10, to_json=lambda: {"rows": [vars(row)]})

    monkeypatch.setattr("retrieval.cli.commands.evaluate.compare_evaluations", fake)
    monkeypatch.chdir(tmp_path)
    bundle, a, b = shop.retriever.bundle.root, "a.json", "b[1].json"
    assert run("evaluate", bundle, log, *SPLIT, "--save", a)[0] == 0
    assert run("evaluate", bundle, log, "--hold-out", 0.5, "--save", b)[0] == 0
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run("compare", a, b, "--html", "c.html")
    assert code == 0
    assert ("p corr." in out, "…" in out) == (True, False)
    assert "A a.json, B b[1].json: 10 queries" in out
    assert re.findall(r"[\d.]+\d", out.split("precision@10")[1].splitlines()[0]) == [
        *("0.2500", "0.5000", "0.2500", "0.1000", "0.4000", "0.0001", "0.0300")
    ]
    assert [one.query_ids for one in given] == [tuple(f"user {n}" for n in range(10))] * 2
    page = (tmp_path / "c.html").read_text()
    assert "on the same 10 queries" in page
    assert "40 interactions as history" in page
    assert json.loads(run("compare", a, b, "--json")[1])["rows"][0]["p_corrected"] == 0.03
    code, _, err = run("compare", a, "nothing.json")
    assert (code, err) == (1, "commonspace: nothing.json: there is no such file\n")
