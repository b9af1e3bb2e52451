"""The command line on a small catalogue: what it prints, what it exits with, and what it says when it cannot."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import RECALL_CHECK
from indexing.encoders import base
from indexing.index.tuning.recall import RecallCheck
from retrieval import cli
from retrieval.retriever.retriever import Retriever
from tests.cli_run import Run, json_lines, runner
from tests.toy import COLOURS, SHAPES, ToyEncoder, picture


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(spec: str, *, precision: str = "auto", bridge: bytes | None = None, **_: object) -> base.Encoder:
        assert spec in ("pocket", "toy")
        assert precision in ("auto", "float32")
        assert bridge is None
        return ToyEncoder()

    monkeypatch.setattr("retrieval.cli.commands.build.load_encoder", load)
    monkeypatch.setattr("retrieval.retriever.loaded_bundle.load_encoder", load)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def bundle(own_toy_bundle: Path) -> Path:
    return own_toy_bundle


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Users who go through all things of one colour, then of another."""
    colours = [*COLOURS, *COLOURS]
    lists = [[f"{c}-{shape}" for c in colours[start : start + 2] for shape in SHAPES] for start in range(len(COLOURS))]
    rows = [
        {"user_id": f"u{copy}-{number}", "item_id": item, "timestamp": 1_700_000_000 + 60 * step, "weight": 1.0}
        for copy in range(8)
        for number, items in enumerate(lists)
        for step, item in enumerate(items[copy:] + items[:copy])
    ]
    path = tmp_path / "log.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_build_and_info_say_what_there_is(tmp_path: Path, bundle: Path, run: Run) -> None:
    code, out, _ = run("info", bundle, "--json")
    summary = json.loads(out)
    assert code == 0
    assert (summary["items"], summary["embeddings"]) == (20, {"text": 20, "image": 15})
    assert summary["index"]["recall"]["text"] == 1.0
    code, out, _ = run("info", bundle)
    assert code == 0
    assert "20 (0 rows rejected)" in out
    assert "nothing yet" in out


