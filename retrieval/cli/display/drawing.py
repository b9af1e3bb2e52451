"""Drawings as files: .html, .svg or .png, as the ending says."""

import io
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

from indexing.errors import import_extra
from retrieval.cli.display.output import write_file
from retrieval.cli.display.terminal import UsageError

FORMATS = (".html", ".svg", ".png")
WIDTH, HEIGHT = 4.8, 4.2  # inches of a panel


def check_format(path: Path) -> None:
    """Check that a drawing can be written under this name.

    Raises:
        UsageError: For another ending, or a folder that is not there.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if path.suffix not in FORMATS:
        raise UsageError(f"a curve cannot be written as {path.name!r}; name it {' or '.join(FORMATS)}")


def write_drawing(path: Path, title: str, panels: int, draw: Callable[[list[Any]], None]) -> None:
    """Draw panels side by side into one file.

    Args:
        path: Where.
        title: Above all.
        panels: How many.
        draw: Draws into them, given as matplotlib's axes.

    Raises:
        UsageError: For another ending, or a folder that is not there.
        MissingExtraError: Without matplotlib.
    """
    check_format(path)
    matplotlib = import_extra("matplotlib", "plot")
    figures = import_extra("matplotlib.figure", "plot")  # without pyplot nothing is global, and no window is opened
    figure = figures.Figure(figsize=(WIDTH * panels, HEIGHT), layout="constrained")
    figure.suptitle(title)
    draw(list(figure.subplots(1, panels, squeeze=False)[0]))
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text
        figure.savefig(file, format="png" if path.suffix == ".png" else "svg")
    image = file.getvalue()
    if path.suffix == ".html":
        svg = image[image.index(b"<svg") :]  # without the XML declaration, which HTML does not know
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        image = head.encode() + svg + b"</html>"
    write_file(path, image)
