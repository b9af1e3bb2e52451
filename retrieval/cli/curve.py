"""Recall against queries a second for each kind of query, drawn from what a build measured."""

import io
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from indexing.extras import import_extra
from retrieval.cli.output import write_file
from retrieval.evaluation.pages.curves import Curve, curves

FORMATS = (".html", ".svg", ".png")
WIDTH, HEIGHT = 4.8, 4.2  # inches of the panel of one kind of query


def write_curve(index: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the curves into one file, as its ending says.

    Raises:
        InputError: For another ending, or when nothing was measured.
        MissingExtraError: Without matplotlib.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"a curve cannot be written as {path.name!r}; name it {' or '.join(FORMATS)}")
    drawn = curves(index)
    if not drawn:
        raise InputError(f"no queries were measured when {title} was built; there is no curve to draw")
    image = _drawing(index, drawn, title, "png" if path.suffix == ".png" else "svg")
    if path.suffix == ".html":
        svg = image[image.index(b"<svg") :]  # without the XML declaration, which HTML does not know
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        image = head.encode() + svg + b"</html>"
    write_file(path, image)


def _drawing(index: Mapping[str, Any], drawn: Mapping[str, Mapping[str, Curve]], title: str, form: str) -> bytes:
    matplotlib = import_extra("matplotlib", "plot")
    figures = import_extra("matplotlib.figure", "plot")  # without pyplot nothing is global, and no window is opened
    figure = figures.Figure(figsize=(WIDTH * len(drawn), HEIGHT), layout="constrained")
    figure.suptitle(title)
    for axes, (kind, families) in zip(figure.subplots(1, len(drawn), squeeze=False)[0], drawn.items(), strict=True):
        for family, curve in families.items():
            chosen = family == index["family"]
            recall, speed = zip(*curve, strict=True)
            axes.plot(recall, speed, marker="o", markersize=3, linewidth=2.5 if chosen else 1, label=family)
            if chosen:
                served = next(trial for trial in index["tried"] if trial["family"] == family)
                at = served["recall"][kind], served["queries_per_second"][kind]
                axes.plot(*at, marker="*", markersize=14, color="black", linestyle="", label="in use")
        axes.axvline(index["config"]["min_recall"], color="grey", linestyle=":")
        axes.set(title=kind, xlabel=f"recall@{index['k']}", ylabel="queries/s in one batch", yscale="log")
        axes.legend(fontsize="x-small")
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text
        figure.savefig(file, format=form)
    return file.getvalue()
