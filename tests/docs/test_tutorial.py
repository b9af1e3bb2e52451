"""Every step of docs/tutorials/first_bundle.md, in order, on a part of the shipped sample."""

import json
import re
import shlex

import pytest

from tests.cli_run import runner
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "tutorials" / "first_bundle.md").read_text()
COMMANDS = re.findall(r"^ {4}commonspace (.*)$", PAGE, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("smaller_sample")
def test_each_step_works(capsys: pytest.CaptureFixture[str]) -> None:
    (data,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(data, "first_bundle.md", "exec"), {})  # noqa: S102 - the page is ours
    run, printed = runner(capsys), dict[str, str]()
    assert len(COMMANDS) >= 15
    for command in COMMANDS:
        code, printed[command], error = run(*shlex.split(command))
        assert code == 0, f"commonspace {command}\n{error}"
    assert "slice" in printed['search bundles/shop "a slice of fruit" -k 3']
    assert printed["search bundles/shop --image shop/pictures/elephant.webp -k 3"].count("elephant") >= 1
    left = json.loads(run("similar", "bundles/shop", "croissant", "-k", "400", "--json")[1])
    assert len(left) > 300
    assert "mug" not in {hit["item_id"] for hit in left}  # it was deleted, and stays so after the rollback
