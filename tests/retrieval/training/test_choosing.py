"""What is as good as the best but for chance or rounding is as good, and the first of such is taken."""

import numpy as np
import pytest

from retrieval.fitting.selection.serving_weights import GRID, select_weights
from retrieval.training.one_standard_error import clearly_better, first_as_good

RNG = np.random.default_rng(0)
USERS = RNG.uniform(0, 1, 400)


def test_the_best_is_taken_where_it_is_better_for_most_users() -> None:
    assert first_as_good([USERS, USERS + 0.01, USERS - 0.2]) == 1
    assert first_as_good([USERS, USERS + 0.01, USERS + 0.02 + RNG.normal(0, 0.01, 400)]) == 2


@pytest.mark.parametrize("noise", [1e-16, 1e-12, 1e-4, 0.3])
def test_among_equals_the_first_is_taken_however_they_are_rounded(noise: float) -> None:
    kept = 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        kept += first_as_good([USERS, USERS + rng.normal(0, noise, 400)]) == 0
    # Chance alone is over a standard error in 16 of 100; the best by itself would be the second in half of them.
    assert kept >= (50 if noise < 1e-9 else 35)


@pytest.mark.parametrize(
    ("gained", "clear"), [(0.0, False), (1e-12, False), (0.05, False), (0.15, True), (-0.15, False)]
)
def test_what_is_clear(gained: float, clear: bool) -> None:
    spread = np.tile([-1.0, 1.0], 200)  # a standard error of one twentieth
    assert clearly_better(USERS + gained + spread, USERS) is clear


def test_one_user_and_equal_users_are_compared_too() -> None:
    assert clearly_better(np.array([0.5]), np.array([0.4]))
    assert not clearly_better(np.full(9, 0.4), np.full(9, 0.4))


def test_a_flat_top_of_serving_stays_where_it_began() -> None:
    """As on two processors: each user's worth differs in the last bits, and so did what was chosen."""
    chosen = []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)

        def judge(serving: dict[str, float], rng: np.random.Generator = rng) -> np.ndarray:
            better = 0.1 * (serving["popular"] == 0.4)
            return USERS + better + rng.normal(0, 1e-12, 400)

        chosen.append(select_weights(judge)[0])
    first = {name: values[0] for name, values in GRID.items()}
    assert chosen == [first | {"popular": 0.4}] * 3
