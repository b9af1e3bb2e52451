"""Held out is the last interaction of some users, and learning never sees it."""

import numpy as np
import pytest

from retrieval.training.adapter import adapter as module
from retrieval.training.adapter.adapter import hold_out


def test_only_the_last_of_some_long_histories_is_held_out() -> None:
    histories = [np.arange(n % 5 + 1) + n for n in range(100)]
    kept, held = hold_out(histories, 200, 0.5, np.random.default_rng(0))
    assert held is not None
    cut = [user for user in range(100) if len(kept[user]) < len(histories[user])]
    assert len(cut) == len(held.targets) == 30  # half of the 60 with three or more
    assert held.users.tolist() == cut
    for user, past, target in zip(cut, held.histories, held.targets, strict=True):
        assert len(past) >= 2
        np.testing.assert_array_equal([*past, target], histories[user])
        np.testing.assert_array_equal(kept[user], past)
    np.testing.assert_array_equal(held.candidates, np.arange(200))
    again = hold_out(histories, 200, 0.5, np.random.default_rng(0))[1]
    assert again is not None
    np.testing.assert_array_equal(again.targets, held.targets)


def test_with_few_users_nothing_is_held_out() -> None:
    histories = [np.arange(4)] * 19
    kept, held = hold_out(histories, 5, 0.4, np.random.default_rng(0))
    assert held is None
    assert [len(history) for history in kept] == [4] * 19


def test_of_many_only_some_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_USERS", 20)
    monkeypatch.setattr(module, "MAX_CANDIDATES", 50)
    histories = [np.array([n, n + 1, n + 2]) for n in range(300)]
    kept, held = hold_out(histories, 400, 1.0, np.random.default_rng(0))
    assert held is not None
    assert len(held.targets) == sum(len(history) == 2 for history in kept) == 20
    assert np.isin(held.targets, held.candidates).all()
    assert 50 <= len(held.candidates) <= 70
    assert (np.diff(held.candidates) > 0).all()
