"""Curves as pages: recall against queries a second of an index, and the losses of what was learned."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from retrieval.cli.display.output import write_file
from retrieval.cli.display.terminal import UsageError
from retrieval.evaluation.report.figures import curves
from retrieval.evaluation.report.report import curve_page, losses_page


def check_format(path: Path) -> None:
    """Check that a page can be written under this name.

    Raises:
        UsageError: For another ending than .html, or a folder that is not there.
    """
    if not path.parent.is_dir():
        raise UsageError(f"{path} cannot be written: there is no folder {path.parent}; make it first")
    if path.suffix != ".html":
        raise UsageError(f"a curve cannot be written as {path.name!r}; name it .html")


def write_curve(index: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the curves of an index into an .html file; ``index`` is that section of a manifest.

    Raises:
        InputError: For another ending, or when nothing was measured.
    """
    check_format(path)
    if not curves(index):
        raise InputError(f"no queries were measured when {title} was built; there is no curve to draw")
    write_file(path, curve_page(index, title).encode())


def write_losses(training: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the losses of each part into an .html file; see `losses_page`.

    Raises:
        InputError: For another ending, or when nothing was learned in passes.
    """
    check_format(path)
    if not any(losses.get("train") for losses in training.values()):
        raise InputError(f"nothing of {title} was learned in passes; there are no losses to draw")
    write_file(path, losses_page(training, title).encode())
