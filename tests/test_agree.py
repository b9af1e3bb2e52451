"""The comparison of lists forgives rounding and nothing else."""

import numpy as np
import pytest

from tests.agree import assert_best, assert_lists_agree

SCORES = np.array([[0.9, 0.5, 0.5, 0.1]], np.float32)
ROWS = np.array([[4, 7, 2, 1]])


@pytest.mark.parametrize("rows", [[4, 7, 2, 1], [4, 2, 7, 1], [4, 7, 2, 9]])
def test_what_ties_may_change_places_also_with_what_is_no_longer_listed(rows: list[int]) -> None:
    rounded = SCORES + np.float32(1e-7) * np.array([[1, -1, 0, 1]], np.float32)
    assert_lists_agree((rounded, np.array([rows])), (SCORES, ROWS))


@pytest.mark.parametrize(
    ("scores", "rows"),
    [
        ([0.9, 0.5, 0.5, 0.1], [7, 4, 2, 1]),  # places that do not tie
        ([0.9, 0.5, 0.5, 0.1], [4, 7, 9, 1]),  # another in the middle
        ([0.9, 0.5, 0.5, 0.1], [4, 7, 7, 1]),  # one twice
        ([0.9, 0.5, 0.4, 0.1], [4, 7, 2, 1]),
        ([0.9, 0.5, 0.5, -np.inf], [4, 7, 2, -1]),  # one less
    ],
)
def test_what_differs_is_reported(scores: list[float], rows: list[int]) -> None:
    with pytest.raises(AssertionError):
        assert_lists_agree((np.array([scores], np.float32), np.array([rows])), (SCORES, ROWS))


def test_the_best_are_the_best() -> None:
    scores = np.array([[0.2, 0.9, 0.5, 0.5 + 1e-7]])
    for rows in ([1, 2, 3], [1, 3, 2]):
        assert_best(np.array([rows]), scores)
    for rows in ([1, 2, 0], [2, 1, 3]):
        with pytest.raises(AssertionError):
            assert_best(np.array([rows]), scores)
