"""What the command line says: in its own options, with numbers that agree, and with a way out."""

import ast
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.bundle import Bundle
from indexing.catalogue.item_ids import ItemIds
from indexing.filesystem import fsops
from retrieval.cli.display.output import counted
from tests.cli_run import Run, json_lines, toy_runner
from tests.paths import ROOT

PACKAGES = [ROOT / name for name in ("indexing", "retrieval")]

# A call or a setting as Python writes it, a parameter in backticks, or a function that is an option elsewhere.
PYTHON = re.compile(
    r"\b[A-Za-z_]+\([^)]*\w+=|\b\w+=(?:True|False|None|…|['\"{])|\bmissing_ok\b|(?<!--)\bupsert\b|\ballow_urls\b"
    r"|`(?:text|image|audio|video|item_id|columns|images)`|\b(?:Interaction|Named)Columns\b"
)
PYTHON_ALONE = {"clip_retrieval.py", "datasets.py"}  # what no command reaches


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return toy_runner(capsys, monkeypatch)


@pytest.fixture
def bundle(own_toy_bundle: Path) -> Path:
    return own_toy_bundle


def test_a_message_with_words_of_python_has_others_for_the_command_line() -> None:
    bare = []
    for path in sorted(file for package in PACKAGES for file in package.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and path.name not in PYTHON_ALONE:
                message = "".join(_text(one) for arg in node.exc.args for one in ast.walk(arg))
                bare += [f"{path.name}:{node.lineno}: {message}"] if PYTHON.search(message) else []
    assert bare == []


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["add", "{bundle}", "{items}"], "replace them with --upsert"),
        (
            ["delete", "{bundle}", "red-mugg"],
            "did you mean 'red-mug'?; check their spelling, or pass over them with --missing-ok",
        ),
        (["build", "https://example.org/x.csv", "--out", "x"], "add --allow-urls"),
        (["build", "{plain}", "--out", "x"], "--id-column"),
        (["build", "{empty}", "--out", "x"], "--text-column"),
        (["fit", "{bundle}", "{plain}"], "--user-column"),
        (["evaluate", "{bundle}", "{plain}"], "--user-column"),
        (
            ["similar", "{bundle}", "red-shoo"],
            "did you mean 'red-shoe'?; check their spelling, or put the items in with",
        ),
        (["similar", "{bundle}", "RED-SHOE"], "did you mean 'red-shoe'?"),
        (["recommend", "{bundle}", "--users", "gone.parquet", "--out", "x"], "gone.parquet: there is no such file"),
        (["recommend", "{bundle}", "--interactions", "gone.parquet"], "gone.parquet: there is no such file"),
        (["recommend", "{bundle}", "--interactions", "gone.csv"], "gone.csv: there is no such file"),
        (["recommend", "{bundle}", "--history", "red-mug", "--rules", "gone.json"], "gone.json: there is no such file"),
        (["rerank", "{bundle}", "gone.parquet"], "gone.parquet: there is no such file"),
        (["rerank", "{bundle}", "gone.parquet", "--interactions", "sample"], "gone.parquet: there is no such file"),
        (["evaluate", "{bundle}", "--queries", "gone.parquet"], "gone.parquet: there is no such file"),
        (["fit", "{bundle}", "sample", "--config", "gone.json"], "gone.json: there is no such file"),
        (["inspect", "gone"], "gone: there is no such file"),
        (["build", "gone", "--out", "x"], "gone: there is no such file"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, list) else "",
)
def test_common_mistakes_are_explained_in_options(
    arguments: list[str], expected: str, bundle: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plain.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text("item_id,price\n1,2\n")
    files = {"bundle": bundle, "items": tmp_path / "items.parquet", "plain": "plain.csv", "empty": "empty.csv"}
    code, out, err = run(*(one.format(**files) for one in arguments))
    message = err.replace("pocket is a small fall-back", "").splitlines()[-1]
    assert (code, out) == (1, "")
    assert expected in message
    assert not PYTHON.search(message.replace("did you mean", "")), message


@pytest.mark.parametrize(
    ("ids", "wanted", "meant"),
    [
        (["croissant", "cup"], "crossant", "; did you mean 'croissant'?"),
        (["Elephant", "cup"], "elephant", "; did you mean 'Elephant'?"),
        (["a", "b"], "elephant", ""),
    ],
)
def test_an_id_that_is_spelled_much_alike_is_asked_for(ids: list[str], wanted: str, meant: str) -> None:
    assert ItemIds(ids).suggestion(wanted) == meant


def test_a_deleted_item_is_not_what_was_meant() -> None:
    assert ItemIds(["croissant"]).changed((("croissant",), ())).suggestion("crossant") == ""


@pytest.mark.parametrize("name", ["found.csv", "found.CSV", "found.jsonl", "found.parquet", "found.pq", "found"])
@pytest.mark.parametrize(
    "command", [("search", "red mug"), ("similar", "red-mug"), ("recommend", "--history", "red-mug")]
)
def test_an_output_is_what_its_name_says(
    name: str, command: tuple[str, ...], bundle: Path, tmp_path: Path, run: Run
) -> None:
    out = tmp_path / "made" / name
    given = (command[0], bundle, *command[1:], "-k", 3)
    assert run(*given, "--out", out)[0] == 0
    hits = json_lines(run(*given, "--json")[1])
    read = _read(out)
    assert [hit.pop("score") for hit in read] == pytest.approx([hit.pop("score") for hit in hits])
    assert read == hits
    assert {hit["title"] for hit in hits} == {hit["item_id"].replace("-", " ") for hit in hits}
    assert out.is_dir() == (name == "found")
    assert not list(out.parent.glob("*.tmp"))


def _read(out: Path) -> list[dict[str, Any]]:
    match out.suffix.lower():
        case ".csv":
            rows = csv.DictReader(io.StringIO(out.read_text()))
            return [{**row, "rank": int(row["rank"]), "score": float(row["score"])} for row in rows]
        case ".jsonl":
            return [json.loads(line) for line in out.read_text().splitlines()]
        case _:
            return list(pq.read_table(out).to_pylist())


@pytest.mark.parametrize("name", ["users.csv", "users.jsonl", "users.parquet", "users"])
def test_jobs_write_what_the_name_says(name: str, bundle: Path, tmp_path: Path, run: Run) -> None:
    lines = pa.table({"user_id": ["a", "b", None], "history": [["red-mug"], ["blue-shoe"], ["red-mug"]]})
    pq.write_table(lines, tmp_path / "lines.parquet")
    out = tmp_path / "out" / name
    given = ("recommend", bundle, "--users", tmp_path / "lines.parquet", "-k", 2, "--no-rerank", "--chunk-size", 1)
    assert run(*given, "--out", out)[0] == 0
    if name.endswith(".csv"):
        found = list(csv.DictReader(io.StringIO(out.read_text())))
        assert (out.parent / "users.quarantine.csv").read_text().splitlines()[1:] == ['2,,"no user_id"']
    elif name.endswith(".jsonl"):
        found = [json.loads(line) for line in out.read_text().splitlines()]
    else:
        found = pq.read_table(out).to_pylist()
    assert [hit["query_id"] for hit in found] == ["a", "a", "b", "b"]
    assert all(hit["title"] == hit["item_id"].replace("-", " ") for hit in found)
    assert out.is_dir() == (name == "users")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["search", "{bundle}", "x", "--out", "x.txt"], ".parquet, .csv or .jsonl for a file, or without an ending"),
        (
            ["recommend", "{bundle}", "--history", "red-mug", "--out", "x.tsv"],
            "x.tsv ends in '.tsv', which is not written",
        ),
        (["similar", "{bundle}", "red-mug", "--out", "{bundle}.xlsx"], "which is not written"),
        (["build", "{items}", "--out", "x.csv"], "x.csv is to be a folder; name it without '.csv'"),
        (["export", "{bundle}", "--format", "faiss", "--out", "x.parquet"], "x.parquet is to be a folder"),
        (["search", "{bundle}", "x", "--out", "bundle"], "is a folder that holds"),
        (["search", "{bundle}", "x", "--image", "y.png"], "give either texts or --image or --audio"),
    ],
)
def test_another_output_is_refused(
    arguments: list[str], expected: str, bundle: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = run(*(one.format(bundle=bundle, items=tmp_path / "items.parquet") for one in arguments))
    assert expected in err
    assert code == (1 if "holds" in expected else 2)
    assert sorted(tmp_path.rglob("*")) == before


def test_rejected_rows_are_reported_with_reasons_and_examples(tmp_path: Path, run: Run) -> None:
    path, again = tmp_path / "goods.csv", tmp_path / "more.csv"
    path.write_text("item_id,title\na,mug\na,cup\n")
    _, out, _ = run("build", path, "--out", tmp_path / "b")
    assert "1 (1 row rejected)" in out
    assert "1 duplicate item_id" in out
    assert "row 1, 'a': duplicate item_id: first in row 0" in out
    assert "1 row rejected" in run("info", tmp_path / "b")[1]
    again.write_text("item_id,title\nc,jug\n" + "".join(f"c,cup {n}\n" for n in range(5)))
    _, out, _ = run("add", tmp_path / "b", again)
    assert "5 duplicate item_id" in out
    assert [f"row {row}, 'c'" in out for row in range(6)] == [False, True, True, True, False, False]


@pytest.mark.parametrize(
    ("count", "thing", "words"),
    [(1, "row", "1 row"), (0, "row", "0 rows"), (1000, "query", "1,000 queries"), (2, "batch", "2 batches")],
)
def test_numbers_agree_with_what_they_count(count: int, thing: str, words: str) -> None:
    assert counted(count, thing) == words


def test_info_names_the_generations_to_go_back_to(bundle: Path, run: Run) -> None:
    assert "rollback" not in run("info", bundle)[1]
    first = json.loads(run("info", bundle, "--json")[1])["kept"]
    assert run("delete", bundle, "red-mug")[0] == run("compact", bundle)[0] == 0
    kept = json.loads(run("info", bundle, "--json")[1])["kept"]
    assert kept[:1] == first
    assert len(kept) == 2
    out = run("info", bundle)[1]
    assert f"{', '.join(kept)}; `commonspace rollback {bundle} --to NAME` makes one current" in out
    assert run("rollback", bundle, "--to", first[0])[0] == 0


def test_a_bundle_that_is_being_built_is_distinguished_from_none(tmp_path: Path, run: Run) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "begun" / "work-0123456789abcdef").mkdir(parents=True)
    for command in (("search", "x"), ("info",), ("rollback",), ("verify",)):
        assert "none holds no bundle; make one with" in run(command[0], tmp_path / "none", *command[1:])[2]
        err = run(command[0], tmp_path / "begun", *command[1:])[2]
        assert "begun holds no bundle yet: a build is under way or was stopped" in err


