"""Diversified, capped and ruled on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.encoders import base
from retrieval import Retriever
from retrieval.postprocess.rules import Rules
from tests.cli_run import Run, json_lines, runner
from tests.toy import ToyEncoder


@pytest.fixture(autouse=True)
def toy_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(spec: str, *, precision: str = "auto", bridge: bytes | None = None, **_: object) -> base.Encoder:
        assert (spec, precision, bridge) in (("pocket", "auto", None), ("toy", "float32", None), ("toy", "auto", None))
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
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.json"
    given = [
        {"rule": "exclude", "where": "tags contains mug", "name": "no [mugs]"},
        {"rule": "pin", "item_ids": ["white-book"], "at": 2},
    ]
    path.write_text(json.dumps(given))
    return path


def hits(out: str) -> list[str]:
    return [hit["item_id"] for hit in json_lines(out)]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Any], Path]:
    """Write a file for `--postprocess`."""

    def call(settings: Any) -> Path:  # noqa: ANN401 - any JSON value
        path = tmp_path / "postprocess.json"
        path.write_text(settings if isinstance(settings, str) else json.dumps(settings))
        return path

    return call


def test_every_command_diversifies(bundle: Path, tmp_path: Path, run: Run, write: Callable[[Any], Path]) -> None:
    def by(**diversify: Any) -> tuple[str, Path]:  # noqa: ANN401 - any JSON value
        return "--postprocess", write({"diversify": diversify})

    for command in (("search", bundle, "red shoe"), ("similar", bundle, "red-shoe")):
        plain = hits(run(*command, "-k", 5, "--json")[1])
        assert hits(run(*command, "-k", 5, "--json", "--diversify", 0)[1]) == plain
        capped = hits(run(*command, "-k", 5, "--json", *by(method="caps", caps={"tags": 1}))[1])
        assert len({item.split("-")[0] for item in capped[:4]}) == 4
        varied = hits(run(*command, "-k", 4, "--json", "--diversify", 0.95)[1])
        assert varied != plain[:4]
        assert varied == hits(run(*command, "-k", 4, "--json", *by(strength=0.95))[1])
        paged = hits(run(*command, "-k", 4, "--json", *by(strength=0.95, page=4))[1])
        assert sorted(paged) == sorted(varied)
        code, varied_json, said = run(*command, "-k", 4, "--json", *by(method="caps", max_similarity=0.5))
        assert (code, said) == (0, "")
        assert hits(varied_json) != plain[:4]
        code, by_former_key, said = run(*command, "-k", 4, "--json", *by(method="caps", apart=0.5))
        assert (code, by_former_key) == (0, varied_json)
        assert said == "note: diversify.apart is called max_similarity now; the next version takes the new name alone\n"
    log, lists = tmp_path / "log.parquet", tmp_path / "lists.parquet"
    pq.write_table(pa.table({"user_id": ["u", "u"], "item_id": ["red-mug", "blue-mug"], "timestamp": [1, 2]}), log)
    calibrated = by(method="calibrated", attribute="tags", strength=0.9, sharpness=2)
    code, out, _ = run("recommend", bundle, "--interactions", log, "-k", 4, *calibrated, "--json")
    assert (code, len(hits(out))) == (0, 4)
    assert {hit["stage"] for hit in json_lines(out)} == {"diversify"}
    assert run("recommend", bundle, "--interactions", log, "-k", 18, "--no-rerank", "--out", lists)[0] == 0
    capped_by = by(method="caps", caps={"tags": 1})
    code, again, _ = run("rerank", bundle, lists, "--interactions", log, "-k", 4, *capped_by, "--json")
    assert code == 0
    assert len({item.split("-")[1] for item in hits(again)[:3]}) == 3


def test_commands_show_a_group_once(bundle: Path, tmp_path: Path, run: Run, write: Callable[[Any], Path]) -> None:
    retriever = Retriever.load(bundle)
    expected = retriever.search_texts(["red shoe"], 3, group_by="price")
    path = write({"collapse": {"group_by": "price"}})
    for options in (("--group-by", "price"), ("--postprocess", path)):
        code, out, _ = run("search", bundle, "red shoe", "-k", 3, *options, "--json")
        assert (code, hits(out)) == (0, [hit.item_id for hit in expected[0]])
        assert all(isinstance(hit["folded"], list) for hit in json_lines(out))
    code, out, _ = run("similar", bundle, "red-shoe", "-k", 3, "--group-by", "price")
    assert (code, "folded" in out) == (0, True)
    code, out, _ = run("recommend", bundle, "--history", "red-shoe", "-k", 3, "--collapse-duplicates", "--json")
    assert (code, [hit["folded"] for hit in json_lines(out)]) == (0, [[], [], []])  # no two things are alike
    users = tmp_path / "users.parquet"
    pq.write_table(pa.table({"user_id": ["u"], "history": [["red-shoe"]]}), users)
    job = tmp_path / "job.parquet"
    assert run("recommend", bundle, "--users", users, "-k", 3, "--group-by", "price", "--out", job)[0] == 0
    again = retriever.recommend([["red-shoe"]], 3, group_by="price")
    assert pq.read_table(job)["item_id"].to_pylist() == [hit.item_id for hit in again[0]]
    assert pq.read_table(job)["folded"].type == pa.list_(pa.string())
    code, _, error = run("search", bundle, "red", "--group-by", "price", "--postprocess", path)
    assert (code, "has 'collapse', too; leave out --group-by" in error) == (2, True)
    code, _, error = run("search", bundle, "red", "--postprocess", write({"collapse": {"min_similarity": 0}}))
    assert (code, "collapse.min_similarity is 0; give a cosine above 0" in error) == (1, True)


def test_a_file_of_settings_does_what_the_python_calls_do(bundle: Path, run: Run, write: Callable[[Any], Path]) -> None:
    diversify: dict[str, Any] = {"method": "msd", "strength": 0.6, "sharpness": 2, "caps": {"tags": 2}, "page": 2}
    rules = [{"rule": "exclude", "where": "tags contains mug"}, {"rule": "pin", "item_ids": ["white-book"], "at": 2}]
    path = write({"diversify": diversify, "rules": rules})
    retriever = Retriever.load(bundle)
    history = retriever.recommend([["red-mug", "red-shoe"]], 12)
    for command, found in (
        (("search", "red shoe"), retriever.search_texts(["red shoe"], 12)),
        (("similar", "red-shoe"), retriever.similar_items(["red-shoe"], 12)),
        (("recommend", "--history", "red-mug,red-shoe"), retriever.rerank(history)),
    ):
        varied = retriever.diversify(found, **diversify)
        expected = retriever.apply_rules(varied, Rules.from_list(rules), 4)
        given = (command[0], bundle, *command[1:], "-k", 4, "--num-candidates", 12, "--postprocess", path, "--json")
        code, out, _ = run(*given)
        shown = json_lines(out)
        assert code == 0
        assert [hit["item_id"] for hit in shown] == [hit.item_id for hit in expected[0]]
        # The same functions get the same arguments, and JSON writes a float whole: not a bit may differ.
        assert [hit["score"] for hit in shown] == [hit.score for hit in expected[0]]
        assert [hit["rules"] for hit in shown] == [list(names) for names in expected.rules_of(0)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diversfy": {}}, "the file has the unknown key 'diversfy'; the keys are ['diversify', 'rules', 'collapse']"),
        ({"diversify": 0.3}, "diversify holds 0.3; give an object with some of the keys ['method', 'strength',"),
        (
            {"diversify": {"strenght": 1}},
            "diversify has the unknown key 'strenght'; the keys are ['method',",
        ),
        ({"diversify": {"method": "xquad"}}, "diversify.method is \"xquad\"; give one of ['mmr', 'msd',"),
        (
            {"diversify": {"strength": "0.3"}},
            'diversify.strength is "0.3"; give a number from 0, relevance alone,',
        ),
        ({"diversify": {"strength": True}}, "diversify.strength is true; give a number from 0"),
        ({"diversify": {"strength": 1.5}}, "diversify.strength is 1.5; give a number from 0"),
        ('{"diversify": {"strength": NaN}}', "diversify.strength is NaN; give a number from 0"),
        ({"diversify": {"sharpness": 0}}, "diversify.sharpness is 0; give a number above 0"),
        ({"diversify": {"attribute": 3}}, "diversify.attribute is 3; give the name of an attribute"),
        ({"diversify": {"caps": {"tags": 0}}}, 'diversify.caps is {"tags": 0}; give an object of attributes and whole'),
        (
            {"diversify": {"caps": ["tags"]}},
            'diversify.caps is ["tags"]; give an object of attributes and whole',
        ),
        ({"diversify": {"max_similarity": 2}}, "diversify.max_similarity is 2; give a cosine from 0 to 1"),
        ({"diversify": {"page": 2.5}}, "diversify.page is 2.5; give a whole number from 1"),
        ({"diversify": {"method": "calibrated"}}, "which needs an attribute; give diversify.attribute, too"),
        ({"rules": {"rule": "pin"}}, "rules are a list, not dict"),
        ({"rules": [{"rule": "pin"}]}, "rule 1 (pin) lacks ['item_ids']"),
        ('{"diversify": {"page": 1, "page": 2}}', "the key 'page' comes 2 times in one object; give it once"),
        ("{", "cannot be read"),
        ([{"rule": "pin", "item_ids": ["red-mug"]}], "is a list, as of rules alone; give such a file with --rules"),
        ([], "is a list, as of rules alone; give such a file with --rules"),
        (0.3, "the file holds 0.3; give an object with some of the keys ['diversify', 'rules', 'collapse']"),
    ],
    ids=str,
)
def test_a_file_of_settings_is_refused_by_its_key(
    settings: Any,  # noqa: ANN401 - any JSON value
    message: str,
    bundle: Path,
    run: Run,
    write: Callable[[Any], Path],
) -> None:
    code, out, error = run("search", bundle, "red", "--postprocess", write(settings))
    assert (code, out, len(error.splitlines())) == (1, "", 1)
    assert "postprocess.json" in error
    assert message in error


def test_settings_given_for_rules_are_answered_with_the_option_for_them(
    bundle: Path, run: Run, write: Callable[[Any], Path]
) -> None:
    code, out, error = run("search", bundle, "red", "--rules", write({"diversify": {}, "rules": []}))
    assert (code, out) == (1, "")
    assert "rules are a list, and this is an object with 'diversify'; give the file with --postprocess" in error


def test_rules_are_applied_and_shown(bundle: Path, rules: Path, tmp_path: Path, run: Run) -> None:
    command = ("search", bundle, "red mug", "-k", 4, "--rules", rules)
    found = json_lines(run(*command, "--json")[1])
    assert found[1]["item_id"] == "white-book"
    assert [hit["rules"] for hit in found] == [[], ["pin white-book at 2"], [], []]
    assert len(found) == 4  # others stand in for the mugs
    assert not [hit for hit in found if "mug" in hit["item_id"]]
    _, out, _ = run(*command)
    assert "pin" in out
    assert "no [mugs]: 4 left out" in out
    out_file = tmp_path / "ruled.parquet"
    assert run(*command, "--diversify", 0.3, "--out", out_file)[0] == 0
    table = pq.read_table(out_file)
    assert table["rules"].to_pylist()[1] == ["pin white-book at 2"]
    assert set(table["stage"].to_pylist()) == {"rules"}


def test_faults_are_said_in_one_line(bundle: Path, rules: Path, run: Run, write: Callable[[Any], Path]) -> None:
    both = write({"diversify": {"strength": 0.3}, "rules": []})
    for arguments, message in (
        (("--diversify", 2), "'2' is no strength; give a number from 0 to 1"),
        (("--diversify", "mmr"), 'Methods are named in --postprocess FILE: {"diversify": {"method": "mmr"}}.'),
        (("--diversify", 0.5, "--postprocess", both), "postprocess.json has 'diversify', too; leave out --diversify"),
        (("--rules", rules, "--postprocess", both), "postprocess.json has 'rules', too; leave out --rules, or the key"),
        (("--strength", 0.5), '--strength is a key of --postprocess FILE now; write {"diversify": {"strength": 0.3}}'),
        (("--cap=tags=2",), '--cap is a key of --postprocess FILE now; write {"diversify": {"method": "caps", "caps"'),
        (("--rules", rules.parent / "gone.json"), "there is no such file"),
        (("--postprocess", rules.parent / "gone.json"), "there is no such file"),
    ):
        code, _, error = run("search", bundle, "red", *arguments)
        assert (arguments, code) == (arguments, 1 if "no such file" in message else 2)
        assert message in " ".join(error.split())
    unknown = write({"diversify": {"method": "caps", "caps": {"tag": 2}}})
    code, _, error = run("search", bundle, "red", "--postprocess", unknown)
    assert (code, "there is no attribute 'tag'" in error) == (2, True)
