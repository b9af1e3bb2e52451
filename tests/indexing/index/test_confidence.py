"""The recall that is promised is reached on all queries, not only on those that were asked: against a known recall."""

from typing import Any, cast

import numpy as np
import pytest

from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.efforts import Point, cheapest, choose
from indexing.index.tuning.families import FLAT, GRAPH
from indexing.index.tuning.recall import CONFIDENCE, Recalls, lower_bound, mean

K, TARGET, DRAWS, QUERIES = 10, 0.95, 100, 500
EF_SEARCH = tuple(range(200, 2000, 8))


class Searching:
    """An index as far as it is tuned."""

    efforts = SearchParamsByKind()

    def __len__(self) -> int:
        return 10_000

    def with_efforts(self, efforts: SearchParamsByKind) -> "Searching":
        index = Searching()
        index.efforts = efforts
        return index


def found(luck: Recalls, ef_search: int) -> Recalls:
    """Of answers that are found each from some effort on, (B, K), which share is found by this one."""
    return np.asarray((luck >= ef_search**-0.5).mean(axis=1), np.float64)


def true_recall(ef_search: int) -> float:
    return float(1 - ef_search**-0.5)


class Asked:
    """Queries with a known recall for every effort, as far as they are measured."""

    exact = np.empty((QUERIES, K))

    def __init__(self, luck: Recalls) -> None:
        self.luck = luck

    def halves(self) -> tuple["Asked", "Asked"]:
        return Asked(self.luck[::2]), Asked(self.luck[1::2])

    def measure_each(self, index: Searching, _vectors: object) -> tuple[Recalls, float]:
        return found(self.luck, index.efforts.default.ef_search), 1.0


def chosen(target: float, luck: Recalls, family: Any = GRAPH) -> Any:  # noqa: ANN401 - stands for an index and its queries
    return choose(family, cast(Any, Searching()), target, cast(Any, Asked(luck)), np.empty((0, 1), np.float32))


@pytest.fixture(autouse=True)
def many_efforts_lie_close_to_the_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.tuning.efforts.EF_SEARCH", EF_SEARCH)


def test_the_target_is_missed_no_more_often_than_the_confidence_allows() -> None:
    rng = np.random.default_rng(0)
    missed, missed_by_mean, efforts = 0, 0, []
    for _ in range(DRAWS):
        luck = rng.random((QUERIES, K))
        choice = chosen(TARGET, luck)
        missed += true_recall(choice.effort.ef_search) < TARGET
        assert choice.recall == mean(found(luck[1::2], choice.effort.ef_search))
        assert choice.recall_bound >= TARGET
        efforts.append(choice.effort.ef_search)
        by_mean = cheapest(
            [[SearchParams(ef_search=value) for value in EF_SEARCH]],
            lambda effort: effort.ef_search,
            TARGET,
            lambda effort: Point(effort, mean(found(luck, effort.ef_search)), 1.0),  # noqa: B023 - called at once
        )
        missed_by_mean += true_recall(by_mean.effort.ef_search) < TARGET
    assert missed <= 2 * (1 - CONFIDENCE) * DRAWS
    assert missed_by_mean >= 0.3 * DRAWS
    assert np.mean(efforts) <= 2 * 400  # 400 is the least effort with a recall of .95


def test_the_bound_holds_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    draws = [
        np.where(rng.random(250) < 0.1, rng.random(250), 1.0) for _ in range(1000)
    ]  # a mean of .95, far from normal
    held = np.mean([lower_bound(recalls, TARGET, K) <= 0.95 for recalls in draws])
    assert held == pytest.approx(CONFIDENCE, abs=0.03)


def test_few_queries_prove_little() -> None:
    bounds = [lower_bound(np.ones(count), TARGET, K) for count in (0, 1, 2, 10, 100, 1000)]
    assert bounds == sorted(bounds)
    assert bounds[:2] == [0.0, 0.0]
    assert bounds[2] < TARGET < bounds[3] < bounds[-1] < 1
    assert lower_bound(np.ones(250), 1.0, K) == 1.0


def test_out_of_reach_what_is_surest_is_taken() -> None:
    choice = chosen(0.9999, np.random.default_rng(2).random((QUERIES, K)))
    assert choice.recall_bound < 0.9999
    assert choice.effort.ef_search >= 0.8 * EF_SEARCH[-1]


def test_of_exact_search_nothing_is_estimated() -> None:
    class All(Asked):
        def measure_each(self, _index: Searching, _vectors: object) -> tuple[Recalls, float]:
            return np.ones(len(self.luck)), 1.0

    choice = choose(FLAT, cast(Any, Searching()), 0.999, cast(Any, All(np.ones((3, K)))), np.empty((0, 1), np.float32))
    assert (choice.recall, choice.recall_bound, choice.effort) == (1.0, 1.0, SearchParams())