def test_nothing_to_repair_is_said_without_an_empty_box(bundle: Path, run: Run) -> None:
    code, out, _ = run("repair", bundle)
    assert code == 0
    assert out.splitlines() == [f"{bundle}: nothing had to be repaired, every byte is as it was written"]


def test_repair_names_damage_first_and_says_in_the_end_what_it_cannot_mend(bundle: Path, run: Run) -> None:
    folder = Bundle.open(bundle).folder
    (shard,) = (folder / "store").iterdir()
    content = shard.read_bytes()
    damage(shard)
    code, out, _ = run("repair", bundle)
    lines = out.splitlines()
    assert (code, f"store/{shard.name}" in lines[0]) == (1, True)
    assert lines[-1].startswith(f"{bundle}: it is still damaged: repair cannot mend 1 of what is named above; do what")
    assert "put it back from a copy, or build (and fit) again" in " ".join(out.split())
    assert "nothing had to be repaired" not in out
    assert "try `commonspace repair`" not in out
    shard.write_bytes(content)
    damage(folder / "index.bin")
    code, out, _ = run("repair", bundle)  # of the generation that is kept
    lines = out.splitlines()
    assert (code, "index.bin" in lines[0], "built again" in out) == (0, True, True)
    assert lines[-1] == f"{bundle}: the current state is whole; 1 of what is kept beside it is damaged, as named above"


