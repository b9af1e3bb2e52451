"""The file of docs/how-to/scenarios.md is one, and its commands have the options that it names."""

import json
import re

import pytest

from retrieval.serving.scenarios import Scenarios
from retrieval.serving.scenarios.scenarios import ScenarioSettings
from tests.cli_run import runner
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "scenarios.md").read_text()


def test_the_file_is_read() -> None:
    first, second = (Scenarios.of(json.loads(text)) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL))
    assert list(first.settings) == ["plain", "varied", "food", "without_head", "frozen"]
    assert {first.of_user(f"u{number}") for number in range(50)} == {"plain", "varied"}
    assert [settings.version.generation is None for settings in second.settings.values()] == [True, False]


def test_settings_are_those_of_the_page() -> None:
    (named,) = re.findall(r"sets what a request leaves out: (.*?)\. What", PAGE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", named)) <= set(ScenarioSettings.model_fields)


def test_commands_have_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    for command, rest in re.findall(r"^commonspace (\w+)(.*)$", PAGE, re.MULTILINE):
        help_text = run(command, "--help")[1]
        assert all(option in help_text for option in re.findall(r"--[\w-]+", rest)), command
