"""Drawings put every value where it belongs."""

import re

import numpy as np
import pytest

from retrieval.evaluation.report.figures import (
    LABEL_WIDTH,
    LEFT,
    PANEL_HEIGHT,
    PANEL_WIDTH,
    PLOT_WIDTH,
    TOP,
    curve_panel,
    scatter,
    ticks,
    whiskers,
)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 0.0123, [0, 0.005, 0.01, 0.015]),
        (-0.02, 0.05, [-0.02, 0, 0.02, 0.04, 0.06]),
        (0.9, 1, [0.9, 0.92, 0.94, 0.96, 0.98, 1]),
        (0, 0, [0, 0.2]),
    ],
)
def test_ticks_are_round_and_cover(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_whiskers_are_to_scale() -> None:
    drawn = whiskers([("recall@10", 0.5, 0.4, 0.6), ("mrr@10", -0.1, -0.2, 0.0)], "x")
    marks = ticks(-0.2, 0.6)

    def at(value: float) -> float:
        return LABEL_WIDTH + PLOT_WIDTH * (value - marks[0]) / (marks[-1] - marks[0])

    assert [float(x) for x in re.findall(r"cx='([\d.]+)'", drawn)] == pytest.approx([at(0.5), at(-0.1)], abs=0.06)
    ranges = re.findall(r"class='range' d='M([\d.]+) [\d.]+H([\d.]+)'", drawn)
    wanted = [(at(0.4), at(0.6)), (at(-0.2), at(0.0))]
    assert [(float(a), float(b)) for a, b in ranges] == [pytest.approx(one, abs=0.06) for one in wanted]


def test_what_has_no_value_is_not_drawn() -> None:
    nan = float("nan")
    assert whiskers([("a", nan, nan, nan)], "x") == ""
    assert whiskers([("a", nan, nan, nan), ("b", 0.1, 0.1, 0.1)], "x").count("<circle") == 1
    assert scatter(np.zeros((0, 2)), [], [], "x") == ""
    assert curve_panel("text", {}, {}, "flat", 0.95, 10) == ""


def test_curves_are_to_scale_and_the_one_in_use_is_thick() -> None:
    families = {"flat <fp32>": [(0.5, 1000.0), (1.0, 100.0)], "ivf": [(0.75, 10.0)]}
    drawn = curve_panel("text", families, {"flat <fp32>": 3, "ivf": 0}, "ivf", 0.9, 10)

    def across(recall: float) -> float:
        return LEFT + PANEL_WIDTH * (recall - 0.4) / 0.6  # 0.4 is the first round number below what there is

    first, second = re.findall(r"points='([^']*)'", drawn)
    assert [tuple(map(float, point.split(","))) for point in first.split()] == [
        pytest.approx((across(0.5), TOP), abs=0.06),
        pytest.approx((LEFT + PANEL_WIDTH, TOP + PANEL_HEIGHT / 2), abs=0.06),
    ]
    assert second == f"{across(0.75):.1f},{TOP + PANEL_HEIGHT:.1f}"
    assert re.findall(r"class='(curve[^']*)'", drawn) == ["curve", "curve used"]
    assert f"class='axis goal' d='M{across(0.9):.1f} " in drawn
    assert "<g class='c3'><title>flat &lt;fp32&gt;</title>" in drawn


def test_one_speed_alone_lies_at_the_foot_of_its_decade() -> None:
    drawn = curve_panel("text", {"flat": [(0.5, 100.0), (1.0, 100.0)]}, {"flat": 0}, "flat", 0.9, 10)
    (points,) = re.findall(r"points='([^']*)'", drawn)
    assert [float(point.split(",")[1]) for point in points.split()] == [pytest.approx(TOP + PANEL_HEIGHT, abs=0.06)] * 2


def test_points_keep_their_proportions() -> None:
    points = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    drawn = scatter(points, [0, 1, 2], ["a<", "b", "c"], "x")
    places = np.array([(float(x), float(y)) for x, y in re.findall(r"cx='([\d.]+)' cy='([\d.]+)'", drawn)])
    right, up = places[1] - places[0], places[2] - places[0]
    assert right[1] == pytest.approx(0)
    assert up == pytest.approx([0, -right[0] / 2], abs=0.11)  # upwards is up
    assert "<title>a&lt;</title>" in drawn
    assert re.findall(r"dot c(\d)", drawn) == ["0", "1", "2"]