def test_search_similar_and_filters(bundle: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("search", bundle, "red shoe", "blue lamp", "-k", 2, "--json")
    hits = json_lines(out)
    assert code == 0
    assert [hit["item_id"] for hit in hits if hit["rank"] == 1] == ["red-shoe", "blue-lamp"]
    assert hits[0]["query_id"] == "red shoe"
    (tmp_path / "query.png").write_bytes(picture("green"))
    _, out, _ = run(
        "search", bundle, "--image", tmp_path / "query.png", "-k", 1, "--where", "tags contains book", "--json"
    )
    assert [hit["item_id"] for hit in json_lines(out)] == ["green-book"]
    attributes = Bundle.open(bundle).attributes.to_pylist()
    wanted = {a["item_id"] for a in attributes if {"book", "lamp"} & set(a["tags"]) and a["price"] >= 24}
    assert 0 < len(wanted) < 8
    both = ("--where", "tags contains book or tags contains lamp", "--where", "not (price < 24)")
    _, out, _ = run("search", bundle, "red shoe", "-k", 20, *both, "--json")
    assert {hit["item_id"] for hit in json_lines(out)} == wanted
    _, out, _ = run("similar", bundle, "red-mug", "-k", 3, "--json")
    assert "red-mug" not in {hit["item_id"] for hit in json_lines(out)}
    code, out, _ = run("search", bundle, "red shoe", "-k", 1)
    assert code == 0
    assert "red-shoe" in out


def test_search_composes_queries_and_explains_them(bundle: Path, run: Run) -> None:
    code, out, _ = run("search", bundle, "item:blue-shoe", "-", "blue", "+", "2:red", "-k", 1, "--explain", "--json")
    (hit,) = json_lines(out)
    assert (code, hit["item_id"], hit["query_id"]) == (0, "red-shoe", "item:blue-shoe - blue + 2:red")
    parts = hit["why"]["parts"]
    assert [(part["part"], part["weight"]) for part in parts] == [("item:blue-shoe", 1), ("'blue'", -1), ("'red'", 2)]
    assert sum(part["score"] for part in parts) == pytest.approx(hit["score"], abs=1e-5)  # float32, another order
    code, out, _ = run("search", bundle, "item:blue-shoe", "-", "blue", "-k", 1, "--explain")
    assert code == 0
    assert "-1:'blue'" in out
    code, _, err = run("search", bundle, "red", "+")
    assert code == 2
    assert "nothing follows the sign at position 5" in err


def test_fit_recommend_rerank_evaluate(bundle: Path, log: Path, tmp_path: Path, run: Run) -> None:
    code, out, _ = run("fit", bundle, log, "--hold-out", 0.2, "--json")
    report = json.loads(out)
    assert code == 0
    assert set(report["ndcg"]) == {"frozen", "behaviour", "reranker"}
    promised = RecallCheck.from_bytes(Bundle.open(bundle).read(RECALL_CHECK)).ground_truth["item"].queries
    served = Retriever.load(bundle)
    assert not served.status.degraded
    content = promised.vectors[:, : served.vectors.shape[1]]
    np.testing.assert_allclose(content, served.vectors[promised.item_rows], atol=1e-6)  # not those before learning
    code, out, _ = run("recommend", bundle, "--history", "red-mug,red-shoe", "-k", 3, "--json")
    hits = json_lines(out)
    assert len(hits) == 3
    assert not {"red-mug", "red-shoe"} & {hit["item_id"] for hit in hits}
    candidates, ranked = tmp_path / "candidates.parquet", tmp_path / "ranked.parquet"
    assert run("recommend", bundle, "--interactions", log, "-k", 9, "--no-rerank", "--out", candidates)[0] == 0
    assert run("rerank", bundle, candidates, "--interactions", log, "-k", 9, "--out", ranked)[0] == 0
    before, after = (pq.read_table(path).to_pylist() for path in (candidates, ranked))
    assert {(hit["query_id"], hit["item_id"]) for hit in before} == {(hit["query_id"], hit["item_id"]) for hit in after}
    assert {hit["stage"] for hit in after} == {"rerank" if "reranker" in report["published"] else "exact"}
    code, out, _ = run("evaluate", bundle, log, "--hold-out", 0.2, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["queries"] == 32
    assert 0 < result["means"]["recall@10"] <= 1


def test_goals_that_are_missed_are_reported(tmp_path: Path, run: Run) -> None:
    (tmp_path / "goods.csv").write_text("item_id,title\n" + "".join(f"{n},word{n} thing\n" for n in range(40)))
    goals = ("--max-index-memory", "100", "--max-latency-ms", 1e-6, "--index", "flat")
    assert run("build", tmp_path / "goods.csv", "--out", tmp_path / "b", *goals)[0] == 0
    _, out, _ = run("info", tmp_path / "b", "--json")
    index = json.loads(out)["index"]
    assert not index["target_met"]
    assert index["config"]["max_memory"] == "100"
    assert any("latency of item" in line for line in index["unmet"])
    assert any(line.startswith("memory 0.0 MB > ") for line in index["unmet"])
    _, out, _ = run("info", tmp_path / "b")
    assert "unmet" in out
    code, _, error = run("build", tmp_path / "goods.csv", "--out", tmp_path / "c", "--max-index-memory", "much")
    assert (code, "'much' is no amount of memory" in error) == (2, True)


def test_added_items_from_other_columns_are_said(tmp_path: Path, run: Run) -> None:
    (tmp_path / "goods.csv").write_text("item_id,title,kind\n1,red mug,a\n2,blue shoe,b\n")
    (tmp_path / "more.csv").write_text("item_id,name,kind,size\n3,green kite,a,4\n")
    (tmp_path / "like.csv").write_text("item_id,title,kind\n4,grey lamp,a\n")
    assert run("build", tmp_path / "goods.csv", "--out", tmp_path / "b")[0] == 0
    code, _, err = run("add", tmp_path / "b", tmp_path / "more.csv", "--json")
    assert (code, err) == (
        0,
        "texts of the bundle are those of title; here there is no title; texts are read from name; new attributes: "
        "name, size\n",
    )
    assert run("add", tmp_path / "b", tmp_path / "like.csv", "--json")[2] == ""


def test_named_columns_stand_beside_those_found_by_name(tmp_path: Path, run: Run) -> None:
    (tmp_path / "goods.csv").write_text("sku,label,title\n007,ignored,red mug\n008,ignored,blue shoe\n")
    code, _, _ = run("build", tmp_path / "goods.csv", "--out", tmp_path / "b", "--id-column", "sku")
    assert code == 0
    _, out, _ = run("search", tmp_path / "b", "blue shoe", "-k", 1, "--json")
    assert json_lines(out)[0]["item_id"] == "008"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "nowhere"], "nowhere holds no bundle; make one with"),
        (["build", "nowhere.parquet", "--out", "b"], "nowhere.parquet: there is no such file"),
        (["build", "items.xyz", "--out", "b"], "cannot tell what items.xyz is; give a .parquet, .csv or .jsonl file"),
        (["search", "{bundle}"], "give either texts or --image"),
        (
            ["search", "{bundle}", "x", "--where", "prize > 3"],
            "there is no attribute 'prize'; did you mean one of ['price']",
        ),
        (["similar", "{bundle}", "red-mugg"], "1 of 1 item ids are not in this bundle, e.g. 'red-mugg'"),
        (["recommend", "{bundle}"], "give one of --history ID,ID,…, --interactions FILE and --users FILE"),
        (["fit", "{bundle}", "nothing.csv"], "nothing.csv"),
        (
            ["evaluate", "{bundle}", "{log}", "--history-rows", "split=train"],
            "give both --history-rows and --relevant-rows",
        ),
        (
            ["build", "{items}", "--out", "b", "--text-column", "titel"],
            "has no column 'titel'; did you mean one of ['title']",
        ),
    ],
)
def test_mistakes_are_one_line_with_a_way_out(
    arguments: list[str],
    message: str,
    bundle: Path,
    log: Path,
    tmp_path: Path,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "items.xyz").write_text("")
    filled = [a.format(bundle=bundle, log=log, items=tmp_path / "items.parquet") for a in arguments]
    code, out, err = run(*filled)
    wrong_usage = message.startswith(("give ", "there is no attribute"))  # options, and what they ask for
    assert (code, out) == (2 if wrong_usage else 1, "")
    assert message in err
    assert len(err.strip().splitlines()) == (3 if "filter" in err else 1)  # a filter is shown with a mark below it


