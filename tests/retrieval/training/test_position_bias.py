"""The curve of positions from impressions, and what candidates count by it."""

import numpy as np
import pyarrow as pa
import pytest

from indexing import ItemIds
from indexing.errors import TrainingError
from retrieval import Impressions, Interactions
from retrieval.interactions.histories import History
from retrieval.training.ranker.neural_head import Examples, train_neural_head, train_trees_head
from retrieval.training.ranker.position_bias import PositionCurve, fit_position_curve
from retrieval.training.ranker.shown_items import ShownItems
from retrieval.training.ranker_config import HeadConfig, TreesConfig

DAY = 86_400
CURVES = {"steep": 1 / np.arange(1, 11), "flat": np.arange(1, 11) ** -0.5, "none": np.ones(10)}


def simulated(curve: np.ndarray, seed: int, *, users: int = 300, visits: int = 20) -> tuple[np.ndarray, ...]:
    """Lists of ten of 200 items, in the order of the user's taste and of chance, with what was taken of them."""
    rng, count = np.random.default_rng(seed), 200
    affinity = rng.normal(size=(users, count))
    liked = 1 / (1 + np.exp(3 * (1.8 - affinity)))
    shown = [
        np.argsort(-affinity - 0.5 * rng.gumbel(size=affinity.shape), axis=1)[:, : len(curve)] for _ in range(visits)
    ]
    items = np.concatenate(shown).ravel()
    numbers = np.tile(np.repeat(np.arange(users), len(curve)), visits)
    positions = np.tile(np.arange(1, len(curve) + 1), users * visits)
    return numbers, items, positions, rng.random(len(items)) < curve[positions - 1] * liked[numbers, items]


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("seed", range(3))
def test_the_curve_of_a_simulation_is_found(name: str, seed: int) -> None:
    learned = fit_position_curve(*simulated(CURVES[name], seed))
    assert learned.unit == "user and item"
    np.testing.assert_allclose(learned.propensities, CURVES[name], atol=0.05)


def test_rates_alone_would_not_find_it() -> None:
    _, _, positions, taken = simulated(CURVES["flat"], 0)
    rates = np.bincount(positions - 1, taken) / np.bincount(positions - 1)
    assert np.abs(rates / rates[0] - CURVES["flat"]).max() > 0.1  # what is liked is shown on top


def test_the_ratio_of_two_positions_is_that_of_mantel_and_haenszel() -> None:
    # Pair 0: 40 of 100 at the first place, 10 of 50 at the second. Pair 1: 30 of 60, 40 of 120.
    shown = [(0, 1, 40, 100), (0, 2, 10, 50), (1, 1, 30, 60), (1, 2, 40, 120)]
    columns = [
        np.concatenate([np.full(count, value) for value, count in part])
        for part in (
            [(pair, count) for pair, _, _, count in shown],
            [(place, count) for _, place, _, count in shown],
        )
    ]
    taken = np.concatenate([np.arange(count) < takes for _, _, takes, count in shown])
    learned = fit_position_curve(columns[0], np.zeros(len(taken), np.int64), columns[1], taken)
    expected = (10 * 100 / 150 + 40 * 60 / 180) / (40 * 50 / 150 + 30 * 120 / 180)
    np.testing.assert_allclose(learned.propensities, [1, expected], rtol=1e-9)
    assert learned.taken == 120


def test_where_no_user_saw_an_item_again_items_are_compared() -> None:
    users, items, positions, taken = simulated(CURVES["flat"], 0, users=4000, visits=1)
    learned = fit_position_curve(np.arange(len(users)), items, positions, taken)
    assert learned.unit == "item"
    assert learned.propensities[0] == 1


def test_a_place_that_nothing_compares_lies_between_its_neighbours() -> None:
    users, items, positions, taken = simulated(CURVES["steep"], 0)
    kept = positions != 4
    learned = fit_position_curve(users[kept], items[kept], positions[kept], taken[kept])
    third, fourth, fifth = np.log(learned.propensities[2:5])
    assert fourth == pytest.approx((third + fifth) / 2)


def test_a_list_that_is_never_mixed_teaches_no_curve() -> None:
    positions = np.tile(np.arange(1, 11), 100)
    with pytest.raises(TrainingError, match=r"only 0 impressions were taken of items that were shown at several"):
        fit_position_curve(np.repeat(np.arange(100), 10), positions, positions, np.ones(1000, np.bool_))


def test_propensities_are_clipped_and_deep_places_count_as_the_last() -> None:
    curve = PositionCurve((1.0, 0.5, 1.2, 0.02), 100, "item")
    np.testing.assert_allclose(curve.at(np.array([1, 2, 3, 4, 90])), [1, 0.5, 1, 0.1, 0.1])


ITEMS = ItemIds(["a", "b", "c", "d"])


