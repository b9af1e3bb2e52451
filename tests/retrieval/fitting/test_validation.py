"""Recommending to judge, and judging by what users did next and liked."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.index import FlatIndex
from retrieval.candidates import Candidates
from retrieval.fitting.selection.behaviour_selection import training_users, validation_users
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.fitting.selection.validation import Validation
from retrieval.interactions.histories import History, min_liked_weight
from retrieval.models.behaviour import Behaviour, QueryTower
from retrieval.models.item_space import ItemSpace
from retrieval.models.new_items import ColdStartModel
from retrieval.models.user_model import UserModel

COUNT, DIM, WIDTH = 50, 8, 5
ITEMS = ItemIds([f"i{row}" for row in range(6)])


def history(rows: list[int], weights: list[float]) -> History:
    return History("ann", np.array(rows, np.int64), np.arange(len(rows)), np.array(weights, np.float32))


def test_half_of_the_largest_weight_is_liked() -> None:
    histories = [history([0, 1], [1, 2]), history([], []), history([2, 3, 4], [5, 2.5, 2.4])]
    assert min_liked_weight(histories, "last") == 2.5
    assert [past.liked(2.5).tolist() for past in histories] == [[], [], [2, 3]]
    assert min_liked_weight(histories, "max") == min_liked_weight(histories, "sum") == 0  # no ratings: all of it
    assert min_liked_weight([], "last") == 0


def test_what_was_disliked_need_not_be_found() -> None:
    found = Candidates(
        np.zeros((2, 1), np.float32),
        np.array([[0, 1, 2], [3, 4, 5]]),
        np.array([[3, 2, 1], [3, 2, 1]], np.float32),
        ITEMS,
        "retrieve",
    )
    wanted = [history([0, 1], [1, 5]), history([3, 4], [1, 1])]
    validation = Validation(ITEMS, [], 3)
    both = (1.0 + 1.0) / 2
    assert validation.mean(found, wanted, "ndcg@3") == pytest.approx(both)
    # Of the first user only the second hit is liked, the second user liked nothing and is left out.
    assert replace(validation, min_relevance=2.5).mean(found, wanted, "ndcg@3") == pytest.approx(
        1 / np.log2(3), abs=1e-4
    )


def test_users_without_anything_liked_neither_teach_nor_judge() -> None:
    liked, disliked, nothing = history([1], [5]), history([1], [1]), history([], [])
    cuts = [
        TemporalSplit(liked, liked, disliked),
        TemporalSplit(liked, disliked, liked),
        TemporalSplit(nothing, liked, liked),
        TemporalSplit(*[nothing] * 3),
    ]
    assert [cuts.index(part) for part in training_users(cuts, 2.5)] == [0]
    assert [cuts.index(part) for part in validation_users(cuts, 2.5)] == [1, 2]


def test_content_that_has_no_say_is_not_read_and_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    towers = (QueryTower(np.array([np.inf], np.float32), np.ones((1, 1), np.float32), np.zeros(WIDTH - 1, np.float32)),)
    items, said = (rng.normal(size=(COUNT, width)).astype(np.float32) for width in (WIDTH, WIDTH - 1))
    one = np.ones(1, np.float32)
    nothing = np.zeros((1, 2 * WIDTH - 1), np.float32)
    predictor = ColdStartModel(one[None], 1.0, nothing, nothing[0])
    block = Behaviour(items, said, np.ones(COUNT, np.float32), one, towers, predictor, popular=0.3)
    content = rng.normal(size=(COUNT, DIM)).astype(np.float32)
    rows = [np.array([1, 7]), np.array([3])]
    histories = [History("ann", past, past, np.ones(len(past), np.float32)) for past in rows]
    validation = Validation(ItemIds([f"i{number}" for number in range(COUNT)]), (), 10)
    for alpha in (0.0, 0.5):
        space = ItemSpace.of(content, UserModel(), replace(block, content=alpha))
        found = validation.recommend(space, histories)
        queries = space.user_queries(rows, [past.weights for past in histories])
        assert bool(queries[:, :DIM].any()) == bool(alpha)
        scores, order = FlatIndex(space.indexed).search(queries, COUNT)
        for line, seen in enumerate(rows):
            kept = ~np.isin(order[line], seen)
            assert found.rows[line].tolist() == order[line][kept][:10].tolist()
            np.testing.assert_allclose(found.scores[line], scores[line][kept][:10], rtol=1e-5)
        assert found.queries.shape == (2, DIM + WIDTH)
