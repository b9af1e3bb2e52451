"""Goals are read, obeyed where they can be, and reported where they cannot."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from indexing.arrays import Vectors, unit
from indexing.errors import InputError
from indexing.index import IndexConfig, build_index
from indexing.index.backends.faiss import FaissIndex
from indexing.index.base import TunableIndex
from indexing.index.config import SearchParams, parse_bytes
from indexing.index.tuning.efforts import Choice
from indexing.index.tuning.families import (
    CODES,
    CODES_HALF,
    EVERY,
    FLAT,
    FLAT_BYTE,
    FLAT_HALF,
    GRAPH,
    LISTS_BYTE,
    LISTS_PQ,
    LISTS_PQ_BYTE,
    Family,
    shortlist,
)
from indexing.index.tuning.trial import Trial, rank_trials

DIM = 24


def clustered(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(60, DIM))
    return unit(centres[rng.integers(0, 60, count)] + 0.7 * rng.normal(size=(count, DIM)) + 1.0)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2G", 2 << 30),
        ("512M", 512 << 20),
        ("1.5k", 1536),
        (" 3 MB ", 3 << 20),
        ("7", 7),
        ("1T", 1 << 40),
        ("3MiB", 3 << 20),
        (99, 99),
    ],
)
def test_amounts_of_memory(text: str | int, size: int) -> None:
    assert parse_bytes(text) == size
    assert IndexConfig(max_memory=text).memory == size


@pytest.mark.parametrize("text", ["", "G", "2X", "-1M", "0", 0, "1,5G", True, 1.5, "1e9"])
def test_what_is_no_amount_of_memory(text: object) -> None:
    with pytest.raises(InputError, match="is no amount of memory; give bytes, or text such as '512M' or '2G'"):
        parse_bytes(text)  # type: ignore[arg-type]


def test_impossible_goals_are_refused() -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"k": 0}, "k is 0, expected a whole number of at least 1"),
        ({"m": 2.5}, r"m is 2\.5"),
        ({"sample": True}, "sample is True"),
        ({"max_latency_ms": 0}, "max_latency_ms is 0; give a number of more than 0"),
        ({"max_latency_ms": float("nan")}, "max_latency_ms is nan"),
        ({"max_memory": "0"}, "'0' is no amount of memory"),
        ({"max_memory": "lots"}, "'lots' is no amount of memory"),
    ]
    for settings, message in wrong:
        with pytest.raises(InputError, match=message):
            IndexConfig(**settings)
    assert IndexConfig().memory == float("inf")


def test_the_short_list() -> None:
    small, large = 20_000, 200_000
    assert shortlist(IndexConfig(), 7_000, 512) == [FLAT, LISTS_PQ, GRAPH]
    assert shortlist(IndexConfig(), small, 512) == [CODES, FLAT, LISTS_PQ, GRAPH]
    assert shortlist(IndexConfig(kind="flat"), small, 512) == [FLAT]
    assert shortlist(IndexConfig(), large, 512) == [LISTS_PQ, LISTS_BYTE, FLAT, GRAPH]
    # 41 MB and 20 MB flat, 25 MB by refined codes and 26 MB in refined lists
    assert shortlist(IndexConfig(max_memory="27M"), small, 512)[:3] == [CODES_HALF, FLAT_HALF, LISTS_PQ]
    assert shortlist(IndexConfig(max_memory="200M"), large, 512)[:2] == [LISTS_PQ_BYTE, LISTS_BYTE]
    assert shortlist(IndexConfig(max_memory="1K"), large, 512) == [FLAT_BYTE]
    assert shortlist(IndexConfig(kind="best"), large, 512) == list(EVERY)
    assert shortlist(IndexConfig(kind="hnsw"), large, 512) == [GRAPH]
    assert {family.kind for family in shortlist(IndexConfig(), 30, 512)} == {"flat", "hnsw"}  # too few for lists
    assert shortlist(IndexConfig(kind="ivf"), 30, 512)[0] == LISTS_PQ  # which will say so


def test_a_memory_goal_forces_a_smaller_index() -> None:
    vectors, queries = clustered(4000, 1), {"text": clustered(100, 2)}
    free = build_index(vectors, IndexConfig(), queries)[1]
    half = build_index(vectors, IndexConfig(max_memory=free.bytes // 2), queries)[1]
    less = build_index(vectors, IndexConfig(max_memory=half.bytes - 1), queries)[1]
    assert [report.family for report in (free, half)] == ["flat fp32", "flat fp16"]
    for report in (free, half, less):
        assert report.target_met
        assert report.unmet == []
    assert less.bytes < half.bytes < free.bytes == vectors.nbytes
    lists = build_index(vectors, IndexConfig(kind="ivf", max_memory=260_000, min_recall=0.9), queries)[1]
    assert (lists.family, lists.target_met) == ("ivf pq4 + sq8", True)
    assert lists.bytes <= 260_000


def test_goals_that_cannot_be_met_are_reported_with_the_nearest() -> None:
    vectors, queries = clustered(3000, 1), {"text": clustered(100, 2), "image": vectors_of(5)}
    index, report = build_index(vectors, IndexConfig(min_recall=1.0, max_memory="1K", max_latency_ms=1e-6), queries)
    assert index.kind == "faiss-flat"
    assert (report.family, report.target_met) == ("flat sq8", False)
    unmet_goals = " | ".join(report.unmet)
    bound = report.recall_bound["text"]
    for goal in (
        f"recall of text {report.recall['text']:.3f}, at least {bound:.3f} with confidence, < 1.0",
        "recall of image",
        "latency of text",
    ):
        assert goal in unmet_goals
    assert f"memory {report.bytes / 1e6:.1f} MB > 0.0 MB" in unmet_goals
    assert report.tried[0]["unmet"] == report.unmet


def vectors_of(seed: int) -> Vectors:
    return clustered(50, seed)


def test_every_family_is_measured_when_the_best_is_wanted() -> None:
    vectors, queries = clustered(2000, 1), {"text": clustered(60, 2), "image": clustered(60, 3)}
    index, report = build_index(vectors, IndexConfig(kind="best", min_recall=0.9), queries)
    assert [trial["family"] for trial in report.tried] == [family.name for family in EVERY]
    for trial in report.tried:
        for measured in ("recall", "queries_per_second", "latency_ms", "points"):
            assert set(trial[measured]) == {"text", "image"}
        assert all(value > 0 for value in trial["latency_ms"].values())
        for kind, points in trial["points"].items():
            at = [point for point in points if point["effort"] == trial["efforts"].get(kind, {})]
            assert len(at) == 1
    meeting = {trial["family"]: trial for trial in report.tried if not trial["unmet"]}
    slowest = {family: min(trial["queries_per_second"].values()) for family, trial in meeting.items()}
    assert report.target_met
    assert 1.1 * slowest[report.family] >= max(slowest.values()) * (1 - 1e-6)
    assert (index.kind, len(index)) == (f"faiss-{report.family.split()[0]}", 2000)


class Sized(FaissIndex):
    """An index that claims a number of bytes."""

    size = 0

    @property
    def nbytes(self) -> int:
        return self.size


def trial(family: Family, latency: float, size: int, recall: float = 1.0, unmet: tuple[str, ...] = ()) -> Trial:
    index: TunableIndex = Sized.flat(np.eye(3, dtype=np.float32))
    assert isinstance(index, Sized)
    index.size = size
    speeds = {"text": 1000 / latency, "image": 10_000.0}
    missed = {goal: ["x"] for goal in unmet}
    choices = {"text": Choice(SearchParams(), recall, recall, ())}
    return Trial(family, index, choices, speeds, {"text": latency, "image": 0.1}, 0.0, missed)


def test_the_fastest_that_meets_every_goal_and_of_equally_fast_the_smallest() -> None:
    fast, small = trial(FLAT, 1.0, 100), trial(LISTS_PQ, 1.09, 50)
    slow, missing = trial(GRAPH, 1.2, 10), trial(LISTS_BYTE, 0.1, 1, 0.5, ("recall",))
    assert rank_trials([missing, slow, fast, small]) == [small, fast]
    twin = replace(fast, family=GRAPH)
    assert rank_trials([fast, twin])[0] is fast
    assert rank_trials([twin, fast])[0] is twin


def test_the_nearest_fits_then_misses_least_then_finds_most() -> None:
    too_large = trial(FLAT, 1.0, 100, 1.0, ("memory",))
    two = trial(LISTS_PQ, 1.0, 10, 0.94, ("recall", "latency"))
    worse, better = trial(GRAPH, 1.0, 10, 0.8, ("recall",)), trial(LISTS_BYTE, 1.0, 10, 0.9, ("recall",))
    assert rank_trials([too_large, two, worse, better]) == [better]
    assert rank_trials([too_large, two]) == [two]
