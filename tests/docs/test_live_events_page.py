"""The Python of docs/how-to/live_events.md runs, and its commands and bodies exist."""

import json
import re
from pathlib import Path

import pytest

from retrieval.serving.schemas.events import EventIn, EventsIn
from tests.cli_run import runner
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "live_events.md").read_text()


def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "live_events.md", "exec"), {})  # noqa: S102 - the page is ours
    assert capsys.readouterr().out.splitlines() == [
        "['mug-1', 'cup-2']",
        "{'buy': 1, 'impression': 2, 'view': 1}",
    ]


def test_bodies_are_valid() -> None:
    EventIn.model_validate_json(re.findall(r"-d '(.*?)'", PAGE)[0])
    (shown,) = (text for text in re.findall(r"```json\n(.*?)\n```", PAGE) if "impressions" in text)
    assert EventsIn.model_validate(json.loads(shown)).impressions[0].item_ids == ["mug-1", "cup-2"]


def test_commands_exist(capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    commands = re.findall(r"`commonspace (events \w+)([^`]*)`", PAGE)
    assert len(commands) == 8
    for command, rest in commands:
        help_text = run(*command.split(), "--help")[1]
        for option in ["--events", *re.findall(r"--[\w-]+", rest)]:
            assert option in help_text, command
