"""The demo does its main job: a page, and lists that are better after learning."""

import sys
from pathlib import Path

import pytest
from rich.console import Console

from indexing.bundle.bundle import Bundle
from scripts import quickstart


def test_the_demo_learns_and_its_page_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_a_demo_that_learns_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        published, refused = (), "nothing helps"

    monkeypatch.setattr(quickstart, "fit", lambda *_: Nothing())
    with pytest.raises(SystemExit, match="nothing was published: nothing helps"):
        next(iter(quickstart.recommendations(tmp_path, None, {})))  # type: ignore[arg-type]