def damage(path: Path) -> None:
    content = path.read_bytes()
    fsops.remove(path)  # it may be a link
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


@pytest.mark.parametrize("command", ["search", "similar"])
def test_a_dash_reads_standard_input(command: str, bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("red-mug\n\n  blue-shoe \n"))
    hits = json_lines(run(command, bundle, "-", "-k", 1, "--json")[1])
    assert [hit["query_id"] for hit in hits] == ["red-mug", "blue-shoe"]
    monkeypatch.setattr("sys.stdin", io.StringIO(" \n"))
    code, _, err = run(command, bundle, "-")
    assert (code, "standard input is empty" in err) == (2, True)


def test_version_and_exit_codes_are_reported(run: Run) -> None:
    code, out, _ = run("--version")
    assert (code, bool(re.fullmatch(r"commonspace \d+\.\d+\.\d+\S*\n", out))) == (0, True)
    help_text = " ".join(run("--help")[1].split())
    for words in ("0 done", "1 the input or the bundle is at fault", "2 wrong usage", "70 a fault", "130 interrupted"):
        assert words in help_text


def test_explanations_are_read_at_80_columns(bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    given = ("recommend", bundle, "--history", "red-mug,blue-lamp", "-k", 3, "--no-rerank", "--explain")
    code, out, _ = run(*given)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    why = json_lines(run(*given, "--json")[1])[0]["why"]["history"]
    assert why[0]["title"] == why[0]["item_id"].replace("-", " ")
    assert f"because of {why[0]['title']} ({why[0]['item_id']}) {why[0]['effect']:+.2f}" in " ".join(
        re.sub("[│┃]", " ", out).split()
    )


def test_warnings_are_printed_as_notes_each_once(bundle: Path, run: Run, recwarn: pytest.WarningsRecorder) -> None:
    where = ("--where", "tags contains rde")
    for command in (("search", "mug"), ("similar", "red-mug"), ("recommend", "--history", "red-mug")):
        code, _, err = run(command[0], bundle, *command[1:], *where)
        assert code == 0
        notes = [line for line in err.splitlines() if "rde" in line]
        assert len(notes) == 1, err
        assert notes[0].startswith("note: no item has 'rde' in 'tags', so")
        assert "red" in notes[0].partition(";")[2]
    # Without a log nothing is known of new users.
    _, _, err = run("recommend", bundle, "--history", "", "--history", " ")
    assert [line.partition(",")[0] for line in err.splitlines()] == ["note: 2 of 2 users have an empty history"]
    assert not recwarn.list
