"""Prediction from resemblance against loops."""

from dataclasses import replace

import numpy as np

from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.features.tfidf import SparseRows
from retrieval.models.new_items import BLOCK, ColdStartModel


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def test_resemblance_is_one_with_oneself_and_falls_with_the_squared_distance() -> None:
    described, landmarks = drawn(0, 6, 3), drawn(1, 4, 3)
    landmarks[2] = described[5]
    expected = [[np.exp(-0.4 * np.sum((one - other) ** 2)) for other in landmarks] for one in described]
    found = FeatureMatrix(described).kernel(FeatureMatrix(landmarks), 0.4)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found[5, 2] == 1


def test_what_counts_by_itself_is_multiplied_beside_it() -> None:
    described, landmarks = drawn(0, 6, 5), drawn(1, 4, 5)
    expected = [
        [np.exp(-0.4 * np.sum((one - other)[:3] ** 2)) + one[3:] @ other[3:] for other in landmarks]
        for one in described
    ]
    items = FeatureMatrix(described, additive=2)
    found = items.kernel(FeatureMatrix(landmarks, additive=2), 0.4)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    predictor = ColdStartModel(landmarks, 0.4, drawn(1, 4, 2), drawn(2, 2), additive=2)
    by_hand = np.array(expected) @ predictor.weights + predictor.offset
    np.testing.assert_allclose(predictor.predict(items), by_hand, rtol=1e-4, atol=1e-5)


def test_each_word_adds_what_it_says() -> None:
    words = SparseRows(np.array([0, 2, 1]), np.array([0.5, 2, 1], np.float32), np.array([2, 0, 1]), 3)
    items = FeatureMatrix(np.zeros((3, 2), np.float32), words=words)
    said = np.array([[1, 10], [2, 20], [4, 40]], np.float32)
    predictor = ColdStartModel(np.zeros((0, 2), np.float32), 1.0, np.zeros((0, 2), np.float32), np.ones(2, np.float32))
    found = replace(predictor, by_word=said).predict(items)
    np.testing.assert_allclose(found, np.array([[9.5, 86], [1, 1], [3, 21]]))
    np.testing.assert_array_equal(predictor.predict(items), np.ones((3, 2)))


def test_what_is_predicted_is_the_same_in_blocks_as_one_by_one() -> None:
    predictor = ColdStartModel(drawn(0, 5, 3), 0.7, drawn(1, 5, 2), drawn(2, 2))
    described = drawn(3, BLOCK + 3, 3)
    found = predictor.predict(FeatureMatrix(described))
    assert found.dtype == np.float32
    for row in (0, BLOCK - 1, BLOCK, BLOCK + 2):
        near = [np.exp(-0.7 * np.sum((described[row] - mark) ** 2)) for mark in predictor.landmarks]
        np.testing.assert_allclose(found[row], near @ predictor.weights + predictor.offset, rtol=1e-4, atol=1e-5)
    assert predictor.predict(FeatureMatrix(described[:0])).shape == (0, 2)


def test_far_from_everything_only_the_offset_is_left() -> None:
    predictor = ColdStartModel(drawn(0, 5, 3), 0.7, drawn(1, 5, 2), drawn(2, 2))
    np.testing.assert_array_equal(
        predictor.predict(FeatureMatrix(np.full((1, 3), 100, np.float32)))[0], predictor.offset
    )
