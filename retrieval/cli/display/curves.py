"""Recall against queries a second for each kind of query, drawn from what a build measured; and losses of learning."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from indexing.errors import InputError
from retrieval.cli.display.drawing import check_format, write_drawing
from retrieval.evaluation.report.figures import curves


def write_curve(index: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the curves into one file, as its ending says.

    Raises:
        InputError: For another ending, or when nothing was measured.
        MissingExtraError: Without matplotlib.
    """
    check_format(path)
    drawn = curves(index)
    if not drawn:
        raise InputError(f"no queries were measured when {title} was built; there is no curve to draw")

    def draw(panels: list[Any]) -> None:
        for axes, (kind, families) in zip(panels, drawn.items(), strict=True):
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

    write_drawing(path, title, len(drawn), draw)


def write_losses(training: Mapping[str, Any], path: Path, title: str) -> None:
    """Draw the losses of each part, pass by pass, into one file.

    Args:
        training: For each part its losses, as `retrieval.fitting.report.FitReport.training` has them.
        path: Where.
        title: Above all.

    Raises:
        InputError: For another ending, or when nothing was learned in passes.
        MissingExtraError: Without matplotlib.
    """
    check_format(path)
    learned = {part: told for part, told in training.items() if told.get("train")}
    if not learned:
        raise InputError(f"nothing of {title} was learned in passes; there are no losses to draw")

    def draw(panels: list[Any]) -> None:
        for axes, (part, told) in zip(panels, learned.items(), strict=True):
            axes.plot(range(1, len(told["train"]) + 1), told["train"], marker="o", markersize=3, label="learned from")
            if told["valid"]:  # begins before the first pass
                axes.plot(range(len(told["valid"])), told["valid"], marker="o", markersize=3, label="held out")
            axes.axvline(told["best"], color="grey", linestyle=":", label="kept")
            axes.set(title=part, xlabel="pass", ylabel="loss")
            axes.legend(fontsize="x-small")

    write_drawing(path, title, len(learned), draw)
