"""The README is short, and its table is that of the results; its example runs in `test_whole_sample.py`."""

import re

import pytest

from scripts.benchmarks.readme_table import PAGES, RESULTS, updated
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()
LONGEST = 150


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
