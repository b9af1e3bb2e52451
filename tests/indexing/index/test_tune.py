"""The tuner takes the cheapest effort for each kind of query, and each kind is searched with its own."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from indexing.arrays import Vectors, unit
from indexing.errors import InputError
from indexing.index import IndexConfig, Queries, build_index
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.efforts import Point, cheapest, choose, cost, ladders, raised
from indexing.index.tuning.families import EVERY, GRAPH, LISTS_BYTE, LISTS_PQ, Family
from indexing.index.tuning.recall import GroundTruth, lower_bound

COUNT, DIM = 4000, 24


def clustered(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(60, DIM))
    return unit(centres[rng.integers(0, 60, count)] + 0.7 * rng.normal(size=(count, DIM)) + 1.0)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1)


@pytest.fixture(scope="module")
def asked(vectors: Vectors) -> dict[str, GroundTruth]:
    far = unit(np.random.default_rng(9).normal(size=(80, DIM)))
    rows = np.arange(80)
    queries = {"text": Queries(far), "image": Queries(clustered(80, 2)), "item": Queries(vectors[rows], rows)}
    return {kind: GroundTruth.by(vectors, one, 10) for kind, one in queries.items()}


@pytest.mark.parametrize("family", [LISTS_PQ, LISTS_BYTE, GRAPH], ids=lambda family: family.name)
def test_the_cheapest_effort_of_the_whole_grid(
    family: Family, vectors: Vectors, asked: dict[str, GroundTruth], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.index.tuning.efforts.LISTS", (2, 4, 8, 24, 48, 96))
    monkeypatch.setattr("indexing.index.tuning.efforts.CANDIDATES", (400, 150, 50, 20))
    index = family.build(vectors, 8)
    for target in (0.8, 0.95):
        for queries in (one.first(30) for one in asked.values()):

            def measure(effort: SearchParams, queries: GroundTruth = queries) -> Point:
                return Point(effort, *queries.measure(index.with_efforts(SearchParamsByKind(default=effort)), vectors))

            rungs = ladders(family, index)
            point = cheapest(rungs, partial(cost, index), target, measure)
            grid = {effort: measure(effort).recall for ladder in rungs for effort in ladder}
            reaching = [effort for effort, recall in grid.items() if recall >= target]
            assert reaching
            least = min(cost(index, effort) for effort in reaching)
            assert (point.recall, cost(index, point.effort)) == (grid[point.effort], least)
            assert point.recall >= target


def test_an_effort_that_is_known_is_kept_while_it_is_enough_and_else_raised(
    vectors: Vectors, asked: dict[str, GroundTruth]
) -> None:
    index, known, truth = LISTS_PQ.build(vectors, 8), SearchParams(2, 20), asked["image"]
    kept = choose(LISTS_PQ, index, 0.5, truth, vectors, known)
    assert (kept.effort, [point.effort for point in kept.points]) == (known, [known])
    rungs = raised(LISTS_PQ, index, known)
    for target in (0.85, 0.95):
        choice = choose(LISTS_PQ, index, target, truth, vectors, known)
        searched = (index.with_efforts(SearchParamsByKind(default=effort)) for effort in rungs)
        bounds = [lower_bound(truth.measure_each(one, vectors)[0], target, 10) for one in searched]
        first = next(rung for rung, bound in enumerate(bounds) if bound >= target)
        assert first > 0
        assert rungs.index(choice.effort) in (first, first + 1)  # the goal rises in steps
        assert choice.recall_bound == pytest.approx(bounds[rungs.index(choice.effort)])


def test_out_of_reach_the_most_is_taken() -> None:
    recalls = iter([0.7, 0.6])
    rungs = [[SearchParams(lists, candidates) for lists in (1, 2, 3)] for candidates in (90, 50)]
    tried: list[SearchParams] = []

    def measure(effort: SearchParams) -> Point:
        tried.append(effort)
        return Point(effort, next(recalls), 1.0)

    point = cheapest(rungs, lambda effort: effort.lists, 0.9, measure)
    assert (point.recall, point.effort) == (0.7, SearchParams(2, 90))
    assert tried == rungs[0][1:]  # by bisection


def test_every_kind_is_promised_and_searched_with_its_own_effort(
    vectors: Vectors, asked: dict[str, GroundTruth]
) -> None:
    config = IndexConfig(kind="ivf", min_recall=0.9)
    index, report = build_index(vectors, config, {kind: one.queries for kind, one in asked.items()})
    assert isinstance(index, IvfIndex)
    assert set(report.efforts) == set(report.recall) == {"text", "image", "item"}
    assert report.efforts["text"]["lists"] > report.efforts["image"]["lists"]
    for kind, queries in asked.items():
        got, _ = queries.halves()[1].measure(index, vectors, kind)  # those that did not choose
        assert got >= 0.9
        assert report.recall[kind] == pytest.approx(got, abs=1e-4)
        assert 0.9 <= report.recall_bound[kind] < report.recall[kind]
    text = asked["text"]
    assert text.measure(index, vectors, "image")[0] < 0.8  # a text that is searched as a picture loses
    assert text.measure(index, vectors, "text")[0] <= text.measure(index, vectors, None)[0]
    np.testing.assert_array_equal(
        index.search(text.queries.vectors, 10, kind="unheard of")[1], index.search(text.queries.vectors, 10)[1]
    )


@pytest.mark.parametrize("family", [LISTS_PQ, GRAPH], ids=lambda family: family.name)
def test_searches_of_different_kinds_at_once_do_not_touch_each_other(family: Family, vectors: Vectors) -> None:
    efforts = SearchParamsByKind({"low": SearchParams(1, 20, 10), "high": SearchParams(60, 400, 600)})
    index = family.build(vectors, 8).with_efforts(efforts)
    queries = unit(np.random.default_rng(5).normal(size=(20, DIM)))
    alone = {kind: index.search(queries, 10, kind=kind)[1] for kind in ("low", "high")}
    assert (alone["low"] != alone["high"]).any()
    kinds = ["low", "high"] * 60
    with ThreadPoolExecutor(4) as pool:
        for kind, rows in zip(
            kinds, pool.map(lambda kind: index.search(queries, 10, kind=kind)[1], kinds), strict=True
        ):
            np.testing.assert_array_equal(rows, alone[kind])


def test_the_same_catalogue_gives_the_same_index(vectors: Vectors, asked: dict[str, GroundTruth]) -> None:
    queries = {kind: one.queries for kind, one in asked.items()}
    first, second = (build_index(vectors, IndexConfig(kind="ivf", min_recall=0.9), queries) for _ in range(2))
    assert isinstance(first[0], IvfIndex)
    assert isinstance(second[0], IvfIndex)
    assert first[0].to_bytes() == second[0].to_bytes()
    assert (first[1].efforts, first[1].recall) == (second[1].efforts, second[1].recall)


def test_efforts() -> None:
    efforts = SearchParamsByKind(
        {"text": SearchParams(lists=96, candidates=100), "image": SearchParams(lists=8, candidates=150)}
    )
    assert efforts.of("image") == SearchParams(8, 150)
    assert efforts.of(None) == efforts.of("audio") == SearchParams(96, 150)
    assert SearchParamsByKind(default=SearchParams(3)).of("text") == SearchParams(3)
    assert SearchParamsByKind.from_json(efforts.to_json()) == efforts
    for wrong in (-1, True, 1.5, 10**9):
        with pytest.raises(InputError, match="effort lists is"):
            SearchParams(lists=wrong)  # type: ignore[arg-type]
    assert len({family.name for family in EVERY}) == len(EVERY)
