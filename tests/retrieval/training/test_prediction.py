"""Kernel ridge regression on landmarks against its closed form in full, and what should not matter."""

from dataclasses import replace

import numpy as np
import pytest

from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.features.tfidf import SparseRows, Words
from retrieval.training.behaviour.new_items import Target, fit_cold_start, mean_squared_distance

COUNT = 90
RNG = np.random.default_rng(0)
DESCRIBED = RNG.normal(size=(COUNT, 3)).astype(np.float32)
ITEMS = FeatureMatrix(DESCRIBED)
WANTED = np.stack([np.sin(2 * DESCRIBED[:, 0]), DESCRIBED[:, 1] * DESCRIBED[:, 2]], axis=1).astype(np.float64) + 3.0
TRUST = RNG.uniform(0.5, 2.0, COUNT)


def oracle(
    trust: np.ndarray, wanted: np.ndarray, regularisation: float, additive: int = 0, words: SparseRows | None = None
) -> np.ndarray:
    """Solve for weights and offset at once: minimise the weighted squares plus the norm of the function."""
    there = np.flatnonzero(trust)
    together, alone = np.split(DESCRIBED.astype(np.float64), [DESCRIBED.shape[1] - additive], axis=1)
    alone = alone if words is None else np.concatenate([alone, words.dense()], axis=1)
    described = together[there]
    pairs = np.sum((described[:, None] - described[None]) ** 2, axis=2)
    gamma = 1 / pairs.mean()
    alike = np.exp(-gamma * pairs) + alone[there] @ alone[there].T
    inverse = np.diag(regularisation / trust[there])
    system = np.block([[alike + inverse, np.ones((len(there), 1))], [np.ones((1, len(there))), np.zeros((1, 1))]])
    solved = np.linalg.solve(system, np.concatenate([wanted[there], np.zeros((1, wanted.shape[1]))]))
    apart = np.sum((together[:, None] - described[None]) ** 2, axis=2)
    expected: np.ndarray = (np.exp(-gamma * apart) + alone @ alone[there].T) @ solved[:-1] + solved[-1]
    return expected


@pytest.mark.parametrize("regularisation", [0.05, 1.0, 50.0])
def test_with_all_items_as_landmarks_it_is_kernel_ridge_regression(regularisation: float) -> None:
    predictor = fit_cold_start(ITEMS, [Target(WANTED, TRUST)], regularisation)
    np.testing.assert_allclose(predictor.predict(ITEMS), oracle(TRUST, WANTED, regularisation), atol=2e-3)


def test_what_counts_by_itself_is_part_of_the_kernel() -> None:
    predictor = fit_cold_start(FeatureMatrix(DESCRIBED, additive=1), [Target(WANTED, TRUST)], 1.0)
    expected = oracle(TRUST, WANTED, 1.0, additive=1)
    np.testing.assert_allclose(predictor.predict(FeatureMatrix(DESCRIBED, additive=1)), expected, atol=2e-3)
    assert np.abs(expected - oracle(TRUST, WANTED, 1.0)).max() > 0.1


def test_words_are_part_of_the_kernel() -> None:
    texts = [" ".join(RNG.choice(["red", "blue", "green", "grey", "black"], 2)) for _ in range(COUNT)]
    words = Words(("black", "blue", "green", "grey", "red"), np.ones(5, np.float32))
    described = FeatureMatrix(DESCRIBED, 1, words.transform(texts))
    wanted = WANTED + np.array([["red" in text, -("blue" in text)] for text in texts])
    predictor = fit_cold_start(described, [Target(wanted, TRUST)], 1.0)
    expected = oracle(TRUST, wanted, 1.0, additive=1, words=described.words)
    np.testing.assert_allclose(predictor.predict(described), expected, atol=2e-3)
    mute = replace(described, words=None)  # as items of a bundle that lost its text columns
    assert np.abs(predictor.predict(mute) - expected).max() > 0.1


def test_what_counts_by_itself_is_learned_from_items_that_are_unlike_in_all_else() -> None:
    rng = np.random.default_rng(1)
    year, rest = rng.integers(0, 2, 240), rng.normal(size=(240, 30)).astype(np.float32)
    described = np.concatenate([rest, np.eye(2, dtype=np.float32)[year]], axis=1)
    wanted = [Target(year[:40, None].astype(np.float64), np.ones(40))]
    off = {}
    for additive in (0, 2):
        known, new = (FeatureMatrix(some, additive) for some in (described[:40], described[40:]))
        off[additive] = np.abs(fit_cold_start(known, wanted, 1.0).predict(new)[:, 0] - year[40:]).mean()
    assert off[2] < 0.1 < 0.3 < off[0]


def test_what_is_not_trusted_does_not_matter() -> None:
    trust, wanted = TRUST.copy(), WANTED.copy()
    trust[60:], wanted[60:] = 0.0, 1e6
    predictor = fit_cold_start(ITEMS, [Target(wanted, trust)], 1.0)
    assert len(predictor.landmarks) == 60
    np.testing.assert_allclose(predictor.predict(ITEMS), oracle(trust, wanted, 1.0), atol=2e-3)


