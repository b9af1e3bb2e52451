"""The README's example runs and prints what the README says; it is short, and its table is that of the results."""

import re
from pathlib import Path

import pytest

from retrieval import Retriever
from scripts.benchmarks.readme_table import PAGES, RESULTS, updated
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()
LONGEST = 150
LONGEST_EXAMPLE = 15


def test_the_example_prints_what_the_readme_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ((example, said),) = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", README, re.DOTALL)
    assert len(example.splitlines()) <= LONGEST_EXAMPLE
    exec(compile(example, "README.md", "exec"), {})  # noqa: S102 - the README is ours
    *searched, recommended = said.splitlines()
    *printed, answered = capsys.readouterr().out.splitlines()
    assert printed == searched
    # What is learned differs by rounding from processor to processor, so near items may change places.
    found = Retriever.load("bundles/sample").recommend([["mug", "croissant"]], k=10)
    near = {hit.item_id for hit in found[0]}
    assert set(re.findall(r"'(.+?)'", recommended)) <= near
    assert set(re.findall(r"'(.+?)'", answered)) <= near


def test_it_is_short_and_has_its_picture() -> None:
    assert len(README.splitlines()) <= LONGEST
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", README)
    assert README.index(picture) < README.index("## Install")


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"make ([a-z]+)", README))
    assert targets >= {"demo", "test"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_those_of_the_results(page: str) -> None:
    text = (ROOT / page).read_text()
    wanted = updated(text, PAGES[page](RESULTS))
    assert text == wanted, f"run python -m scripts.benchmarks.readme_table\n{wanted}"
