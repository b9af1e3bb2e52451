"""The clock of `scripts.benchmarks.fit.fit_cost`, by given seconds."""

from collections.abc import Iterator

import pytest

from retrieval.fitting.steps import EVERYTHING, TRAIN, Step
from scripts.benchmarks.fit import fit_cost


def test_seconds_go_to_the_part_that_was_named_last(monkeypatch: pytest.MonkeyPatch) -> None:
    def seconds(*values: float) -> Iterator[float]:
        return iter(values)

    wall, processor = seconds(0, 2, 5, 9, 14, 20), seconds(0, 1, 2, 4, 7, 11)
    monkeypatch.setattr(fit_cost, "perf_counter", lambda: next(wall))
    monkeypatch.setattr(fit_cost, "process_time", lambda: next(processor))
    clock = fit_cost.Clock()
    for step in (
        Step("behaviour", TRAIN, 0, 2),
        Step("behaviour", TRAIN, 1, 2),
        Step("sources", TRAIN, 0, 0),
        Step("behaviour", EVERYTHING, 0, 2),
    ):
        clock(step)
    clock.stop()
    assert clock.parts == {
        "reading": [2, 1],
        "behaviour, train part": [3 + 4, 1 + 2],
        "sources, train part": [5, 3],
        "behaviour, all interactions": [6, 4],
    }
    assert clock.peaks.keys() == clock.parts.keys()
    assert list(clock.peaks.values()) == sorted(clock.peaks.values())
