"""What runs on the whole shipped sample: the README's example prints what the README says; the demo does its job."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console

from indexing.bundle.bundle import Bundle
from retrieval import Retriever
from scripts import quickstart
from tests.paths import ROOT

README = (ROOT / "README.md").read_text()
LONGEST_EXAMPLE = 15
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as the README and the demo build it first; who builds there again finds all items encoded."""
    root = tmp_path_factory.mktemp("built") / "bundle"
    assert not root.exists()
    quickstart.build(root)
    return root


def test_the_example_prints_what_the_readme_says(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(built, "bundles/sample")
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


def test_the_demo_learns_and_its_page_is_written(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(built, tmp_path / "demo" / "bundle")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["quickstart", "--out", str(tmp_path / "demo")])
    monkeypatch.setattr(quickstart, "console", Console())
    quickstart.main()
    out = capsys.readouterr().out
    assert "published: behaviour" in out
    rows = {line.split("│")[1].strip(): line.split("│")[3] for line in out.splitlines() if line.count("│") == 4}
    assert float(rows["frozen vectors"].split()[0]) < float(rows["what fit published"].split()[0])
    assert "Violin" in (tmp_path / "demo" / "index.html").read_text("utf-8")
    assert Bundle.open(tmp_path / "demo" / "bundle").manifest.features
    quickstart.build(tmp_path / "demo" / "bundle")  # the demo once more begins anew
    assert not Bundle.open(tmp_path / "demo" / "bundle").manifest.features
