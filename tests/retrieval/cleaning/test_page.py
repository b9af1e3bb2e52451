"""The Python of docs/how-to/preparation.md runs and prints what it should, and its command has these options."""

import re

import pytest
import typer
from typer.testing import CliRunner

from retrieval.cli import app
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "preparation.md").read_text()


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "preparation.md", "exec"), {})  # noqa: S102 - the page is ours
    assert capsys.readouterr().out.splitlines() == [
        "3 kept of 4 - 1 of 1 users on 1 items, as ann mug",
        "[5.0, 1.0, 5.0]",
        "[2.51, 0.5, 5.0]",
    ]


def test_the_command_has_its_options() -> None:
    (line,) = re.findall(r"^ {4}(commonspace .*)$", PAGE, re.MULTILINE)
    command = typer.main.get_command(app).commands[line.split()[1]]  # type: ignore[attr-defined]
    there = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"--[a-z-]+", line)) <= there
    assert CliRunner().invoke(app, [line.split()[1], "--help"]).exit_code == 0
