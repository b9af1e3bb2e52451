"""The example of docs/how-to/tables.md prints what the page says."""

import re

import pytest

from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "tables.md").read_text()


def test_the_example_prints_what_the_page_says(capsys: pytest.CaptureFixture[str]) -> None:
    ((example, said),) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "tables.md", "exec"), {})  # noqa: S102 - the page is ours
    assert capsys.readouterr().out == said
