"""A history of several tastes is split into them, and each is answered."""

import numpy as np
import pytest

from indexing.arrays.vectors import unit
from retrieval.models.interests import best_of, split_history

RNG = np.random.default_rng(0)
CENTRES = np.eye(3, 8, dtype=np.float32)
GROUP = np.repeat(np.arange(3), 10)
VECTORS = 3 * (CENTRES[GROUP] + RNG.normal(0, 0.05, (30, 8))).astype(np.float32)


def test_what_goes_together_is_one_interest() -> None:
    history = np.array([0, 10, 1, 20, 11, 2, 21, 12, 3, 22, 4])
    found = split_history(VECTORS, history, 3)
    assert [history[places].tolist() for places in found] == [[0, 1, 2, 3, 4], [10, 11, 12], [20, 21, 22]]


@pytest.mark.parametrize(("length", "most", "groups"), [(1, 3, 1), (5, 3, 1), (6, 3, 2), (9, 3, 3), (30, 1, 1)])
def test_an_interest_needs_three_items(length: int, most: int, groups: int) -> None:
    found = split_history(VECTORS, np.arange(30)[::-1][:length], most)
    assert len(found) <= groups
    assert sorted(np.concatenate(found).tolist()) == list(range(length))


def test_equal_items_are_one_interest() -> None:
    same = unit(np.ones((9, 4), np.float32))
    (found,) = split_history(same, np.arange(9), 3)
    assert found.tolist() == list(range(9))


def test_each_item_counts_by_its_best_score() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, -np.inf], [0.3, 0.2, 0.1]], np.float32)
    rows = np.array([[4, 7, 1], [7, 2, -1], [5, 6, 8]])
    found_scores, found = best_of(scores, rows, [2, 1], 4)
    assert found.tolist() == [[4, 7, 2, 1], [5, 6, 8, -1]]
    np.testing.assert_array_equal(found_scores[0], np.array([0.9, 0.8, 0.7, 0.1], np.float32))
    assert best_of(scores, rows, [2, 1], 2)[1].tolist() == [[4, 7], [5, 6]]
