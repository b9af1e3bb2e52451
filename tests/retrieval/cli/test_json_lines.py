"""`--json` of every command is JSON Lines with the types and keys of docs/reference/json.md."""

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer.main

from retrieval.cli import app
from retrieval.cli.display.terminal import Record
from retrieval.fitting.report import FitReport
from tests.cli_run import Run, runner
from tests.indexing.bundle.test_staged import staged_copy
from tests.paths import ROOT
from tests.toy import ToyEncoder, toy_file

PAGE = (ROOT / "docs" / "reference" / "json.md").read_text()
ROWS = {name: cells for name, *cells in re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \| (.*) \|$", PAGE, re.MULTILINE)}
KEYS = {
    name: (set(re.findall(r"`([^`]+)`", always)), set(re.findall(r"`([^`]+)`", more)))
    for name, (_, always, more) in ROWS.items()
}


def checked(out: str, record: str) -> list[dict[str, Any]]:
    """The objects of an output, all of one type, with the keys of the page."""
    lines = [json.loads(line) for line in out.split("\n") if line]
    always, more = KEYS[record]
    for line in lines:
        assert next(iter(line)) == "type"
        assert line["type"] == record
        keys = set(line) - {"type"}
        assert (always - keys, keys - always - more) == (set(), set()), record
    return lines


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    for module in ("retrieval.cli.commands.build", "retrieval.retriever.loaded_bundle"):
        monkeypatch.setattr(f"{module}.load_encoder", lambda *_, **__: ToyEncoder())
    return runner(capsys)


def test_the_page_has_every_type_and_every_command() -> None:
    assert set(ROWS) == set(get_args(Record))
    named = {command for commands, *_ in ROWS.values() for command in re.findall(r"`([a-z][a-z -]*)`", commands)}
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    expected = {name for name in commands if not hasattr(commands[name], "commands")} - {"completion", "serve", "mcp"}
    expected |= {f"{group} {name}" for group in ("encoders", "events") for name in commands[group].commands}
    assert named == expected


def test_the_report_of_a_fit_has_the_keys_of_the_page() -> None:
    always, more = KEYS["fit"]
    assert {field.name for field in fields(FitReport)} | {"summary"} <= always | more


def test_each_command_prints_lines_of_its_type(tmp_path: Path, run: Run) -> None:
    source, bundle = toy_file(tmp_path), tmp_path / "bundle"

    def printed(record: str, *arguments: object) -> list[dict[str, Any]]:
        code, out, err = run(*arguments, "--json")
        assert code == 0, (arguments, err)
        return checked(out, record)

    assert len(printed("bundle", "build", source, "--out", bundle)) == 1
    hits = printed("hit", "search", bundle, "red shoe", "blue lamp", "-k", 2)
    assert [(hit["query_id"], hit["rank"]) for hit in hits] == [
        ("red shoe", 1), ("red shoe", 2), ("blue lamp", 1), ("blue lamp", 2)
    ]  # fmt: skip
    assert len(printed("hit", "similar", bundle, "red-mug", "-k", 3)) == 3
    assert len(printed("hit", "recommend", bundle, "--history", "red-mug", "-k", 3)) == 3
    assert printed("hit", "search", bundle, "red", "--where", "price > 99999") == []  # no hit, no line
    (written,) = printed("written", "search", bundle, "red", "-k", 2, "--out", tmp_path / "found.csv")
    assert (written["queries"], written["empty"]) == (1, 0)
    (report,) = printed("inspection", "inspect", source)
    assert report["rows"] > 0
    printed("bundle", "info", bundle)
    printed("diagnosis", "doctor", bundle)
    (verified,) = printed("verification", "verify", bundle)
    assert verified["problems"] == []
    printed("export", "export", bundle, "--format", "faiss", "--out", tmp_path / "faiss")
    printed("push", "push", bundle, tmp_path / "place")
    printed("pull", "pull", tmp_path / "place", tmp_path / "reader")
    assert len(printed("state", "states", tmp_path / "place")) == 1
    (edited,) = printed("edit", "delete", bundle, "red-mug")
    assert edited["removed"] == 1
    printed("generation", "compact", bundle)
    printed("generation", "rollback", bundle)
    staged = staged_copy(bundle)
    (published,) = printed("generation", "publish", bundle)
    assert (published["generation"], published["kept"][-1]) == (staged, staged)
    printed("repair", "repair", bundle)
    assert {"name": "pocket", "type": "encoder"} in printed("encoder", "encoders", "list")
    pq.write_table(
        pa.table({"query_id": ["0"], "item_id": ["red-shoe"], "history": [["blue-mug"]]}), tmp_path / "c.parquet"
    )
    log = pa.table(
        {
            "user_id": ["a", "a", "b", "b"],
            "item_id": ["red-shoe", "red-book", "red-book", "red-shoe"],
            "timestamp": [1, 2, 3, 4],
        }
    )
    pq.write_table(log, tmp_path / "log.parquet")
    (table,) = printed("neighbours", "similar", bundle, "--all", "-k", 2, "--out", tmp_path / "near.parquet")
    assert (table["items"], table["neighbours"]) == (19, 38)  # the red mug was deleted
    given = ("users-for", bundle, "blue-mug", "--interactions", tmp_path / "log.parquet")
    assert sorted(user["user_id"] for user in printed("user", *given)) == ["a", "b"]
    (prepared,) = printed("preparation", "prepare", tmp_path / "log.parquet", tmp_path / "clean.parquet")
    assert prepared["report"]["kept"] == 4
    (job,) = printed(
        "job", "recommend", bundle, "--interactions", tmp_path / "log.parquet", "--out", tmp_path / "answers"
    )
    assert job["users"] == 2
    saved = []
    for name in ("a.json", "b.json"):
        printed(
            "evaluation",
            "evaluate",
            bundle,
            tmp_path / "log.parquet",
            "--hold-out",
            0.5,
            "--no-baselines",
            "--save",
            tmp_path / name,
        )
        saved.append(tmp_path / name)
    printed("comparison", "compare", *saved)
