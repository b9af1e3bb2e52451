"""How many steps a fit has, and which of them goes on."""

from dataclasses import replace
from pathlib import Path

import pytest

from indexing.bundle.build import build_bundle
from indexing.encoders import load_encoder
from retrieval import FitConfig, fit
from retrieval.fitting.steps import (
    BEFORE_TEST,
    EVERYTHING,
    TRAIN,
    WINDOWS,
    Step,
    StepCounter,
    expected_refresh_steps,
    expected_steps,
    window_name,
)
from tests.groups import COUNT, SMALL, STAGE, catalogue, items, walks

ALL = replace(SMALL, reranker=STAGE)


def test_the_steps_of_a_whole_fit() -> None:
    assert expected_steps(FitConfig(), profiles=True, windows=3, trained_before=True) == [
        ("behaviour", TRAIN),
        ("serving", TRAIN),
        ("profiles", TRAIN),
        ("sources", TRAIN),
        ("reranker", TRAIN),
        ("behaviour", BEFORE_TEST),
        ("sources", BEFORE_TEST),
        ("reranker", BEFORE_TEST),
        ("behaviour", window_name(1, 3)),
        ("sources", window_name(1, 3)),
        ("behaviour", window_name(2, 3)),
        ("sources", window_name(2, 3)),
        ("behaviour", window_name(3, 3)),
        ("sources", window_name(3, 3)),
        ("reranker", window_name(3, 3)),
        ("reranker", WINDOWS),
        ("behaviour", BEFORE_TEST),
        ("behaviour", EVERYTHING),
        ("sources", EVERYTHING),
        ("index", EVERYTHING),
    ]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (replace(SMALL, split="user"), ["behaviour", "serving", "behaviour", "index"]),
        (FitConfig(behaviour=None, reranker=None), ["adapter", "adapter", "index"]),
        (replace(SMALL, behaviour=None, reranker=STAGE), ["sources", "reranker"] * 2 + ["sources", "index"]),
        (replace(SMALL, reranker=STAGE, behaviour=None, effort="fast"), ["sources", "reranker", "sources", "index"]),
    ],
)
def test_parts_that_are_not_wanted_have_no_step(config: FitConfig, expected: list[str]) -> None:
    assert [part for part, _ in expected_steps(config, windows=0)] == expected


def test_a_refresh_has_the_steps_of_what_is_published() -> None:
    assert expected_refresh_steps(("behaviour", "reranker")) == [
        ("behaviour", BEFORE_TEST),
        ("sources", BEFORE_TEST),
        ("behaviour", EVERYTHING),
        ("sources", EVERYTHING),
        ("index", EVERYTHING),
    ]


def test_steps_are_numbered_as_they_come() -> None:
    counter = StepCounter([("behaviour", TRAIN), ("sources", TRAIN), ("behaviour", BEFORE_TEST), ("index", EVERYTHING)])
    assert [counter.number("behaviour", TRAIN) for _ in range(2)] == [(1, 4)] * 2  # pass by pass
    assert counter.number("adapter", TRAIN) == (2, 5)  # nobody expected it
    assert counter.number("behaviour", BEFORE_TEST) == (4, 5)  # one was skipped
    assert counter.number("behaviour", EVERYTHING) == (5, 6)
    assert counter.number("index", EVERYTHING) == (6, 6)
    assert StepCounter().number("adapter", TRAIN) == (1, 1)


def test_a_fit_in_which_every_part_helps_has_the_expected_steps(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    build_bundle(catalogue(tmp_path, items(range(COUNT))), load_encoder("vectors:"), root)
    seen: list[Step] = []
    report = fit(root, walks(), ALL, progress=seen.append)
    assert report.published == ("behaviour", "reranker"), report.notes
    expected = expected_steps(ALL, windows=0)  # all of these users are there all of the time
    assert list(dict.fromkeys((step.part, step.trained_on) for step in seen)) == expected
    assert list(dict.fromkeys((step.number, step.steps) for step in seen)) == [
        (number, len(expected)) for number in range(1, len(expected) + 1)
    ]
