"""Small drawings as inline SVG, in the colours of the page around them.

Points of a series have a class ``c0``, ``c1``, … that the page gives a colour.
"""

from collections.abc import Mapping, Sequence
from math import ceil, floor, isfinite, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.evaluation.report.page import quoted, shown

Curve = Sequence[tuple[float, float]]


def curves(index: Mapping[str, Any]) -> dict[str, dict[str, Curve]]:
    """Give for each kind of query and family the (recall, queries a second) that no other effort beats in both.

    Args:
        index: The section on the index of a manifest.
    """
    found: dict[str, dict[str, Curve]] = {}
    for trial in index.get("tried", ()):
        for kind, points in trial["points"].items():
            measured = [(point["recall"], point["queries_per_second"]) for point in points]
            best = [one for one in measured if not any(_beats(other, one) for other in measured)]
            found.setdefault(kind, {})[trial["family"]] = sorted(set(best))
    return found


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]


COLOURS = 9
GREY = COLOURS - 1  # for what has no colour of its own
LABELS, VALUES, PLOT, LINE = 170, 190, 420, 26  # pixels: left of the plot, right of it, the plot, a line of it
LEFT, TOP, WIDE, TALL = 64, 12, 300, 210  # pixels of a panel of curves
SLOWEST = 1e-3  # queries a second that the scale can show
MAP_WIDTH, MAP_HEIGHT = 900, 560

Row = tuple[str, float, float, float]  # label, mean, low, high


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Give round numbers that cover a range, ``about`` as many as asked for.

    >>> ticks(0, 0.23)
    [0.0, 0.05, 0.1, 0.15, 0.2, 0.25]
    """
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** floor(log10(span / about))
    step = power * next(round_ for round_ in (1, 2, 5, 10) if round_ * power >= span / about * 0.999)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    return [float(f"{count * step:.12g}") for count in range(first, max(last, first + 1) + 1)]


def whiskers(rows: Sequence[Row], title: str) -> str:
    """Draw a dot for each mean and a line for its interval, on one scale that holds zero."""
    rows = [row for row in rows if all(map(isfinite, row[1:]))]
    if not rows:
        return ""
    marks = ticks(min(0.0, *(row[2] for row in rows)), max(row[3] for row in rows))
    scale = PLOT / (marks[-1] - marks[0])
    bottom = LINE * len(rows) + 6
    parts = []
    for mark in marks:
        x = LABELS + (mark - marks[0]) * scale
        parts.append(f"<path class='axis{'' if mark else ' zero'}' d='M{x:.1f} 4V{bottom}'/>")
        parts.append(f"<text class='faint' x='{x:.1f}' y='{bottom + 16}' text-anchor='middle'>{mark:g}</text>")
    for line, (label, mean, low, high) in enumerate(rows):
        y = LINE * line + LINE / 2 + 4
        at, start, end = (f"{LABELS + (value - marks[0]) * scale:.1f}" for value in (mean, low, high))
        value = f"{mean:.4f}  ({low:.4f} to {high:.4f})"
        parts.append(
            f"<g class='c0'><title>{quoted(f'{label}: {value}')}</title>"
            f"<text x='{LABELS - 10}' y='{y + 4}' text-anchor='end'>{quoted(_cut(label))}</text>"
            f"<path class='range' d='M{start} {y}H{end}'/><circle class='dot' cx='{at}' cy='{y}' r='4.5'/>"
            f"<text class='faint' x='{LABELS + PLOT + 12}' y='{y + 4}'>{value}</text></g>"
        )
    return _svg(LABELS + PLOT + VALUES, bottom + 22, title, parts)


def curve_panel(
    kind: str, families: Mapping[str, Curve], colours: Mapping[str, int], used: str, target: float, k: int
) -> str:
    """Draw recall against queries a second, one line a family of index, the one in use thick; its legend is apart."""
    points = [point for curve in families.values() for point in curve]
    if not points:
        return ""
    across = [mark for mark in ticks(min(target, *(recall for recall, _ in points)), 1.0, about=4) if mark <= 1.0]
    speeds = [max(speed, SLOWEST) for _, speed in points]
    low, high = floor(log10(min(speeds))), ceil(log10(max(speeds)))
    plane = _Plane(across, [10.0**power for power in range(low, max(high, low + 1) + 1)], logarithmic=True)
    parts = [*plane.grid(), plane.goal(target)]
    for family, curve in families.items():
        parts += plane.line(family, curve, colours[family], thick=family == used)
    title = f"recall@{k} against queries a second, {kind} queries"
    return plane.figure(f"{shown(kind)}: queries/s in one batch", f"recall@{k}", title, parts)


def loss_panel(part: str, losses: Mapping[str, Curve], colours: Mapping[str, int], kept: float) -> str:
    """Draw (pass, loss) lines of what was learned, dashed the pass that was kept; its legend is apart."""
    points = [point for curve in losses.values() for point in curve]
    if not points:
        return ""
    passes, values = zip(*points, strict=True)
    plane = _Plane(ticks(min(passes), max(*passes, kept), about=6), ticks(min(values), max(values)))
    parts = [*plane.grid(), plane.goal(kept)]
    for name, curve in losses.items():
        parts += plane.line(name, curve, colours[name])
    return plane.figure(f"{shown(part)}: loss", "pass", f"losses of {part}", parts)


class _Plane:
    """A panel with marks across and upwards, upwards in powers of ten where it is logarithmic."""

    def __init__(self, across: Sequence[float], upwards: Sequence[float], *, logarithmic: bool = False) -> None:
        self._across, self._upwards, self._logarithmic = across, upwards, logarithmic

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Give the pixel of a point."""
        first, last = self._across[0], self._across[-1]
        low, high, value = (self._height(one) for one in (self._upwards[0], self._upwards[-1], y))
        return LEFT + WIDE * (x - first) / ((last - first) or 1.0), TOP + TALL * (1 - (value - low) / (high - low))

    def _height(self, y: float) -> float:
        return log10(max(y, SLOWEST)) if self._logarithmic else y

    def grid(self) -> list[str]:
        """Draw the marks with their numbers."""
        parts = []
        for mark in self._across:
            x = self.at(mark, self._upwards[0])[0]
            parts.append(f"<path class='axis' d='M{x:.1f} {TOP}V{TOP + TALL}'/>")
            parts.append(f"<text class='faint' x='{x:.1f}' y='{TOP + TALL + 16}' text-anchor='middle'>{mark:g}</text>")
        for mark in self._upwards:
            y = self.at(self._across[0], mark)[1]
            name = f"{mark:,g}" if self._logarithmic else f"{mark:g}"
            parts.append(f"<path class='axis' d='M{LEFT} {y:.1f}H{LEFT + WIDE}'/>")
            parts.append(f"<text class='faint' x='{LEFT - 6}' y='{y + 4:.1f}' text-anchor='end'>{name}</text>")
        return parts

    def goal(self, x: float) -> str:
        """Draw a dashed line upwards."""
        return f"<path class='axis goal' d='M{self.at(x, self._upwards[0])[0]:.1f} {TOP}V{TOP + TALL}'/>"

    def line(self, name: str, curve: Curve, colour: int, *, thick: bool = False) -> list[str]:
        """Draw points and a line through them; pointing at it shows its name."""
        places = [self.at(*point) for point in curve]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        return [
            f"<g class='c{colour}'><title>{quoted(name)}</title>",
            f"<polyline class='curve{' used' if thick else ''}' points='{line}'/>",
            *(f"<circle class='dot' cx='{x:.1f}' cy='{y:.1f}' r='3'/>" for x, y in places),
            "</g>",
        ]

    def figure(self, caption: str, across: str, title: str, parts: Sequence[str]) -> str:
        """Give the whole panel as HTML; the caption is HTML already."""
        label = f"<text x='{LEFT + WIDE / 2:g}' y='{TOP + TALL + 36}' text-anchor='middle'>{across}</text>"
        drawn = _svg(LEFT + WIDE + 16, TOP + TALL + 42, title, [*parts, label])
        return f"<figure><figcaption>{caption}</figcaption>{drawn}</figure>"


