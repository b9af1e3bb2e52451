"""Bootstrap intervals: repeatable, of the right width, and honest about a random ranker."""

import numpy as np
import pytest

from indexing.errors import InputError
from retrieval.evaluation.statistics import bootstrap_intervals


def test_width_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(5, 2, (400, 1))
    ((low, high),) = bootstrap_intervals(values, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)


def test_a_higher_level_is_wider() -> None:
    values = np.random.default_rng(1).random((50, 1))
    ((low90, high90),) = bootstrap_intervals(values, level=0.9)
    ((low99, high99),) = bootstrap_intervals(values, level=0.99)
    assert low99 < low90 < high90 < high99


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(2).random((30, 2))
    first = bootstrap_intervals(values, seed=3)
    np.testing.assert_array_equal(first, bootstrap_intervals(values, seed=3))
    assert not np.array_equal(first, bootstrap_intervals(values, seed=4))


def test_columns_see_the_same_draws() -> None:
    column = np.random.default_rng(2).random(30)
    both = bootstrap_intervals(np.column_stack([column, column + 1]))
    np.testing.assert_allclose(both[1], both[0] + 1)


def test_no_variation_has_no_width() -> None:
    np.testing.assert_allclose(bootstrap_intervals(np.full((20, 1), 0.3)), [[0.3, 0.3]])
    np.testing.assert_allclose(bootstrap_intervals(np.array([[0.7]])), [[0.7, 0.7]])


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(100):
        ((low, high),) = bootstrap_intervals(rng.random((60, 1)), seed=seed, resamples=300)
        covered += bool(low <= 0.5 <= high)
    assert 88 <= covered <= 100


@pytest.mark.parametrize("level", [0, 1, -0.1, 95, float("nan")])
def test_a_senseless_level_is_refused(level: float) -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        bootstrap_intervals(np.ones((3, 1)), level=level)


def test_no_resamples_are_refused() -> None:
    with pytest.raises(InputError, match="resamples is 0; give"):
        bootstrap_intervals(np.ones((3, 1)), resamples=0)
