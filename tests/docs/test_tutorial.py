"""Every step of docs/tutorials/first_bundle.md, in order, on a part of the shipped sample."""

import re
import shlex

import pyarrow.parquet as pq
import pytest

from indexing.sample import items_path
from tests.cli_run import json_lines, runner
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "tutorials" / "first_bundle.md").read_text()
COMMANDS = re.findall(r"^ {4}commonspace (.*)$", PAGE, re.MULTILINE)

OUTPUTS = re.findall(r"^ {4}commonspace ([^\n]*)\n\n```text\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE)


def test_items_that_are_shown_are_those_of_the_sample() -> None:
    items = pq.read_table(items_path(), columns=["item_id", "title"])
    titles = dict(zip(*(items[name].to_pylist() for name in items.column_names), strict=True))
    tables = [output for _, output in OUTPUTS if "┃" in output]
    rows = [row for output in tables for row in re.findall(r"│ \d +│ (\S+) +│ [\d.]+ │ (.*?) +│", output)]
    assert len(rows) == 3 * len(tables) > 0
    assert [(item_id, titles[item_id]) for item_id, _ in rows] == rows


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
    for command, output in OUTPUTS:  # what does not depend on how large the sample is: the head of a table, and words
        shown, expected = (re.sub(r"[\d.,+\[\]%-]+", "#", text) for text in (printed[command], output))
        if "┃" in output:
            assert shown.splitlines()[0] == expected.splitlines()[0], command
            columns = [re.findall(r"[a-z_]+", text.splitlines()[2]) for text in (shown, expected)]
            assert columns[0] == columns[1], command
        else:
            assert expected.splitlines()[-1] in shown.splitlines(), command
    assert "slice" in printed['search bundles/shop "a slice of fruit" -k 3']
    assert printed["search bundles/shop --image shop/pictures/elephant.webp -k 3"].count("elephant") >= 1
    left = json_lines(run("similar", "bundles/shop", "croissant", "-k", "400", "--json")[1])
    assert len(left) == pq.read_metadata(items_path()).num_rows - 2
    assert "mug" not in {hit["item_id"] for hit in left}  # it was deleted, and stays so after the rollback
