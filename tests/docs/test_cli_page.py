"""The commands of docs/reference/cli.md, run one after the other as a new user would, on a part of the sample."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from retrieval import cli
from tests.cli_run import Run, runner
from tests.paths import ROOT
from tests.tiny_models import tiny_cross_encoder

PAGE = (ROOT / "docs" / "reference" / "cli.md").read_text()
COMMANDS = re.findall(r"^ {4}commonspace (.*)$", PAGE, re.MULTILINE)
HUB = "cross-encoder/ms-marco-MiniLM-L6-v2"


@pytest.fixture
def at_home(tmp_path: Path, smaller_sample: Path) -> Path:
    """A folder with the files that the page names as one's own."""
    shutil.copy(smaller_sample, "items.parquet")
    Path("rules.json").write_text(json.dumps([{"rule": "pin", "item_ids": ["elephant"]}]))
    Path("new.jsonl").write_text('{"item_id": "teapot-new", "title": "a blue teapot"}\n')
    Path("categories.csv").write_text("item_id,category\nelephant,animals\n")
    tiny_cross_encoder(tmp_path / HUB)
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.mark.slow
def test_each_command_runs_and_leaves_what_it_names(at_home: Path, run: Run) -> None:
    assert len(COMMANDS) >= 20
    for command in COMMANDS:
        code, _, error = run(*shlex.split(command))
        assert code == 0, f"commonspace {command}\n{error}"
        for option in re.findall(r"--(?:out|html|save|recall-curve) (\S+)", command):
            assert (at_home / option).exists(), command
    code, out, _ = run("compare", "before.json", "after.json", "--json")
    assert code == 0
    assert out.startswith("{")


def test_options_exist() -> None:
    for command in COMMANDS:
        words = command.split()
        known = typer.main.get_command(cli.app).commands[words[0]]  # type: ignore[attr-defined]
        named = words[:2] if hasattr(known, "commands") else words[:1]
        shown = CliRunner().invoke(cli.app, [*named, "--help"], env={"COLUMNS": "200"})
        for option in re.findall(r"--[a-z-]+", command):
            assert option.replace("--no-", "--") in shown.output, command


def test_the_table_of_groups_is_that_of_the_help() -> None:
    rows = re.findall(r"^\| ([A-Z]\w+) \| (.*) \|$", PAGE, re.MULTILINE)
    table = {group: re.findall(r"`([\w-]+)`", names) for group, names in rows}
    shown: dict[str, list[str]] = {}
    for name, command in typer.main.get_command(cli.app).commands.items():  # type: ignore[attr-defined]
        shown.setdefault(command.rich_help_panel, []).append(name)
    assert table == shown


def test_exit_codes_are_those_of_the_program() -> None:
    table = dict(re.findall(r"^\| (\d+) \| ([^|]+) \|$", PAGE, re.MULTILINE))
    assert set(table) == {"0", "1", "2", "3", "70", "130", "141"}
    assert [str(code) for code in (cli.BAD_INPUT, cli.WRONG_USAGE, cli.INTERNAL, cli.INTERRUPTED, cli.READER_GONE)] == [
        code for code in table if code not in "03"
    ]
