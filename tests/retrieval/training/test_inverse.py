"""The inverse that EASE is made of: against numpy, by users or by items, and where single precision is not enough."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.training.behaviour import ease_inverse as inverse
from retrieval.training.behaviour.ease import ease
from retrieval.training.behaviour.ease_inverse import CLOSE, Inverse, interaction_matrix, inverse_of

ITEMS = 60
# Single precision has 6e-8; sums of hundreds of squares lose a factor of some hundreds of that.
SINGLE = 5e-5


def drawn(users: int, seed: int = 0) -> list[History]:
    """Users who rate from 3 to 30 items, the first ones most."""
    rng = np.random.default_rng(seed)
    chance = 1 / np.arange(1, ITEMS + 1) ** 0.7
    histories = []
    for user in range(users):
        rows = rng.choice(ITEMS, rng.integers(3, 31), replace=False, p=chance / chance.sum())
        histories.append(
            History(f"u{user}", rows, np.arange(len(rows)), rng.integers(1, 6, len(rows)).astype(np.float32))
        )
    return histories


def dense(histories: list[History]) -> np.ndarray:
    """X of all items, filled in by hand."""
    found = np.zeros((len(histories), ITEMS))
    for line, past in enumerate(histories):
        for row, weight in zip(past.rows, past.weights, strict=True):
            found[line, row] = weight
    return found


def interactions(histories: list[History]) -> csr_matrix:
    return interaction_matrix(histories, [past.weights for past in histories], np.arange(ITEMS), ITEMS)


@pytest.mark.parametrize(("users", "by_users"), [(5, True), (29, True), (31, False), (400, False)])
def test_the_inverse_is_that_of_numpy(users: int, by_users: bool) -> None:
    histories = drawn(users)
    x = dense(histories)
    expected = np.linalg.inv(x.T @ x + 7.0 * np.eye(ITEMS))
    found = inverse_of(interactions(histories), 7.0)
    assert found.by_users == by_users
    np.testing.assert_allclose(found.diagonal, np.diag(expected), rtol=SINGLE)
    other = np.random.default_rng(1).normal(size=(ITEMS, 4))
    np.testing.assert_allclose(found @ other, expected @ other, atol=SINGLE * np.abs(expected).max())
    np.testing.assert_allclose(found.dense(), expected, atol=SINGLE * np.abs(expected).max())


@pytest.mark.parametrize("users", [20, 200])
def test_weights_of_some_items_are_those_of_ease_solved_in_double_precision(users: int) -> None:
    histories, kept = drawn(users), np.arange(0, ITEMS, 3)
    x = dense(histories)[:, kept]
    solved = np.linalg.inv(x.T @ x + 20.0 * np.eye(len(kept)))
    expected = solved / -np.diag(solved)
    np.fill_diagonal(expected, 0)
    found = ease(histories, [past.weights for past in histories], kept, ITEMS, 20.0)
    np.testing.assert_allclose(found, expected, atol=SINGLE)


@pytest.mark.parametrize("users", [20, 200])
def test_what_single_precision_cannot_tell_apart_is_solved_in_double(users: int) -> None:
    """Eigenvalues from 1e-4 to some thousands: single precision would be off by far more than is allowed."""
    histories, kept = drawn(users), np.arange(ITEMS)
    x = dense(histories)
    solved = np.linalg.inv(x.T @ x + 1e-4 * np.eye(ITEMS))
    expected = solved / -np.diag(solved)
    np.fill_diagonal(expected, 0)
    found = inverse_of(interactions(histories), 1e-4)
    assert found.matrix.dtype is torch.float64
    weights = ease(histories, [past.weights for past in histories], kept, ITEMS, 1e-4)
    np.testing.assert_allclose(weights, expected, atol=1e-5)


def test_a_wrong_inverse_is_noticed() -> None:
    found = inverse_of(interactions(drawn(200)), 7.0)
    assert found.max_error() < CLOSE
    found.matrix[:, np.argmin(found.diagonal)] *= 1.01  # of the most touched item
    assert found.max_error() > CLOSE


def test_what_fails_the_check_is_done_in_double_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inverse, "max_error", lambda _: 2 * CLOSE)
    found = inverse_of(interactions(drawn(200)), 7.0)
    assert found.matrix.dtype is torch.float64


@pytest.mark.parametrize("regularisation", [0.0, -1.0])
def test_without_regularisation_there_is_no_inverse(regularisation: float) -> None:
    with pytest.raises(TrainingError, match=r"regularisation of -?\d for 60 items and 5 users; give a larger one"):
        inverse_of(interactions(drawn(5)), regularisation)


def test_the_gram_matrix_is_that_of_all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inverse, "_BLOCK", 7)
    histories = drawn(200)
    x = dense(histories)
    expected = np.linalg.inv(x.T @ x + 7.0 * np.eye(ITEMS))
    np.testing.assert_allclose(inverse_of(interactions(histories), 7.0).dense(), expected, atol=SINGLE * expected.max())
