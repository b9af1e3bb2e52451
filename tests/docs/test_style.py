"""Pages write numbers and words as the field does: decimals with a leading zero, and no phrases of a dialect."""

import re
from pathlib import Path

import pytest

from tests.paths import ROOT

SHELVES = ("tutorials", "how-to", "reference", "explanation")
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "README.md",
    ROOT / "docs" / "architecture.md",
    *(path for shelf in SHELVES for path in sorted((ROOT / "docs" / shelf).glob("*.md"))),
]
RECORDS = [ROOT / "docs" / "log.md", *sorted((ROOT / "docs" / "decisions").glob("*.md"))]
CODE = re.compile(r"^```.*?^```|`[^`\n]*`|^ {4}commonspace .*$", re.DOTALL | re.MULTILINE)
NO_LEADING_ZERO = re.compile(r"(?<![\w.)\]/@#])\.\d+(?!\w)")
DIALECT = re.compile(
    r"\b(in force|goes on|going on|went on|foretold|told|taught|of late|what came (?:before|since)|the way out|pasts)\b"
)


def faults(page: str) -> list[str]:
    """Give what a page writes otherwise than the field does."""
    prose = CODE.sub("", page)
    return NO_LEADING_ZERO.findall(prose) + DIALECT.findall(prose)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_speak_the_language_of_the_field(path: Path) -> None:
    assert faults(path.read_text()) == []


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_log_and_decisions_have_no_phrase_of_the_dialect(path: Path) -> None:
    assert DIALECT.findall(CODE.sub("", path.read_text())) == []


def test_faults_are_found() -> None:
    assert faults("What is in force has .25 and 0.25 (-.5), `x=.5` of v1.5 in a.4 [.1, .2].") == [
        ".25",
        ".5",
        ".1",
        ".2",
        "in force",
    ]
    assert faults("```\nbuild goes on, .5\n```\nA refresh continues.") == []
