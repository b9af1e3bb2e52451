"""Every measured figure of README and docs is the rounded value of a number in scripts/benchmarks/results.

A part of a page is measured from the paragraph that names a benchmark to the next heading. Its decimals, thousands
and percentages are listed in order in ``tests/figures/PAGE.tsv``, each with its source: a result and the keys to a
number in it, which may be multiplied or divided by another, or have it subtracted, from left to right (keys with such a
sign in them are in quotes); ``setting`` for what was chosen and not measured; ``log`` for a trial that docs/log.md
records with its command.
"""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "scripts" / "benchmarks" / "results"
LISTED = ROOT / "tests" / "figures"
SHELVES = ("tutorials", "how-to", "reference", "explanation")
DOCS = [path for shelf in SHELVES for path in sorted((ROOT / "docs" / shelf).glob("*.md"))]
PAGES = {path.stem: path for path in (ROOT / "README.md", ROOT / "docs" / "architecture.md", *DOCS)}
MINUS = "\N{MINUS SIGN}"
SIGN_OUTSIDE_QUOTES = re.compile(r' ([*/-]) (?=(?:[^"]*"[^"]*")*[^"]*$)')
NUMBER = re.compile(rf"(?<![\w@/#.\-])([{MINUS}-]?(?:\d{{1,3}}(?:,\d{{3}})+|\d+)?(?:\.\d+)?)(?![\w/])")
MEASURED_BY = re.compile(r"scripts\.(?:benchmarks|pocket|research)\.\w+")
CODE_AND_WRITTEN_TABLES = re.compile(
    r"^```.*?^```|<!-- results: begin -->.*?<!-- results: end -->", re.DOTALL | re.MULTILINE
)


def figures(text: str) -> list[str]:
    """The decimals, thousands and percentages of a text, in order."""
    found = []
    for match in NUMBER.finditer(text):
        percent = text[match.end() : match.end() + 2] == " %"
        if re.search(r"\d", match[1]) and (percent or "." in match[1] or "," in match[1]):
            found.append(match[1] + (" %" if percent else ""))
    return found


def measured_figures(page: str) -> list[str]:
    """The figures of all measured parts of a page; code is left out, and tables that a script writes."""
    found: list[str] = []
    for part in re.split(r"^(?=#)", CODE_AND_WRITTEN_TABLES.sub("", page), flags=re.MULTILINE):
        begins = None
        for paragraph in re.split(r"\n(?=\n|\||- )", part):
            begins = begins or MEASURED_BY.search(paragraph)
            if begins and not paragraph.lstrip("\n").startswith(("    ", "#")):
                found += figures(re.sub(r"`[^`]*`", lambda code: " " * len(code[0]), paragraph))
    return found


def listed_figures(name: str) -> list[tuple[str, str]]:
    """The figures of a page with their sources, as they are listed."""
    path = LISTED / f"{name}.tsv"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(figure, source) for figure, source in (line.split("\t") for line in lines)]


@cache
def result(name: str) -> Any:  # noqa: ANN401
    """What a benchmark measured."""
    record = json.loads((RESULTS / f"{name}.json").read_text())
    return record.get("result", record)


def number_at(name: str, keys: str) -> float:
    """The number at ``keys`` of a result, or ``keys`` itself where it is a number."""
    if re.fullmatch(r"-?[\d.]+", keys):
        return float(keys)
    value = result(name)
    for key in keys.split(" > "):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return float(value)


def value_of(source: str) -> float:
    """What a source says: ``NAME: KEYS``, then ``*``, ``/`` or ``-`` and more keys or a number, from left to right."""
    name, formula = source.split(": ", 1)
    first, *rest = (part.strip('"') for part in SIGN_OUTSIDE_QUOTES.split(formula))
    value = number_at(name, first)
    for sign, keys in zip(rest[::2], rest[1::2], strict=True):
        other = number_at(name, keys)
        value = {"*": value * other, "/": value / other if other else float("nan"), "-": value - other}[sign]
    return value


def _digits(figure: str) -> str:
    return figure.removesuffix(" %").replace(MINUS, "-").replace(",", "")


def half_a_step(figure: str) -> float:
    """How far a rounded figure may be from its value: to thousandths and half thousandths, to tens and hundreds."""
    digits = _digits(figure).lstrip("-")
    if "." in digits:
        places = len(digits.split(".")[1])
        return 0.00025 if places == 4 and digits.endswith("5") else 0.5 * 10.0**-places
    return 0.5 * 10.0 ** (len(digits) - len(digits.rstrip("0")) if "," in figure else 0)


def test_pages_have_different_names() -> None:
    assert len(PAGES) == len(DOCS) + 2


@pytest.mark.parametrize("name", PAGES)
def test_every_measured_figure_is_listed(name: str) -> None:
    assert measured_figures(PAGES[name].read_text()) == [figure for figure, _ in listed_figures(name)]


@pytest.mark.parametrize("name", sorted(path.stem for path in LISTED.glob("*.tsv")))
def test_figures_are_the_values_of_results(name: str) -> None:
    log = (ROOT / "docs" / "log.md").read_text()
    wrong = []
    for figure, source in listed_figures(name):
        if source == "log":
            if re.sub(r"^0(?=\.)", "", _digits(figure).lstrip("-")) not in log.replace(",", ""):
                wrong.append(f"{figure} is not in docs/log.md")
        elif source != "setting":
            value = value_of(source)
            shown = float(_digits(figure))
            if not abs(value - shown) <= half_a_step(figure) * (1 + 1e-6) + 1e-9:
                wrong.append(f"{figure} is {value:.6g} in {source}")
    assert not wrong, "\n".join(wrong)


def test_a_figure_that_is_not_its_value_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.result", lambda name: {"a": [0.2125, 4.0], "b": 2.0, "c - d": 7.0})
    assert value_of("any: a > 0") == 0.2125
    assert value_of("any: a > 1 / b * 100 - 50") == 150.0
    assert value_of('any: "c - d" - b') == 5.0
    assert half_a_step("0.212") == 0.0005
    assert half_a_step(MINUS + "0.2125") == 0.00025
    assert half_a_step("2,350") == 5
    assert half_a_step("55 %") == 0.5
    text = "`python -m scripts.benchmarks.a` finds 0.2125 of 1,024 for 3 % (`x=0.5`)\n\n| 0.1 |\n\n## N\n\nNo 0.7"
    assert measured_figures(text) == ["0.2125", "1,024", "3 %", "0.1"]
