"""The Python of docs/how-to/evaluation.md runs in order and prints what it should; its commands and options exist."""

import re
from pathlib import Path

import pytest
import typer.main

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from retrieval.cli import app
from retrieval.evaluation import KNOWN_MEASURES
from tests.paths import ROOT
from tests.toy import ToyEncoder, toy_file

PAGE = (ROOT / "docs" / "how-to" / "evaluation.md").read_text()


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "bundles" / "shop")
    capsys.readouterr()
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(example, "evaluation.md", "exec"), names)  # noqa: S102 - the page is ours
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "('ann', 'bob') [1.0, 0.5]"
    assert printed[1] == "Estimate(measure='recall@5', mean=0.75, low=0.5, high=1.0)"
    assert printed[2] == "too few users 6"
    assert printed[3].startswith("the one relevant item is listed at rank 2 ")
    assert printed[4:] == ["True", "['recall_at_5', 'recall_at_5_low', 'recall_at_5_high']"]
    assert (tmp_path / "report.html").read_text().count("<img") > 10


def test_commands_and_options_exist() -> None:
    group = typer.main.get_command(app)
    lines = re.findall(r"^commonspace (\w+) (.*)$", PAGE, re.MULTILINE)
    assert len(lines) >= 7
    for name, rest in lines:
        command = group.commands[name]  # type: ignore[attr-defined]
        command = command.commands[rest.split()[0]] if hasattr(command, "commands") else command
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known


def test_every_measure_is_explained() -> None:
    assert all(f"| `{measure}` |" in PAGE for measure in KNOWN_MEASURES)
