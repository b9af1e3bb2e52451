"""Trials of serving give what retrieval and evaluation give, for every way to serve that is tried."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation import evaluate
from retrieval.fitting.selection.serving_weights import apply_serving, select_serving, select_weights
from retrieval.fitting.selection.validation import Validation
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import ALL_ALIKE, UserModel
from retrieval.training.serving_trials import ServingTrials, ndcg, target_mask
from tests.retrieval.models.test_behaviour import random_block

DIM, ITEMS, LEAST = 5, 30, 2.5
SERVINGS = [
    {"half_life": ALL_ALIKE, "share": 1.0, "popular": 0.0, "content": 0.0},
    {"half_life": 2.0, "share": 0.0, "popular": 0.4, "content": 0.8},
    {"half_life": 2.0, "share": 1.5, "popular": 1.6, "content": 0.1},
    {"half_life": 5.0, "share": 0.3, "popular": 0.1, "content": 0.0},
]


def history(user: int, rng: np.random.Generator, least: int) -> History:
    rows = rng.choice(ITEMS, rng.integers(least, 12), replace=False)
    return History(f"u{user}", rows, np.arange(len(rows)), rng.integers(1, 6, len(rows)).astype(np.float32))


def world(block: Behaviour) -> tuple[ItemSpace, list[History], list[History]]:
    """Users of whom one disliked all that they did, and what they did next and liked, of which some was done before."""
    rng = np.random.default_rng(1)
    content = unit(rng.normal(size=(ITEMS, DIM)).astype(np.float32))
    histories, later = ([history(user, rng, least) for user in range(30)] for least in (1, 4))
    histories[3] = replace(histories[3], weights=np.ones_like(histories[3].weights))
    later = [replace(one, weights=np.append(one.weights[1:], 5).astype(np.float32)) for one in later]
    return ItemSpace.of(content, UserModel(min_relevance=LEAST), block), histories, later


@pytest.mark.parametrize("few", [0.0, 3.0])
@pytest.mark.parametrize("serving", SERVINGS)
def test_a_trial_is_what_is_served_and_judged(serving: dict[str, float], few: float) -> None:
    block = replace(random_block(), history_shrinkage=few)
    space, histories, later = world(block)
    validation = Validation(ItemIds([f"i{row}" for row in range(ITEMS)]), (), 10, LEAST)
    trials = ServingTrials(space, histories, [one.liked(LEAST) for one in later])
    for other in SERVINGS:  # whatever was tried before
        trials.values(apply_serving(block, other))
    tried = apply_serving(block, serving)
    found = validation.recommend(replace(space, behaviour=tried), histories, 20)
    np.testing.assert_allclose(trials.queries(tried), found.queries, rtol=1e-6, atol=1e-7)  # the same steps
    np.testing.assert_array_equal(trials.best(trials.queries(tried)), found.rows)
    np.testing.assert_allclose(trials.values(tried), validation.values(found, later, "ndcg@20"), atol=1e-9)


def test_the_same_serving_is_chosen_as_by_retrieval_and_evaluation() -> None:
    block = random_block()
    space, histories, later = world(block)
    validation = Validation(ItemIds([f"i{row}" for row in range(ITEMS)]), (), 10, LEAST)
    trials = ServingTrials(space, histories, [one.liked(LEAST) for one in later])
    expected, value = select_weights(
        lambda one: validation.values(
            validation.recommend(replace(space, behaviour=apply_serving(block, one)), histories, 20), later, "ndcg@20"
        )
    )
    _, serving, best = select_serving(block, trials.values)
    assert serving == expected
    assert best == pytest.approx(value, abs=1e-9)


def test_ndcg_is_that_of_evaluation_for_lists_that_end_early_and_more_wanted_than_shown() -> None:
    rng = np.random.default_rng(2)
    items = ItemIds([f"i{row}" for row in range(40)])
    space, histories, _ = world(random_block())
    rows = np.array([rng.permutation(40)[:20] for _ in histories])
    rows[4, 7:] = -1
    rows[5] = -1
    wanted = [rng.choice(40, rng.integers(1, 31), replace=False) for _ in histories]
    validation = Validation(items, (), 10)
    blank = validation.recommend(replace(space, indexed=space.indexed[:40]), [past[:0] for past in histories], 20)
    found = replace(blank, rows=rows, scores=np.where(rows >= 0, -np.arange(20.0), -np.inf).astype(np.float32))
    expected = evaluate(found, [[items[row] for row in one] for one in wanted], measures=["ndcg@20"])
    np.testing.assert_allclose(ndcg(rows, wanted, 40), expected.per_query["ndcg@20"], atol=1e-9)


def test_what_is_among_the_wanted_is_said_line_by_line() -> None:
    rows = np.array([[[1, -1], [2, 0]], [[1, 1], [-1, 2]]])
    assert target_mask(rows, [np.array([2, 0]), np.array([1])], 3).tolist() == [
        [[False, False], [True, True]],
        [[True, True], [False, False]],
    ]
    assert not target_mask(rows, [np.empty(0, np.int64)] * 2, 3).any()