def shown_items(impressions: list[tuple[str, str, int, int]], taken: list[tuple[str, str, int]]) -> ShownItems:
    """Impressions of a few users, beside those of many others that teach the curve 1, 1/2, ...."""
    users, items, positions, takes = simulated(CURVES["steep"], 0, users=100, visits=20)
    rows = [
        (f"x{u}", f"i{i}", int(p), 1000 * n) for n, (u, i, p) in enumerate(zip(users, items, positions, strict=True))
    ]
    names = ("user_id", "item_id", "position", "timestamp")
    clicked = [(u, i, t) for (u, i, _, t), take in zip(rows, takes, strict=True) if take]
    shown = pa.table(dict(zip(names, map(list, zip(*rows, *impressions, strict=True)), strict=True)))
    log = pa.table(
        dict(zip(("user_id", "item_id", "timestamp"), map(list, zip(*clicked, *taken, strict=True)), strict=True))
    )
    catalogue = ItemIds([*ITEMS, *(f"i{row}" for row in range(200))])
    return ShownItems.of(Impressions.from_arrow(shown), Interactions.from_arrow(log), catalogue)


def history(user: str, rows: list[int], times: list[int]) -> History:
    return History(user, np.array(rows, np.int64), np.array(times, np.int64), np.ones(len(rows), np.float32))


def test_a_take_belongs_to_the_last_impression_within_a_day() -> None:
    impressions = [("ann", "a", 1, 100), ("ann", "a", 2, 200), ("bob", "a", 1, 100), ("ann", "b", 3, 100)]
    found = shown_items(impressions, [("ann", "a", 250), ("bob", "a", 101 + DAY), ("ann", "b", 99)])
    part = found.users["ann"]
    assert list(
        zip(found.rows[part].tolist(), found.times[part].tolist(), found.taken[part].tolist(), strict=True)
    ) == [
        (0, 100, False),
        (0, 200, True),
        (1, 100, False),
    ]
    assert found.taken[found.users["bob"]].tolist() == [False]


def test_candidates_count_by_what_was_shown_and_taken() -> None:
    impressions = [("ann", "a", 2, 100), ("ann", "b", 1, 100), ("ann", "b", 1, 200), ("ann", "c", 4, 100)]
    found = shown_items([*impressions, ("ann", "d", 1, 20)], [("ann", "a", 110), ("ann", "c", 210)])
    half, quarter = found.curve.at(np.array([2, 4]))
    past, wanted = history("ann", [9], [50]), history("ann", [0, 2, 8], [110, 210, 210])
    candidates = np.array([[0, 1, 2, 3, 8, 5, -1]])
    gains = np.isin(candidates, [0, 2, 8]).astype(np.float32)
    weights = found.weights(candidates, gains, [past], [wanted])[0]
    # b was shown twice on top since the past and not taken; d only before it; 8 was taken and never shown.
    mean = (1 / half + 1 / quarter + 1) / 3
    np.testing.assert_allclose(weights, [1 / half / mean, 3, 1 / quarter / mean, 1, 1 / mean, 1, 1], rtol=1e-6)
    assert found.gains(wanted, 0.0) == pytest.approx({0: 1 / half, 2: 1 / quarter, 8: 1.0})
    np.testing.assert_array_equal(
        found.weights(candidates, gains, [history("eve", [], [])], [history("eve", [0], [1])])[0], np.ones(7)
    )


def examples(weights: np.ndarray | None) -> Examples:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 6, 3)).astype(np.float32)
    gains = np.eye(6, dtype=np.float32)[features[:, :, 1].argmax(axis=1)]
    gains[::2] = np.eye(6, dtype=np.float32)[features[::2, :, 2].argmax(axis=1)]  # every other user goes by another
    return Examples(features, gains, np.ones((40, 6), np.bool_), weights)


SMALL = HeadConfig(hidden=4, ensemble_size=1, epochs=40, min_steps=20, learning_rate=0.05, dropout=0.0)


def test_weights_of_one_are_no_weights() -> None:
    plain, _ = train_neural_head(examples(None), SMALL)
    ones, _ = train_neural_head(examples(np.ones((40, 6), np.float32)), SMALL)
    for name, tensor in plain.tensors().items():
        same = np.asarray(ones.tensors()[name], np.float32)
        np.testing.assert_allclose(same, np.asarray(tensor, np.float32), rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("trees", [False, True])
def test_what_weighs_more_is_learned_more(trees: bool) -> None:
    if trees:
        pytest.importorskip("lightgbm")
    weights = np.ones((40, 6), np.float32)
    weights[::2] = 10
    score = []
    for given in (None, weights):
        examples_used = examples(given)
        if trees:
            head = train_trees_head(
                examples_used, TreesConfig(num_boost_round=10, min_data_in_leaf=5, feature_fraction=1.0)
            )
            found = head.score(examples_used.features)
        else:
            found = train_neural_head(examples_used, SMALL)[0].score(examples_used.features)
        score.append(float((found.argmax(axis=1) == examples_used.gains.argmax(axis=1))[::2].mean()))
    assert score[1] > score[0]


def test_joined_examples_have_weights_where_any_has() -> None:
    weighted = examples(np.full((40, 6), 2, np.float32))
    assert Examples.joined([examples(None), examples(None)]).weights is None
    joined = Examples.joined([examples(None), weighted])
    assert joined.weights is not None
    np.testing.assert_array_equal(joined.weights.mean(axis=1), [1] * 40 + [2] * 40)
