"""Every Python example of the README runs, and every command that it names exists."""

import re
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from retrieval.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - the README is ours
    shown = capsys.readouterr().out.splitlines()
    assert "20" in shown
    assert shown[-1].endswith(" queries")  # of an evaluation on what was kept away from learning


def test_commands_exist_with_their_options() -> None:
    commands = [line.split() for line in re.findall(r"^ {4}(commonspace .*)$", README, re.MULTILINE)]
    assert len(commands) >= 9
    for words in commands:
        command = typer.main.get_command(app).commands[words[1]]  # type: ignore[attr-defined]
        named = words[1:3] if hasattr(command, "commands") else words[1:2]
        shown = CliRunner().invoke(app, [*named, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        for option in re.findall(r"--[a-z-]+", " ".join(words)):
            assert option.replace("--no-", "--") in shown.output or option in shown.output, (words[1], option)


def test_files_that_are_named_exist() -> None:
    for target in re.findall(r"\]\(([^)h][^)]*)\)", README):
        assert (ROOT / target).exists(), target
    tree = README.split("## What is where")[1].split("## Limits")[0]
    for name in re.findall(r"[a-z_]+\.py", tree):
        assert list(ROOT.glob(f"*/{name}")), name


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"make ([a-z]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
