"""The Python of docs/how-to/python.md runs on a part of the sample."""

import re

import pytest

from tests.paths import ROOT

PAGE = (ROOT / "docs" / "how-to" / "python.md").read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("smaller_sample")
def test_the_flow_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "python.md", "exec"), {})  # noqa: S102 - the page is ours
    shown = capsys.readouterr().out.splitlines()
    assert "orange-slice" in shown[0]
    assert shown[1] == "20"
    assert shown[-1].endswith(" queries")
