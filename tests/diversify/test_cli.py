"""Diversified, capped and ruled on the command line."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.encoders import base
from tests.cli_run import Run, runner
from tests.toy import ToyEncoder, toy_file


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(spec: str, *, precision: str = "auto", bridge: bytes | None = None) -> base.Encoder:
        assert (spec, precision, bridge) in (("pocket", "auto", None), ("toy", "float32", None), ("toy", "auto", None))
        return ToyEncoder()

    monkeypatch.setattr("retrieval.cli.build.load_encoder", load)
    monkeypatch.setattr("retrieval.retriever.state.load_encoder", load)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def bundle(tmp_path: Path, run: Run) -> Path:
    assert run("build", toy_file(tmp_path), "--out", tmp_path / "bundle")[0] == 0
    return tmp_path / "bundle"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    given = [
        {"rule": "exclude", "where": "tags contains mug", "name": "no [mugs]"},
        {"rule": "pin", "item_ids": ["white-book"], "at": 2},
    ]
    path.write_text(json.dumps(given))
    return path


def hits(out: str) -> list[str]:
    return [hit["item_id"] for hit in json.loads(out)]


def test_every_command_diversifies(bundle: Path, tmp_path: Path, run: Run) -> None:
    for command in (("search", bundle, "red shoe"), ("similar", bundle, "red-shoe")):
        plain = hits(run(*command, "-k", 5, "--json")[1])
        assert hits(run(*command, "-k", 5, "--json", "--diversify", "mmr", "--strength", 0)[1]) == plain
        capped = hits(run(*command, "-k", 5, "--json", "--cap", "tags=1")[1])
        assert len({item.split("-")[0] for item in capped[:4]}) == 4
        varied = hits(run(*command, "-k", 4, "--json", "--diversify", "msd", "--strength", 0.95)[1])
        assert varied != plain[:4]
        paged = hits(run(*command, "-k", 4, "--json", "--diversify", "msd", "--strength", 0.95, "--page", 4)[1])
        assert sorted(paged) == sorted(varied)
        assert paged != varied
        assert hits(run(*command, "-k", 4, "--json", "--apart", 0.5)[1]) != plain[:4]
    log, lists = tmp_path / "log.parquet", tmp_path / "lists.parquet"
    pq.write_table(pa.table({"user_id": ["u", "u"], "item_id": ["red-mug", "blue-mug"], "timestamp": [1, 2]}), log)
    told = ("--diversify", "calibrated", "--attribute", "tags", "--strength", 0.9, "--sharpness", 2, "--json")
    code, out, _ = run("recommend", bundle, "--interactions", log, "-k", 4, *told)
    assert (code, len(hits(out))) == (0, 4)
    assert {hit["stage"] for hit in json.loads(out)} == {"diversify"}
    assert run("recommend", bundle, "--interactions", log, "-k", 18, "--no-rerank", "--out", lists)[0] == 0
    code, again, _ = run("rerank", bundle, lists, "--interactions", log, "-k", 4, "--cap", "tags=1", "--json")
    assert code == 0
    assert len({item.split("-")[1] for item in hits(again)[:3]}) == 3


def test_rules_are_applied_and_shown(bundle: Path, rules: Path, tmp_path: Path, run: Run) -> None:
    command = ("search", bundle, "red mug", "-k", 4, "--rules", rules)
    found = json.loads(run(*command, "--json")[1])
    assert found[1]["item_id"] == "white-book"
    assert [hit["rules"] for hit in found] == [[], ["pin white-book at 2"], [], []]
    assert len(found) == 4  # others stand in for the mugs
    assert not [hit for hit in found if "mug" in hit["item_id"]]
    _, out, _ = run(*command)
    assert "pin" in out
    assert "no [mugs]: 4 left out" in out
    out_file = tmp_path / "ruled.parquet"
    assert run(*command, "--diversify", "mmr", "--out", out_file)[0] == 0
    table = pq.read_table(out_file)
    assert table["rules"].to_pylist()[1] == ["pin white-book at 2"]
    assert set(table["stage"].to_pylist()) == {"rules"}


def test_faults_are_said_in_one_line(bundle: Path, rules: Path, run: Run) -> None:
    for told, message in (
        (("--strength", 0.5), "--strength says how to diversify; give --diversify too"),
        (("--page", 5), "--page says how to diversify; give --diversify too"),
        (("--diversify", "mmr", "--page", 0), "Invalid value for '--page'"),
        (("--apart", 2), "by a cosine of 2.0; give a number from 0 to 1"),
        (("--diversify", "xquad"), "xquad"),
        (("--diversify", "mmr", "--strength", 2), "Invalid value for '--strength'"),
        (("--cap", "tags"), "cannot read the cap 'tags'; write it like genres=3"),
        (("--cap", "tag=2"), "there is no attribute 'tag'"),
        (("--rules", rules.parent / "gone.json"), "there is no such file"),
    ):
        code, _, error = run("search", bundle, "red", *told)
        assert (told, code) == (told, 1 if told[0] in ("--rules", "--apart") else 2)
        assert message in " ".join(error.split())