def test_targets_keep_their_places_whoever_shares_their_trust() -> None:
    halved = np.where(np.arange(COUNT) % 2, TRUST, 0.0)
    first, second = WANTED[:, :1], WANTED[:, 1:]
    both = fit_cold_start(ITEMS, [Target(first, TRUST), Target(second, halved), Target(WANTED, TRUST)], 1.0)
    found = both.predict(ITEMS)
    np.testing.assert_allclose(found[:, [0]], oracle(TRUST, first, 1.0), atol=2e-3)
    np.testing.assert_allclose(found[:, 2:], oracle(TRUST, WANTED, 1.0), atol=2e-3)
    # The second was learned on landmarks of which every other says nothing itself.
    assert np.abs(found[:, 1] - found[:, 3]).max() > 0.01


def test_a_straight_line_and_a_product_are_learned() -> None:
    rng = np.random.default_rng(1)
    described = rng.uniform(-1, 1, (400, 3)).astype(np.float32)
    wanted = np.stack([described @ [1.0, 2.0, 0.0], described[:, 0] * described[:, 1]], axis=1)
    predictor = fit_cold_start(FeatureMatrix(described[:300]), [Target(wanted[:300], np.ones(300))], 1e-2)
    asked = np.clip(described[300:], -0.8, 0.8)  # at the edge there is less to go by
    expected = np.stack([asked @ [1.0, 2.0, 0.0], asked[:, 0] * asked[:, 1]], axis=1)
    np.testing.assert_allclose(predictor.predict(FeatureMatrix(asked)), expected, atol=0.1)


def test_fewer_landmarks_are_drawn_by_seed_and_do_nearly_as_well() -> None:
    rng = np.random.default_rng(1)
    described = rng.uniform(-1, 1, (2000, 2)).astype(np.float32)
    wanted = (np.sin(3 * described[:, :1]) * described[:, 1:]).astype(np.float64)
    target = [Target(wanted, np.ones(2000))]
    items = FeatureMatrix(described)
    first, again, other = (fit_cold_start(items, target, 0.01, landmarks=60, seed=seed) for seed in (0, 0, 1))
    assert first.landmarks.shape == (60, 2)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert not np.array_equal(first.landmarks, other.landmarks)
    assert np.sqrt(np.mean((first.predict(items) - wanted) ** 2)) < 0.02


def test_of_many_items_a_sample_weighs_as_much_as_all_and_does_nearly_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    described = rng.uniform(-1, 1, (2000, 2)).astype(np.float32)
    wanted = np.sin(3 * described[:, :1]) * described[:, 1:]
    target, items = [Target(wanted, rng.uniform(0.5, 2.0, 2000))], FeatureMatrix(described)
    whole = fit_cold_start(items, target, 0.5, landmarks=60).predict(items)
    monkeypatch.setattr("retrieval.training.behaviour.new_items.MAX_FITTED", 500)
    sampled = fit_cold_start(items, target, 0.5, landmarks=60).predict(items)
    # A sample that weighed a quarter would be held back as by four times the regularisation.
    held_back = fit_cold_start(items, target, 2.0, landmarks=60).predict(items)
    off, off_if_held_back = (np.sqrt(np.mean((found - whole) ** 2)) for found in (sampled, held_back))
    assert 0 < off < 0.01
    assert off < off_if_held_back / 2


def test_the_usual_distance_is_that_of_all_pairs() -> None:
    pairs = np.sum((DESCRIBED[:, None] - DESCRIBED[None]) ** 2, axis=2)
    assert mean_squared_distance(DESCRIBED) == pytest.approx(pairs.mean(), rel=1e-5)


@pytest.mark.parametrize("described", [np.zeros((20, 0)), np.ones((20, 4))], ids=["nothing", "all alike"])
def test_where_descriptions_do_not_distinguish_the_mean_is_predicted(described: np.ndarray) -> None:
    trust, wanted = TRUST[:20], WANTED[:20]
    items = FeatureMatrix(described.astype(np.float32))
    found = fit_cold_start(items, [Target(wanted, trust)], 1.0).predict(items)
    np.testing.assert_allclose(found, np.tile(np.average(wanted, axis=0, weights=trust), (20, 1)), rtol=1e-5)


def test_resemblance_is_what_distances_and_products_make_it_and_nothing_is_written_to() -> None:
    rng = np.random.default_rng(0)
    lines, others = (rng.normal(size=(count, 7)).astype(np.float32) for count in (9, 5))
    kept = lines.copy(), others.copy()
    found = FeatureMatrix(lines, additive=2).kernel(FeatureMatrix(others, additive=2), 0.3)
    apart = ((lines[:, None, :5].astype(np.float64) - others[None, :, :5]) ** 2).sum(axis=2)
    expected = np.exp(-0.3 * apart) + lines[:, 5:].astype(np.float64) @ others[:, 5:].T
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # single precision
    np.testing.assert_array_equal(lines, kept[0])
    np.testing.assert_array_equal(others, kept[1])
    assert FeatureMatrix(lines, untrained=np.zeros(7, np.bool_)).trained is lines
