"""EASE against a case solved by hand, and against one ridge regression for each item."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.evaluation.baselines import EASE
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from retrieval.training.behaviour.ease import ease

ITEMS = ItemIds([*"abc"])


def log(*pairs: str, weights: list[float] | None = None) -> Interactions:
    """Two letters an interaction, the user and the item."""
    table = {"user": [pair[0] for pair in pairs], "item": [pair[1] for pair in pairs]}
    return Interactions.from_arrow(pa.table(table | ({"weight": weights} if weights else {})))


@pytest.fixture
def small() -> EASE:
    return EASE.fit(log("1a", "1b", "2b", "2c", "2x"), ITEMS, regularisation=1.0)


def test_three_items_by_hand(small: EASE) -> None:
    # X'X + I = [[2,1,0],[1,3,1],[0,1,2]]; its inverse is [[5,-2,1],[-2,4,-2],[1,-2,5]] / 8.
    np.testing.assert_allclose(small.weights, [[0, 0.5, -0.2], [0.4, 0, 0.4], [-0.2, 0.5, 0]], atol=1e-12)
    np.testing.assert_array_equal(np.diag(small.weights), 0)


def test_histories_are_summed_up(small: EASE) -> None:
    rows = [np.array([0]), np.array([2, 0]), np.array([], np.int64)]
    found = small.recommend(rows, 2)
    assert found.rows.tolist() == [[1, 2], [1, -1], [-1, -1]]
    np.testing.assert_allclose(found.scores, [[0.5, -0.2], [1.0, -np.inf], [-np.inf, -np.inf]], atol=1e-6)
    everything = small.recommend(rows[1:2], 5, exclude=[np.array([], np.int64)])
    assert everything.rows[0, [0, 3, 4]].tolist() == [1, -1, -1]
    assert set(everything.rows[0, 1:3].tolist()) == {0, 2}  # a and c tie at -0.2, but for rounding
    np.testing.assert_allclose(everything.scores[0, :3], [1.0, -0.2, -0.2], atol=1e-6)


def test_late_and_heavy_items_count_more(small: EASE) -> None:
    recent = EASE(small.weights, half_life=1.0)
    nothing = [np.array([], np.int64)]
    found = recent.recommend([np.array([2, 1])], 3, exclude=nothing)  # half of c's line, all of b's
    assert found.rows.tolist() == [[2, 0, 1]]
    np.testing.assert_allclose(found.scores, [[0.4, 0.4 - 0.1, 0.25]], atol=1e-6)
    heavy = small.recommend([np.array([2, 1])], 3, exclude=nothing, weights=[np.array([0.5, 1], np.float32)])
    np.testing.assert_array_equal(heavy.rows, found.rows)
    np.testing.assert_allclose(heavy.scores, found.scores, atol=1e-6)
    with pytest.raises(ShapeError, match="weights and histories differ in length"):
        small.recommend([np.array([2, 1])], 3, weights=[np.array([1], np.float32)])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [5, 30])  # fewer users than items, and more
def test_each_item_is_a_ridge_regression_on_the_others(weighted: bool, count: int) -> None:
    rng = np.random.default_rng(0)
    users, items = np.nonzero(rng.random((count, 8)) < 0.4)
    weights = rng.random(len(users)).astype(np.float32)
    past = Interactions.from_arrow(pa.table({"user": users.astype(str), "item": items.astype(str), "weight": weights}))
    matrix = np.zeros((count, 8))
    matrix[users, items] = weights if weighted else 1
    model = EASE.fit(past, ItemIds([*"01234567"]), regularisation=3.0, weighted=weighted)
    for item in range(8):
        others = np.delete(matrix, item, axis=1)
        solved = np.linalg.solve(others.T @ others + 3 * np.eye(7), others.T @ matrix[:, item])
        np.testing.assert_allclose(model.weights[:, item], np.insert(solved, item, 0), atol=1e-9)


@pytest.mark.parametrize("wishes", [{"regularisation": 0.0}, {"regularisation": float("nan")}, {"half_life": -1.0}])
def test_senseless_wishes_are_refused(wishes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="must be positive"):
        EASE.fit(log("1a"), ITEMS, **wishes)


@pytest.mark.parametrize("users", [20, 300])  # fewer than half of the items, and more
def test_agrees_with_the_formula(users: int) -> None:
    matrix = (np.random.default_rng(users).random((users, 120)) < 0.1).astype(np.float64)
    lines, columns = np.nonzero(matrix)
    past = Interactions.from_arrow(pa.table({"user": lines.astype(str), "item": columns.astype(str)}))
    inverse = np.linalg.inv(matrix.T @ matrix + 2 * np.eye(120))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    found = EASE.fit(past, ItemIds(map(str, range(120))), regularisation=2.0).weights
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, atol=1e-10)  # both in double precision


def test_of_unknown_items_alone_nothing_is_learned() -> None:
    np.testing.assert_array_equal(EASE.fit(log("1x", "2y"), ITEMS).weights, np.zeros((3, 3)))


def test_too_many_items_are_refused() -> None:
    with pytest.raises(InputError, match="20001 items are too many to invert"):
        EASE.fit(log("1a"), ItemIds(map(str, range(20_001))))


@pytest.mark.parametrize("users", [12, 90])  # fewer than half of the items, and more
def test_agrees_with_what_fit_learns(users: int) -> None:
    """One solver: baselines use double precision, and `fit` single precision where that is close enough."""
    rng, items = np.random.default_rng(users), ItemIds([f"i{row}" for row in range(40)])
    pairs = sorted({(f"u{user:03}", f"i{rng.integers(40)}") for user in range(users) for _ in range(8)})
    past = Interactions.from_arrow(pa.table({"user": [user for user, _ in pairs], "item": [item for _, item in pairs]}))
    user_histories = histories(past, items)
    learned = ease(user_histories, [np.ones(len(one), np.float32) for one in user_histories], np.arange(40), 40, 5.0)
    np.testing.assert_allclose(EASE.fit(past, items, regularisation=5.0).weights, learned, atol=1e-4)  # see CLOSE
