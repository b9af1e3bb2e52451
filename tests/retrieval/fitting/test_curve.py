"""The curve of an index shows what its build measured."""

import re
from pathlib import Path
from typing import Any

import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError
from retrieval.cli import main
from retrieval.cli.display.curves import write_curve
from retrieval.evaluation.report.figures import LEFT, PANEL_HEIGHT, PANEL_WIDTH, TOP, curve_panel, curves, loss_panel
from tests.toy import ToyEncoder, toy_file


def point(recall: float, speed: float) -> dict[str, Any]:
    return {"effort": {}, "recall": recall, "queries_per_second": speed}


def section() -> dict[str, Any]:
    slow = {"text": [point(0.5, 900), point(0.96, 300), point(0.9, 200)], "image": [point(0.99, 800)]}
    fast = {"text": [point(0.7, 5000)], "image": [point(0.97, 9000), point(0.97, 8000)]}
    tried = [
        {"family": "flat fp32", "points": slow, "recall": {"text": 0.96, "image": 0.99}},
        {"family": "ivf pq4 + fp16", "points": fast, "recall": {"text": 0.7, "image": 0.97}},
    ]
    tried[0]["queries_per_second"] = {"text": 300, "image": 800}
    return {"tried": tried, "family": "flat fp32", "k": 10, "config": {"min_recall": 0.95}}


def test_what_another_effort_beats_in_both_is_left_out() -> None:
    assert curves(section()) == {
        "text": {"flat fp32": [(0.5, 900), (0.96, 300)], "ivf pq4 + fp16": [(0.7, 5000)]},
        "image": {"flat fp32": [(0.99, 800)], "ivf pq4 + fp16": [(0.97, 9000)]},
    }


def test_the_page_draws_every_family_the_one_in_use_thick(tmp_path: Path) -> None:
    path = tmp_path / "curve.html"
    write_curve(section(), path, "a <shop>")
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    for shown in ("recall@10", "queries/s", "flat fp32", "ivf pq4 + fp16", ">text<", ">image<", "a &lt;shop&gt;"):
        assert shown in page
    assert page.count("class='curve used'") == 2  # of text and image
    assert page.count("class='curve'") == 2


def test_points_lie_where_their_numbers_say() -> None:
    """Recall from 0.6 to 1 across, speeds in powers of ten: 100 at the bottom of the panel, 10,000 at its top."""
    families = {"flat": [(0.6, 10_000.0), (1.0, 100.0)]}
    panel = curve_panel("text", families, {"flat": 0}, "flat", 0.9, 10)
    points = re.findall(r"<circle class='dot' cx='([0-9.]+)' cy='([0-9.]+)'", panel)
    assert points == [(f"{LEFT:.1f}", f"{TOP:.1f}"), (f"{LEFT + PANEL_WIDTH:.1f}", f"{TOP + PANEL_HEIGHT:.1f}")]
    assert f"goal' d='M{LEFT + PANEL_WIDTH * 0.75:.1f} " in panel


def test_losses_lie_where_their_numbers_say() -> None:
    lines = {"learned from": [(1, 3.0), (2, 1.0)], "held out": [(0, 3.0), (1, 2.0), (2, 2.5)]}
    panel = loss_panel("adapter", lines, {"learned from": 0, "held out": 1}, 1)
    points = re.findall(r"<circle class='dot' cx='([0-9.]+)' cy='([0-9.]+)'", panel)
    heights = [f"{TOP + PANEL_HEIGHT * part:.1f}" for part in (0, 1, 0, 0.5, 0.25)]
    assert points == [
        (f"{LEFT + PANEL_WIDTH * place / 2:.1f}", height)
        for place, height in zip((1, 2, 0, 1, 2), heights, strict=True)
    ]
    assert f"goal' d='M{LEFT + PANEL_WIDTH / 2:.1f} " in panel


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    for ending in ("pdf", "svg", "png"):
        with pytest.raises(InputError, match=rf"cannot be written as 'curve\.{ending}'; name it \.html"):
            write_curve(section(), tmp_path / f"curve.{ending}", "shop")
    with pytest.raises(InputError, match="no queries were measured when shop was built"):
        write_curve({"tried": []}, tmp_path / "curve.html", "shop")
    assert list(tmp_path.iterdir()) == []


def test_from_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "b")
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(tmp_path / "b"), "--recall-curve", str(tmp_path / "c.html")])
    drawn = (tmp_path / "c.html").read_text()
    for kind in ("text", "image", "history", "item"):
        assert f">{kind}<" in drawn
    assert "flat fp32, recall@10" in capsys.readouterr().out