def test_wrong_usage_and_faults_have_their_own_exit_codes(
    bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("search")[0] == 2
    assert run("search", bundle, "x", "-k", 0)[0] == 2
    assert run("--help")[0] == 0

    def fail(*_: object) -> None:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("retrieval.retriever.learned_parts.fuse", fail)
    code, _, err = run("search", bundle, "x")
    assert (code, len(err.strip().splitlines())) == (70, 1)
    assert "internal error: ZeroDivisionError: a fault of ours" in err
    with pytest.raises(ZeroDivisionError):
        cli.main(["search", str(bundle), "x", "--debug"])

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("retrieval.retriever.learned_parts.fuse", interrupt)
    assert run("search", bundle, "x")[0] == 130


def test_items_are_added_deleted_and_folded_in(bundle: Path, run: Run, tmp_path: Path) -> None:
    more = tmp_path / "more.jsonl"
    more.write_text('{"item_id": "red-kite", "title": "red kite"}\n')
    code, out, _ = run("add", bundle, more, "--json")
    assert (code, json.loads(out)["added"], json.loads(out)["pending"]) == (0, 1, 1)
    code, _, err = run("add", bundle, more)
    assert code == 1
    assert "replace them with --upsert" in err
    again = json.loads(run("add", bundle, more, "--upsert", "--json")[1])
    assert (again["replaced"], again["unchanged"], again["batch"]) == (0, 1, 0)
    assert "unchanged" in run("add", bundle, more, "--upsert")[1]
    more.write_text('{"item_id": "red-kite", "title": "red kite", "price": 3}\n')
    assert json.loads(run("add", bundle, more, "--upsert", "--json")[1])["replaced"] == 1
    assert json_lines(run("search", bundle, "red kite", "-k", 1, "--json")[1])[0]["item_id"] == "red-kite"
    code, out, _ = run("delete", bundle, "red-mug", "red-shoe")
    assert "removed" in out
    assert "commonspace compact" in out
    assert json.loads(run("info", bundle, "--json")[1])["changes_since"] == {"batches": 3, "items_now": 19}
    code, _, err = run("export", bundle, "--format", "faiss", "--out", tmp_path / "faiss")
    assert code == 1
    assert "commonspace compact" in err
    before = json.loads(run("compact", bundle, "--json")[1])
    assert (before["items"], before["batches_since"], len(before["kept"])) == (19, 0, 2)
    after = json.loads(run("rollback", bundle, "--json")[1])
    assert (after["items"], after["batches_since"], after["generation"]) == (19, 3, before["kept"][0])
    assert "is damaged" not in run("verify", bundle)[1]


def test_damage_is_found_and_mended(bundle: Path, run: Run) -> None:
    (index,) = bundle.glob("gen-*/index.bin")
    index.write_bytes(b"damage")
    code, out, _ = run("verify", bundle, "--json")
    assert code == 1
    assert [problem["path"] for problem in json.loads(out)["problems"]] == [str(index.relative_to(bundle))]
    code, out, _ = run("repair", bundle)
    assert code == 0
    assert "built again" in out
    assert run("verify", bundle)[0] == 0
    assert run("search", bundle, "red mug")[0] == 0
