"""Only the candidates are scored, many at once: that it is what scoring all items one by one says."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from indexing import arrays as computing
from indexing.arrays import Rows, Vectors, matmul_into, row_products, weighted_sums
from retrieval.candidates import Candidates
from retrieval.ranking import second_stage
from retrieval.ranking.features import MAX_HISTORY, StageFeatures
from retrieval.ranking.heads import NeuralHead
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import UserBatch
from scripts.benchmarks.rerank.stage_world import NOW, World

ITEMS, DIM, DAY = 4000, 48, 86_400


@pytest.fixture(scope="module")
def world() -> World:
    made = World.of(ITEMS, DIM, 150, seed=0)
    for number, source in enumerate(made.features.sources):
        if source.name == "ease":  # does not know every tenth item
            made.features.sources[number] = replace(source, known=np.arange(ITEMS) % 10 > 0)  # type: ignore
    return made


@pytest.fixture(scope="module")
def given(world: World) -> Candidates:
    """Candidates of 150 users: some padded, some twice, of users with no history, one item, and a very long one."""
    found = world.candidates(150, 40, seed=0)
    rng, rows = np.random.default_rng(1), found.rows.copy()
    rows[::3, 30:] = -1
    rows[1, 5] = rows[1, 4]
    rows[2, 3] = 0  # which stands in for padding too
    histories, weights = list(found.histories), list(found.weights)
    histories[4], weights[4] = histories[4][:0], weights[4][:0]
    histories[5], weights[5] = histories[5][:1], weights[5][:1]
    histories[6] = rng.integers(0, ITEMS, MAX_HISTORY + 90)
    weights[6] = rng.integers(1, 6, MAX_HISTORY + 90).astype(np.float32)
    scores = np.where(rows >= 0, found.scores, np.float32(-np.inf))
    return replace(found, rows=rows, scores=scores, histories=tuple(histories), weights=tuple(weights))


def at_many_times(found: Candidates) -> Candidates:
    idle = np.arange(len(found)).astype(np.float32) / np.float32(3)
    return replace(found, times=NOW - DAY * np.arange(len(found)), idle=idle)


def slowly(features: StageFeatures, found: Candidates) -> Iterator[Vectors]:
    """The features of one query after another, as they are described: (K, F) float64."""
    for line in range(len(found)):
        one = UserBatch.of(found.take([line]), features.statistics.mean_weight, features.statistics.now)
        kept = found.rows[line][found.rows[line] >= 0]
        columns: list[Any] = []
        for source in features.sources:
            scores = source.scores(one)[0, kept]
            known = scores[~np.isnan(scores)].astype(np.float64)
            columns.append(np.nan_to_num((scores - known.mean()) / max(known.std(), 1e-6)))
            columns.append([np.log1p((known > score).sum() if score == score else len(known)) for score in scores])
        history, weights = one.histories[0][-MAX_HISTORY:], one.weights[0][-MAX_HISTORY:].astype(np.float64)
        recent = 0.5 ** (np.arange(len(history))[::-1] / 15)
        apart = weights - (weights.mean() if len(history) > 1 else features.statistics.mean_weight)
        last = np.arange(len(history)) == len(history) - 1
        counts = [recent * weights, recent * np.maximum(apart, 0), recent * np.maximum(-apart, 0), last]
        for vectors in features.views.values():
            for of_taste in counts:
                taste = of_taste @ vectors[history].astype(np.float64)
                length = np.linalg.norm(taste)
                columns.append(vectors[kept] @ taste / (length if length > 1e-9 else np.inf))
            columns.append(np.array([not vectors[row].any() for row in kept]))
        columns.extend(features.statistics.at(one.times, kept[None])[0].T)
        whole = one.weights[0].astype(np.float64)
        of_user = [np.log1p(len(whole)), whole.mean(), whole.std()] if len(whole) else [0, 0, 0]
        of_user.append(0 if found.idle is None else np.log(1 + found.idle[line]))
        columns.extend(np.full(len(kept), value) for value in of_user)
        yield np.pad(np.stack(columns, axis=1), ((0, len(found.rows[line]) - len(kept)), (0, 0)))


@pytest.mark.parametrize("many", [False, True], ids=["now", "many times"])
def test_a_source_says_of_some_items_what_it_says_of_all(world: World, given: Candidates, *, many: bool) -> None:
    asked = UserBatch.of(at_many_times(given) if many else given, world.features.statistics.mean_weight, NOW)
    rows: Rows = np.maximum(given.rows, 0)
    for source in world.features.sources:
        expected = np.take_along_axis(source.scores(asked), rows, axis=1)
        found = source.scores(asked, rows)
        assert found.dtype == np.float32, source.name
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5, err_msg=source.name)
    assert np.isnan(next(one for one in world.features.sources if one.name == "ease").scores(asked, rows)).any()


@pytest.mark.parametrize("many", [False, True], ids=["now", "many times"])
def test_features_are_those_of_the_straightforward_way(world: World, given: Candidates, *, many: bool) -> None:
    found = at_many_times(given) if many else given
    features = world.features.of(found)
    expected = np.stack(list(slowly(world.features, found)))
    assert features.shape == expected.shape
    for column, name in enumerate(map(str, world.features.features)):
        # A rank is of scores in float32: two that differ in the last place may change places.
        tolerance = 2e-4 if name.endswith("_z") else 1e-5
        differ = ~np.isclose(features[:, :, column], expected[:, :, column], rtol=1e-4, atol=tolerance)
        assert differ.mean() <= (1e-3 if name.endswith("_rank") else 0), name


def test_the_stage_orders_by_the_head_on_these_features_in_any_number_of_threads(
    world: World, given: Candidates, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng, width = np.random.default_rng(0), len(world.features.features)
    asked = UserBatch.of(given, world.features.statistics.mean_weight, NOW)
    linear, w1, b1, w2 = (rng.normal(size=n).astype(np.float32) for n in [(width,), (width, 16), (16,), (16,)])
    head = NeuralHead(np.zeros(width, np.float32), np.ones(width, np.float32), linear, w1, b1, w2)
    stage = SecondStage(world.features, head, world.space.indexed, min_history=0, new_items=True)
    scores = np.where(given.rows >= 0, head.score(world.features.of(given)), -np.inf)
    order = np.argsort(-scores, axis=1, kind="stable")
    answers = []
    for workers in (1, 3):
        monkeypatch.setattr(second_stage, "WORKERS", workers)
        answers.append(stage.rerank(given))
    np.testing.assert_array_equal(answers[0].rows, answers[1].rows)
    np.testing.assert_array_equal(answers[0].scores, answers[1].scores)
    np.testing.assert_allclose(answers[0].scores, np.take_along_axis(scores, order, axis=1), rtol=1e-4, atol=1e-3)
    assert (answers[0].rows == np.take_along_axis(given.rows, order, axis=1)).mean() > 0.99
    assert stage.rerank(given.take([])).rows.shape == (0, 40)
    assert stage.rerank(given.top(0)).rows.shape == (150, 0)
    assert world.features.sources[4].scores(asked, np.empty((150, 0), np.int64)).shape == (150, 0)


@pytest.mark.parametrize("dim", [8, 300], ids=["narrow", "wide"])
def test_products_by_row_are_inner_products(monkeypatch: pytest.MonkeyPatch, dim: int) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (rng.normal(size=n).astype(np.float32) for n in [(50, dim + 2), (3, 2, dim)])
    rows = rng.integers(0, 50, (3, 20))
    for table in (vectors[:, :dim].copy(), vectors[:, 1 : dim + 1]):  # together in memory, and not
        expected = np.einsum("bsd,bkd->bsk", queries.astype(np.float64), table[rows])
        for small in (2**18, 2 * dim * 7):  # all rows at once, and seven at a time
            monkeypatch.setattr(computing, "_ONE_THREAD_PRODUCT", small)
            np.testing.assert_allclose(row_products(table, queries, rows), expected, rtol=1e-4, atol=1e-4)
            right = np.ascontiguousarray(table.T)
            product = matmul_into(queries[0], right, np.empty((2, 50), np.float32))
            np.testing.assert_allclose(product, queries[0].astype(np.float64) @ table.T, rtol=1e-4, atol=1e-4)
    assert row_products(vectors[:, :dim], queries[:0], rows[:0]).shape == (0, 2, 20)
    assert not row_products(vectors[:, :0], queries[:, :, :0], rows).any()


@pytest.mark.parametrize("room", [1, 60, 2**18], ids=["one by one", "some", "all"])
def test_weighted_sums_are_those_of_each_part(monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    monkeypatch.setattr("indexing.arrays.BUFFER_SIZE", room)
    rng = np.random.default_rng(0)
    lengths = np.array([3, 0, 7, 1, 1, 0, 12, 3])
    ends, rows = np.cumsum(lengths), rng.integers(0, 30, lengths.sum())
    for sums, dim in ((1, 5), (4, 9), (2, 0)):
        counts = rng.normal(size=(sums, lengths.sum())).astype(np.float32)
        vectors = rng.normal(size=(30, dim + 2)).astype(np.float32)[:, 1 : dim + 1]
        found = weighted_sums(counts, vectors, rows, lengths)
        for line, (start, end) in enumerate(zip(ends - lengths, ends, strict=True)):
            expected = counts[:, start:end].astype(np.float64) @ vectors[rows[start:end]]
            np.testing.assert_allclose(found[line], expected, rtol=1e-4, atol=1e-5)
    assert weighted_sums(counts[:, :0], vectors, rows[:0], lengths[:0]).shape == (0, 2, 0)
