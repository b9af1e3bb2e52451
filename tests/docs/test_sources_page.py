"""The Python of docs/how-to/sources.md runs in order, and its commands exist with their options."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from retrieval.cli import app
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "sources.md").read_text()


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "sources.md", "exec"), names)  # noqa: S102 - the page is ours
    shown = [line for line in capsys.readouterr().out.splitlines() if line]
    assert shown[0] == "['row-0000000', 'row-0000001']"
    assert shown[1] == "2"
    assert shown[2] == "{'item_id': ['mug', 'lamp'], 'caption': ['a red mug', 'a lamp'], 'price': [3, None]}"
    assert shown[3].startswith("{'text': 100, 'image': 100} ")


def test_commands_exist_with_their_options() -> None:
    for command, options in re.findall(r"^ {4}commonspace (\w+)(.*)$", PAGE, re.MULTILINE):
        result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"})
        assert result.exit_code == 0
        assert all(option in result.output for option in re.findall(r"--[a-z-]+", options))
