"""Sizes of modules: counted on a small tree, and those of docs/architecture.md are still true."""

import re
from pathlib import Path

import pytest

from scripts.code_sizes import PACKAGES, Sizes, count
from tests.paths import ROOT

MODULES = {
    "arrays.py": "X = 1\n",
    "index/__init__.py": '"""Indexes."""\n',
    "index/flat.py": "from NAME.arrays import X\n\nprint(X)\n",
    "bundle.py": "from NAME.index import flat\nfrom NAME.arrays import X\n" + 7 * "\n",
    "__init__.py": "from NAME.bundle import flat\n",
}


def test_sizes_of_a_small_tree(tmp_path: Path) -> None:
    for package in PACKAGES:
        for name, text in MODULES.items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace("NAME", package))
    # Lines 1, 3 and 9 in both; bundle imports index, which imports arrays.
    assert count(tmp_path) == Sizes(6, median=3, p90=9, longest=9, entries=(3, 3), floors=(3, 3))


def test_the_table_of_sizes_is_true() -> None:
    (row,) = re.findall(r"^\| `indexing` and `retrieval` now .*$", (ROOT / "docs/architecture.md").read_text(), re.M)
    sizes = count()
    written = [int(number) for number in re.findall(r"\d+", row)]
    counted = [*sizes[:4], *sizes.entries, *sizes.floors]
    assert counted[4:] == written[4:], f"write into docs/architecture.md: {sizes}"
    # A table need not follow each commit: sizes may be off by a twentieth.
    assert counted[:4] == pytest.approx(written[:4], rel=0.05), f"write into docs/architecture.md: {sizes}"
