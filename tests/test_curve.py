"""The curve of an index shows what its build measured."""

from pathlib import Path
from typing import Any

import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError, MissingExtraError
from retrieval.cli import main
from retrieval.cli.display.curves import write_curve
from retrieval.evaluation.report.figures import curves
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


@pytest.mark.parametrize("ending", ["html", "svg", "png"])
def test_files(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"curve.{ending}"
    write_curve(section(), path, "a <shop>")
    data = path.read_bytes()
    if ending == "png":
        assert data.startswith(b"\x89PNG")
        return
    for shown in (
        b"recall@10",
        b"queries/s",
        b"flat fp32",
        b"ivf pq4 + fp16",
        b">text<",
        b">image<",
        b"a &lt;shop&gt;",
    ):
        assert shown in data
    assert data.startswith(b"<!doctype html>" if ending == "html" else b"<?xml")


def test_what_cannot_be_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"cannot be written as 'curve\.pdf'; name it \.html or \.svg or \.png"):
        write_curve(section(), tmp_path / "curve.pdf", "shop")
    with pytest.raises(InputError, match="no queries were measured when shop was built"):
        write_curve({"tried": []}, tmp_path / "curve.svg", "shop")
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"commonspace\[plot\]"):
        write_curve(section(), tmp_path / "curve.svg", "shop")


def test_from_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), ToyEncoder(), tmp_path / "b")
    with pytest.raises(SystemExit, match="0"):
        main(["info", str(tmp_path / "b"), "--recall-curve", str(tmp_path / "c.svg")])
    drawn = (tmp_path / "c.svg").read_text()
    for kind in ("text", "image", "history", "item"):
        assert f">{kind}<" in drawn
    assert "flat fp32, recall@10" in capsys.readouterr().out
