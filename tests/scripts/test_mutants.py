"""Mutants are one change each, at the place that they name."""

from pathlib import Path

import pytest

from scripts.mutants import Mutant, sites

SOURCE = """def near(a: int, b: int) -> bool:
    name = "é" if not a else "x"
    if a < b and b - a > 2:
        return True
    return a in (b, 7)
"""


def changed(tmp_path: Path, mutant: Mutant) -> str:
    (tmp_path / "near.py").write_text(SOURCE)
    mutant.apply(tmp_path)
    return (tmp_path / "near.py").read_text().splitlines()[mutant.line - 1].strip()


def test_every_kind_of_change_is_made(tmp_path: Path) -> None:
    made = {changed(tmp_path, mutant) for mutant in sites("near.py", SOURCE)}
    assert made == {
        'name = "é" if a else "x"',
        'name = "é" if (not (not a)) else "x"',
        "if a <= b and b - a > 2:",
        "if a < b or b - a > 2:",
        "if a < b and b + a > 2:",
        "if a < b and b - a >= 2:",
        "if a < b and b - a > 3:",
        "if (not (a < b and b - a > 2)):",
        "return False",
        "return a not in (b, 7)",
        "return a in (b, 8)",
    }


def test_a_change_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "near.py").write_text(SOURCE)
    with pytest.raises(ValueError, match="does not fit"):
        Mutant("near.py", 1, 0, "class", "def").apply(tmp_path)
