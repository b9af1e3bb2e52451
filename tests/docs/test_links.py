"""Links between pages lead somewhere: each file is there, and so is each heading. So are pages that code names."""

import re
from pathlib import Path

import pytest

from tests.paths import ROOT

FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
FOLDERS = ("docs", "indexing", "retrieval", "scripts", "tests")
PAGES = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
CODE = [*ROOT.glob("*.toml"), ROOT / "Makefile", *(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))]


def anchors(page: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; a heading that comes again gets a number."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ +(.*)$", FENCED.sub("", page), re.MULTILINE):
        text = LINK.sub("", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).strip().replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {slug if n == 0 else f"{slug}-{n}" for slug, count in found.items() for n in range(count)}


def broken_links(path: Path) -> list[str]:
    """The links of a page to files of the project, or to headings, that are not there."""
    broken = []
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "", FENCED.sub("", path.read_text()))):
        target, _, anchor = link.partition("#")
        file = (path.parent / target).resolve() if target else path
        if "://" not in link and (not file.exists() or (anchor and anchor not in anchors(file.read_text()))):
            broken.append(link)
    return broken


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# Two words, `one` code\n\n```\n# no heading\n```\n\n## Again\n\n## Again\n")
    page.write_text(
        "[a](other.md#two-words-one-code) [b](other.md#again-1) [c](https://x.org/y#z) [d](#here) `[e](code)`\n"
        "[f](other.md#no-heading) [g](missing.md) [h](other.md#again-2)\n# Here\n"
    )
    assert broken_links(page) == ["other.md#no-heading", "missing.md", "other.md#again-2"]


def test_pages_that_are_named_in_code_exist() -> None:
    named = {
        name: path.name
        for path in CODE
        if path != Path(__file__).resolve()
        for name in re.findall(r"\bdocs/[\w/.-]+\.md\b", path.read_text())
    }
    assert len(named) >= 8
    assert {name: where for name, where in named.items() if not (ROOT / name).exists()} == {}


def test_every_page_is_on_the_list_of_shelves() -> None:
    listed = LINK.findall((ROOT / "docs" / "README.md").read_text())
    shelves = [
        path.relative_to(ROOT / "docs") for path in (ROOT / "docs").glob("*/*.md") if path.parent.name != "decisions"
    ]
    assert len(shelves) >= 20
    assert [str(path) for path in sorted(shelves) if str(path) not in listed] == []