def scatter(points: NDArray[np.float64], colours: Sequence[int], titles: Sequence[str], title: str) -> str:
    """Draw (n, 2) points on one scale for both directions; pointing at one shows its title."""
    if not len(points):
        return ""
    low, high = points.min(axis=0), points.max(axis=0)
    scale = min((side - 20) / max(float(reach), 1e-12) for side, reach in zip(_SIDES, high - low, strict=True))
    places = (points - (low + high) / 2) * scale * (1, -1) + (MAP_WIDTH / 2, MAP_HEIGHT / 2)
    parts = [
        f"<circle class='dot c{colour}' cx='{x:.1f}' cy='{y:.1f}' r='3.2'><title>{quoted(name[:80])}</title></circle>"
        for (x, y), colour, name in zip(places.tolist(), colours, titles, strict=True)
    ]
    return f"<div class='map'>{_svg(MAP_WIDTH, MAP_HEIGHT, title, parts)}</div>"


_SIDES = (MAP_WIDTH, MAP_HEIGHT)


def legend(colours: Mapping[str, int]) -> str:
    """Name the colours."""
    entries = (f"<li class='c{colour}'><i></i>{shown(name)}</li>" for name, colour in colours.items())
    return f"<ul class='legend'>{''.join(entries)}</ul>"


def _cut(label: str) -> str:
    return label if len(label) <= 24 else label[:23] + "…"


def _svg(width: float, height: float, title: str, parts: Sequence[str]) -> str:
    inside = "\n".join(parts)
    return (
        f"<svg viewBox='0 0 {width:g} {height:g}' width='{width:g}' "
        f"height='{height:g}' role='img' aria-label='{quoted(title)}'>\n{inside}\n</svg>"
    )
