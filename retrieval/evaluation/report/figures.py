"""Figures as inline SVG.

Series have the classes ``c0``, ``c1``, …, whose colours the page defines.
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.report.page import escaped, to_html

Curve = Sequence[tuple[float, float]]


def curves(index: Mapping[str, Any]) -> dict[str, dict[str, Curve]]:
    """Return the Pareto front of (recall, queries per second) for each kind of query and index family.

    Args:
        index: The section on the index of a manifest.
    """
    curves_of: dict[str, dict[str, Curve]] = {}
    for trial in index.get("tried", ()):
        for kind, points in trial["points"].items():
            measured = [(trial_point["recall"], trial_point["queries_per_second"]) for trial_point in points]
            not_dominated = [
                point for point in measured if not any(_dominates(other_point, point) for other_point in measured)
            ]
            curves_of.setdefault(kind, {})[trial["family"]] = sorted(set(not_dominated))
    return curves_of


def _dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a != b and a[0] >= b[0] and a[1] >= b[1]


COLOURS = 9
GREY = COLOURS - 1  # for all other series
# Pixels: left of the plot, right of it, the plot, and one row of it.
LABEL_WIDTH, VALUE_WIDTH, PLOT_WIDTH, ROW_HEIGHT = 170, 190, 420, 26
LEFT, TOP, PANEL_WIDTH, PANEL_HEIGHT = 64, 12, 300, 210  # pixels of a panel of curves
MIN_SPEED = 1e-3  # queries per second at the lower end of the scale
MAP_WIDTH, MAP_HEIGHT = 900, 560

Row = tuple[str, float, float, float]  # label, mean, low, high


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Return about ``about`` round numbers that cover a range.

    >>> ticks(0, 0.23)
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(span / about))
    step = power * next(round_ for round_ in (1, 2, 5, 10) if round_ * power >= span / about * 0.999)
    first_step, last_step = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [float(f"{count * step:.12g}") for count in range(first_step, max(last_step, first_step + 1) + 1)]


def whiskers(rows: Sequence[Row], title: str) -> str:
    """Draw a dot for each mean and a line for its interval, on one scale that includes zero."""
    rows = [row for row in rows if all(map(isfinite, row[1:]))]
    if not rows:
        return ""
    tick_values = ticks(min(0.0, *(row[2] for row in rows)), max(row[3] for row in rows))
    scale = PLOT_WIDTH / (tick_values[-1] - tick_values[0])
    bottom = ROW_HEIGHT * len(rows) + 6
    parts = []
    for tick in tick_values:
        x = LABEL_WIDTH + (tick - tick_values[0]) * scale
        parts.append(f"<path class='axis{'' if tick else ' zero'}' d='M{x:.1f} 4V{bottom}'/>")
        parts.append(f"<text class='faint' x='{x:.1f}' y='{bottom + 16}' text-anchor='middle'>{tick:g}</text>")
    for row_number, (label, mean, low, high) in enumerate(rows):
        y = ROW_HEIGHT * row_number + ROW_HEIGHT / 2 + 4
        x_mean, start, end = (f"{LABEL_WIDTH + (value - tick_values[0]) * scale:.1f}" for value in (mean, low, high))
        value = f"{mean:.4f}  ({low:.4f} to {high:.4f})"
        parts.append(
            f"<g class='c0'><title>{escaped(f'{label}: {value}')}</title>"
            f"<text x='{LABEL_WIDTH - 10}' y='{y + 4}' text-anchor='end'>{escaped(_shortened(label))}</text>"
            f"<path class='range' d='M{start} {y}H{end}'/><circle class='dot' cx='{x_mean}' cy='{y}' r='4.5'/>"
            f"<text class='faint' x='{LABEL_WIDTH + PLOT_WIDTH + 12}' y='{y + 4}'>{value}</text></g>"
        )
    return _svg(LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH, bottom + 22, title, parts)


def curve_panel(
    kind: str, families: Mapping[str, Curve], colours: Mapping[str, int], current: str, target: float, k: int
) -> str:
    """Draw recall against queries per second, one line per index family, that of the index in use thick."""
    points = [point for curve in families.values() for point in curve]
    if not points:
        return ""
    x_ticks = [tick for tick in ticks(min(target, *(recall for recall, _ in points)), 1.0, about=4) if tick <= 1.0]
    speeds = [max(speed, MIN_SPEED) for _, speed in points]
    low, high = floor(log10(min(speeds))), ceil(log10(max(speeds)))
    axes = _Axes(x_ticks, [10.0**power for power in range(low, max(high, low + 1) + 1)], logarithmic=True)
    parts = [*axes.grid(), axes.vertical_line(target)]
    for family, curve in families.items():
        parts += axes.polyline(family, curve, colours[family], thick=family == current)
    title = f"recall@{k} against queries a second, {kind} queries"
    return axes.figure(f"{to_html(kind)}: queries/s in one batch", f"recall@{k}", title, parts)


def loss_panel(part: str, losses: Mapping[str, Curve], colours: Mapping[str, int], best: float) -> str:
    """Draw loss curves by epoch, with a dashed line at the best epoch."""
    points = [point for curve in losses.values() for point in curve]
    if not points:
        return ""
    passes, values = zip(*points, strict=True)
    axes = _Axes(ticks(min(passes), max(*passes, best), about=6), ticks(min(values), max(values)))
    parts = [*axes.grid(), axes.vertical_line(best)]
    for name, curve in losses.items():
        parts += axes.polyline(name, curve, colours[name])
    return axes.figure(f"{to_html(part)}: loss", "pass", f"losses of {part}", parts)


class _Axes:
    """A panel with ticks on both axes; the y axis may be logarithmic."""

    def __init__(self, x_ticks: Sequence[float], y_ticks: Sequence[float], *, logarithmic: bool = False) -> None:
        self._x_ticks, self._y_ticks, self._logarithmic = x_ticks, y_ticks, logarithmic

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Return the pixel of a point."""
        first, last = self._x_ticks[0], self._x_ticks[-1]
        low, high, value = (self._scaled(y_value) for y_value in (self._y_ticks[0], self._y_ticks[-1], y))
        return LEFT + PANEL_WIDTH * (x - first) / ((last - first) or 1.0), TOP + PANEL_HEIGHT * (
            1 - (value - low) / (high - low)
        )

    def _scaled(self, y: float) -> float:
        return log10(max(y, MIN_SPEED)) if self._logarithmic else y

    def grid(self) -> list[str]:
        """Draw grid lines with their numbers."""
        parts = []
        for tick in self._x_ticks:
            x = self.at(tick, self._y_ticks[0])[0]
            parts.append(f"<path class='axis' d='M{x:.1f} {TOP}V{TOP + PANEL_HEIGHT}'/>")
            parts.append(
                f"<text class='faint' x='{x:.1f}' y='{TOP + PANEL_HEIGHT + 16}' text-anchor='middle'>{tick:g}</text>"
            )
        for tick in self._y_ticks:
            y = self.at(self._x_ticks[0], tick)[1]
            name = f"{tick:,g}" if self._logarithmic else f"{tick:g}"
            parts.append(f"<path class='axis' d='M{LEFT} {y:.1f}H{LEFT + PANEL_WIDTH}'/>")
            parts.append(f"<text class='faint' x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{name}</text>")
        return parts

    def vertical_line(self, x: float) -> str:
        """Draw a dashed vertical line."""
        return f"<path class='axis goal' d='M{self.at(x, self._y_ticks[0])[0]:.1f} {TOP}V{TOP + PANEL_HEIGHT}'/>"

    def polyline(self, name: str, curve: Curve, colour: int, *, thick: bool = False) -> list[str]:
        """Draw points and a line through them; its name is a tooltip."""
        pixels = [self.at(*point) for point in curve]
        pairs = " ".join(f"{x:.1f},{y:.1f}" for x, y in pixels)
        return [
            f"<g class='c{colour}'><title>{escaped(name)}</title>",
            f"<polyline class='curve{' used' if thick else ''}' points='{pairs}'/>",
            *(f"<circle class='dot' cx='{x:.1f}' cy='{y:.1f}' r='3'/>" for x, y in pixels),
            "</g>",
        ]

    def figure(self, caption: str, x_label: str, title: str, parts: Sequence[str]) -> str:
        """Return the panel as HTML; the caption is HTML."""
        label = (
            f"<text x='{LEFT + PANEL_WIDTH / 2:g}' y='{TOP + PANEL_HEIGHT + 36}' text-anchor='middle'>{x_label}</text>"
        )
        drawn = _svg(LEFT + PANEL_WIDTH + 16, TOP + PANEL_HEIGHT + 42, title, [*parts, label])
        return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def scatter(points: NDArray[np.float64], colours: Sequence[int], titles: Sequence[str], title: str) -> str:
    """Draw (n, 2) points on the same scale for both axes; titles are tooltips."""
    if not len(points):
        return ""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = min((side - 20) / max(float(extent), 1e-12) for side, extent in zip(_SIDES, high - low, strict=True))
    pixels = (points - (low + high) / 2) * scale * (1, -1) + (MAP_WIDTH / 2, MAP_HEIGHT / 2)
    parts = [
        f"<circle class='dot c{colour}' cx='{x:.1f}' cy='{y:.1f}' r='3.2'><title>{escaped(name[:80])}</title></circle>"
        for (x, y), colour, name in zip(pixels.tolist(), colours, titles, strict=True)
    ]
    return f"<div class='map'>{_svg(MAP_WIDTH, MAP_HEIGHT, title, parts)}</div>"


_SIDES = (MAP_WIDTH, MAP_HEIGHT)


def legend(colours: Mapping[str, int]) -> str:
    """Return a legend of names and colours."""
    entries = (f"<li class='c{colour}'><i></i>{to_html(name)}</li>" for name, colour in colours.items())
    return f"<ul class='legend'>{''.join(entries)}</ul>"


def _shortened(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f"<svg viewBox='0 0 {width:g} {height:g}' width='{width:g}' "
        f"height='{height:g}' role='img' aria-label='{escaped(title)}'>\n{inside}\n</svg>"
    )
