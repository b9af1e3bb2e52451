"""The Python of docs/how-to/lancedb.md runs and prints what it says."""

import re
from pathlib import Path

import pytest

from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "lancedb.md").read_text()


def test_examples_run_and_print_what_the_page_says(smaller_sample: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"items": smaller_sample}
    examples = re.findall(r"```python\n(.*?)```\n(?:\n```\n(.*?)```)?", PAGE, re.DOTALL)
    assert examples
    for example, printed in examples:
        exec(compile(example, "lancedb.md", "exec"), names)  # noqa: S102 - the page is ours
        assert capsys.readouterr().out == printed
