"""Sources against matrices that fit on a page."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.evaluation.baselines import EASE
from retrieval.interactions.histories import History, histories
from retrieval.interactions.interactions import Interactions
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.ranking.sources import (
    Neighbours,
    Popular,
    Recent,
    TrainingLog,
    UserBatch,
    neighbour_table,
    pool_candidates,
    top_neighbours,
)
from retrieval.ranking.sources.pool import top_of
from retrieval.training.ranker.sources import fit_ease, fit_next, fit_recent, fit_sources, weighted_bins
from retrieval.training.ranker_config import SourcesConfig
from tests.retrieval.ranking.worlds import ITEMS, drawn, table_of

DAY = 86_400


def history(user: str, rows: list[int], weights: list[float] | None = None, start: int = 0) -> History:
    count = len(rows)
    given = np.ones(count, np.float32) if weights is None else np.array(weights, np.float32)
    return History(user, np.array(rows, np.int64), start + DAY * np.arange(count, dtype=np.int64), given)


def neighbours(dense: np.ndarray, half_life: float = 2.0) -> Neighbours:
    count = len(dense)
    lines = top_neighbours(dense.astype(np.float32), np.arange(count), count, count)
    weight_bins = np.array([1.0, 5.0], np.float32)
    return Neighbours("ease", *lines, np.ones(count, np.bool_), half_life, weight_bins, weight_bins / np.float32(5))


def test_what_is_stored_of_neighbours_is_what_some_item_says() -> None:
    lines = top_neighbours(np.array([[0, -3, 2], [0, 0, 0], [1, 0, 0]], np.float32), np.array([1, 4, 5]), 7, 2)
    weight_bins = np.array([1, 5], np.float32)
    source = Neighbours("next", *lines, np.arange(7) > 3, 9.0, weight_bins, weight_bins / np.float32(5))
    stored = source.tensors()
    assert stored["rows"].tolist() == [[4, 5], [1, -1]]  # of items 1 and 5; item 4 says nothing
    again = Neighbours.read("next", stored)
    for field in ("table_rows", "rows", "values", "known", "weight_bins", "bin_weights", "half_life", "name"):
        np.testing.assert_array_equal(getattr(again, field), getattr(source, field), err_msg=field)


def test_neighbours_score_as_the_matrix_they_are_of() -> None:
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(6, 6)).astype(np.float32)
    asked = UserBatch.after([history("ann", [0, 3, 4], [1, 5, 3]), history("bob", []), history("eve", [5], [5])])
    counts = np.zeros((3, 6))
    counts[0, [0, 3, 4]] = [0.2 * 0.5 ** (2 / 2), 1.0 * 0.5 ** (1 / 2), 0.6]
    counts[2, 5] = 1.0
    np.testing.assert_allclose(neighbours(dense).scores(asked), counts @ dense, rtol=1e-5, atol=1e-6)


def test_only_the_strongest_are_kept_whatever_their_sign() -> None:
    weights = np.array([[0, -3, 2], [0, 0, 1], [0, 0, 0]], np.float32)
    lines, rows, values = top_neighbours(weights, np.array([1, 4, 5]), 7, 2)
    assert lines.tolist() == [-1, 0, -1, -1, 1, -1, -1]  # item 5 says nothing
    assert rows.tolist() == [[4, 5], [5, -1]]
    assert values.tolist() == [[-3, 2], [1, 0]]


def test_what_nobody_touched_is_not_known() -> None:
    source = replace(neighbours(np.ones((3, 3))), known=np.array([True, False, True]))
    scores = source.scores(UserBatch.after([history("ann", [0])]))
    assert np.isnan(scores[0]).tolist() == [False, True, False]


def test_neighbours_follow_their_items_when_rows_change() -> None:
    dense = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    # Row 1 is deleted, row 2 put in again as row 4, and row 5 is new.
    kept = np.array([True, False, False, True, True, True])
    carried = neighbours(dense).carried(np.array([2, -1]), kept)
    scores = carried.scores(UserBatch.after([history("ann", [1, 2])]))  # formerly rows 3 and 2
    expected = (0.2 * 0.5**0.5) * dense[3, [0, 3, 2]] + 0.2 * dense[2, [0, 3, 2]]
    np.testing.assert_allclose(scores[0, :3], expected, rtol=1e-5)
    assert np.isnan(scores[0, 3])


def test_ease_with_room_for_all_neighbours_is_ease() -> None:
    log = Interactions.from_arrow(table_of(drawn(40)))
    items = ItemIds(ITEMS)
    user_histories = histories(log, items)
    config = SourcesConfig(num_neighbours=len(items), regularisation=5.0)
    source = fit_ease(
        "ease",
        user_histories,
        weighted_bins(user_histories)[1],
        3.0,
        config,
        TrainingLog.of(user_histories, len(items)),
    )
    asked = UserBatch.after(user_histories)
    mean = np.concatenate([past.weights for past in user_histories]).mean()
    oracle = EASE.fit(log, items, regularisation=5.0 * mean**2, weighted=True, half_life=3.0)
    best = oracle.recommend(asked.histories, 5, weights=[weights / mean for weights in asked.weights])
    found = np.take_along_axis(source.scores(asked), best.rows, axis=1)
    np.testing.assert_allclose(found, best.scores, rtol=1e-4, atol=1e-5)


def test_what_comes_next_is_counted_by_hand() -> None:
    user_histories = [history("ann", [0, 1, 2]), history("bob", [0, 1])]
    source = fit_next(user_histories, 4, SourcesConfig(num_neighbours=3, window=2, shrinkage=1.0))
    # 0 -> 1 twice in one step, 0 -> 2 once in two, 1 -> 2 once in one; 0 and 1 were taken twice, 2 once.
    by_hand = {(0, 1): 2 / 3 / 3**0.5, (0, 2): 0.5 / 3 / 2**0.5, (1, 2): 1 / 3 / 2**0.5}
    found = {
        (row, int(other)): float(value)
        for row in range(4)
        if (line := source.table_rows[row]) >= 0
        for other, value in zip(source.rows[line], source.values[line], strict=True)
        if other >= 0
    }
    assert source.table_rows.tolist() == [0, 1, -1, -1]
    assert found == pytest.approx(by_hand)
    assert source.known.tolist() == [True, True, True, False]


def test_recent_counts_the_last_days_and_nothing_that_came_later() -> None:
    user_histories = [history("ann", [0, 1, 2], start=0), history("bob", [2, 0], start=2 * DAY)]
    source = fit_recent(user_histories, 4, days=2.0)
    asked = UserBatch([np.array([3])] * 3, [np.ones(1, np.float32)] * 3, np.array([0, 2 * DAY, 3 * DAY]))
    counts = [[1, 0, 0, 0], [0, 1, 2, 0], [1, 0, 2, 0]]
    np.testing.assert_allclose(source.scores(asked), np.log1p(counts), rtol=1e-6)
    read = Recent.read("recent", source.tensors())
    np.testing.assert_array_equal(read.scores(asked)[2], source.scores(asked)[2])
    carried = source.carried(np.array([0]), np.array([False, True, True, True, True]))
    np.testing.assert_allclose(carried.scores(asked)[2], np.log1p([0, 2, 0, 1]), rtol=1e-6)


@pytest.mark.parametrize("days", [0, 1, 1.99, 2, 3, 400])
def test_recent_counts_the_last_days_of_the_log_for_a_request_after_its_end(days: float) -> None:
    user_histories = [history("ann", [0, 1, 2], start=0), history("bob", [2, 0], start=2 * DAY)]
    source = fit_recent(user_histories, 4, days=2.0)
    time = 3 * DAY + int(days * DAY)
    asked = UserBatch([np.array([3])] * 2, [np.ones(1, np.float32)] * 2, np.array([time, time]))
    for tried in (source, Recent.read("recent", source.tensors())):
        np.testing.assert_allclose(tried.scores(asked), np.log1p([[1, 0, 2, 0]] * 2), rtol=1e-6)
        rows = np.array([[2, 1], [0, 3]])
        np.testing.assert_allclose(tried.scores(asked, rows), np.log1p([[2, 0], [1, 0]]), rtol=1e-6)
    asked = replace(asked, times=np.array([2 * DAY, time]))  # one within the log, one after it
    np.testing.assert_allclose(source.scores(asked), np.log1p([[0, 1, 2, 0], [1, 0, 2, 0]]), rtol=1e-6)


def test_recent_without_interactions_counts_none() -> None:
    source = fit_recent([], 4, days=2.0)
    asked = UserBatch([np.array([3])], [np.ones(1, np.float32)], np.array([9 * DAY]))
    assert source.scores(asked).tolist() == [[0, 0, 0, 0]]


def test_a_pool_holds_each_candidate_once_by_its_best_rank() -> None:
    first, second = (
        Popular(name, np.array(logs, np.float32)) for name, logs in (("a", [5, 4, 3, 2]), ("b", [2, 5, 3, 4]))
    )
    asked = UserBatch.after([history("ann", [0]), history("bob", [2])])
    found = pool_candidates([first, second], asked, ItemIds([*"wxyz"]), 2, query_ids=["ann", "bob"])
    assert found.rows.tolist() == [[1, 2, 3], [0, 1, 3]]
    np.testing.assert_allclose(found.scores, [[1, 0.5, 0.5], [1, 1, 0.5]])
    assert found.query_ids == ("ann", "bob")
    assert [rows.tolist() for rows in found.histories] == [[0], [2]]
    with pytest.raises(InputError, match="0 sources with 2 candidates each"):
        pool_candidates([], asked, ItemIds([*"wxyz"]), 2)


def test_the_best_rows_are_those_of_a_full_sort() -> None:
    scores = np.random.default_rng(0).integers(0, 5, (20, 30)).astype(np.float32)
    scores[:, 7] = np.nan
    exclude = [np.array([1, 2])] * 20
    best = top_of(scores, exclude, 30)
    allowed = np.where(np.isin(np.arange(30), [1, 2, 7]), -np.inf, scores)
    np.testing.assert_array_equal(best[:, :27], np.argsort(-allowed, axis=1, kind="stable")[:, :27])
    assert (best[:, 27:] == -1).all()


def test_a_book_knows_what_was_learned_from() -> None:
    training_log = TrainingLog.of([history("ann", [0, 2]), history("bob", [1])], 4)
    assert training_log.holds([history("bob", [0, 1]), history("ann", [3]), history("eve", [0])]) == [("bob", 1)]


def test_weights_and_times_fit_histories() -> None:
    with pytest.raises(ShapeError, match="weights, times and histories differ in length"):
        UserBatch([np.array([1])], [np.ones(2, np.float32)], np.zeros(1, np.int64))


@pytest.mark.parametrize("rated", [True, False])
def test_the_three_kinds_of_ease_are_each_solved_for_what_counts_in_it(rated: bool) -> None:
    """Where weights are all alike two of them are one matrix, and how ratings differ says nothing."""
    user_histories = [
        replace(past, weights=past.weights if rated else np.ones_like(past.weights))
        for past in histories(Interactions.from_arrow(table_of(drawn(40))), ItemIds(ITEMS))
    ]
    space = ItemSpace.of(np.eye(len(ITEMS), dtype=np.float32), UserModel())
    config = SourcesConfig(num_neighbours=len(ITEMS), regularisation=5.0)
    found = {source.name: source for source in fit_sources(user_histories, space, config)}
    x = np.zeros((len(user_histories), len(ITEMS)))
    seen = np.zeros(x.shape, np.bool_)
    for line, past in enumerate(user_histories):
        x[line, past.rows], seen[line, past.rows] = past.weights, True
    by_hand = x / x[seen].mean()
    halves = {"ease": 20.0, "ease_liked": 1e9, "ease_ratings": 1e9}
    for name, bin_weights in {
        "ease": by_hand,
        "ease_liked": by_hand >= 1,
        "ease_ratings": np.where(seen, by_hand - 1, 0),
    }.items():
        solved = np.linalg.inv(bin_weights.T.astype(float) @ bin_weights + 5.0 * np.eye(len(ITEMS)))
        expected = solved / -np.diag(solved)
        np.fill_diagonal(expected, 0)
        source = found[name]
        assert isinstance(source, Neighbours)
        dense = np.zeros((len(ITEMS), len(ITEMS) + 1))
        for row, line in enumerate(source.table_rows):
            if line >= 0:
                dense[row, source.rows[line]] = source.values[line]  # padding is in the last column
        np.testing.assert_allclose(dense[:, :-1], expected, atol=1e-5)  # single precision
        assert source.half_life == halves[name]
        assert source.known.all()


@pytest.mark.parametrize("count", [300, 40_000])
def test_the_best_of_long_lines_are_those_of_a_whole_sort(count: int) -> None:
    rng = np.random.default_rng(count)
    scores = rng.normal(size=(5, count)).astype(np.float32)
    scores[:, rng.integers(0, count, 20)] = np.nan
    exclude = [rng.choice(count, 30, replace=False) for _ in range(5)]
    allow = rng.random(count) < 0.5
    left = np.where(np.isnan(scores) | ~allow, -np.inf, scores)
    for line, rows in enumerate(exclude):
        left[line, rows] = -np.inf
    np.testing.assert_array_equal(top_of(scores, exclude, 50, allow), np.argsort(-left, axis=1, kind="stable")[:, :50])


@pytest.mark.parametrize("most", [3, 40])
def test_neighbours_bring_up_what_is_said_for_and_nothing_else(most: int) -> None:
    rng = np.random.default_rng(3)
    count = 60
    rows = rng.integers(-1, count, (count, 6)).astype(np.int32)
    values = np.where(rows >= 0, rng.integers(-2, 3, rows.shape), 0).astype(np.float32)  # many are equal
    lines = neighbour_table(np.arange(count), rows, values, count)
    source = Neighbours(
        "ease", *lines, np.ones(count, np.bool_), np.inf, np.ones(1, np.float32), np.ones(1, np.float32)
    )
    histories = [rng.choice(count, size, replace=False) for size in (1, 4, 9)] + [np.empty(0, np.int64)]
    asked = UserBatch(histories, [np.ones(len(one), np.float32) for one in histories], np.zeros(4, np.int64))
    allow = rng.random(count) < 0.7
    found = source.best(asked, histories, most, allow)
    for line, scores in enumerate(source.scores(asked)):
        scores = np.where(allow, scores, 0)
        scores[histories[line]] = 0
        expected = [row for row in np.argsort(-scores, kind="stable").tolist() if scores[row] > 0]
        assert [row for row in found[line].tolist() if row >= 0] == expected[:most]
    assert (found[3] == -1).all()
