"""The tree in docs/architecture.md has every folder of both packages, and no other."""

import re

import pytest

from tests.paths import ROOT

TREE = (ROOT / "docs" / "architecture.md").read_text().split("## Where things are")[1].split("```")[1]


@pytest.mark.parametrize("package", ["indexing", "retrieval"])
def test_every_folder_is_in_the_tree(package: str) -> None:
    (part,) = re.findall(rf"^{package}/ .*\n((?:  .*\n)+)", TREE, re.MULTILINE)
    named = re.findall(r"^  (\w+)/ +\S", part, re.MULTILINE)
    there = {path.name for path in (ROOT / package).iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert len(named) == len(set(named))
    assert set(named) == there
