"""What profiles teach: a ridge regression, counted as users who were left out want it, or not at all."""

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import TrainingError
from retrieval.fitting.selection.profile_selection import select_profile_model
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.training.profile_model import RIDGE, first_tastes, refit_profile_model, with_profile

COUNT, USERS = 60, 300
RNG = np.random.default_rng(0)
SIDE = np.arange(COUNT) % 2  # which of two kinds an item is of
ITEMS = np.concatenate(
    [np.where(SIDE, 1.0, -1.0)[:, None], RNG.normal(size=(COUNT, 2)), RNG.normal(size=(COUNT, 1))], axis=1
).astype(np.float32)
IDS = ItemIds([f"i{row}" for row in range(COUNT)])
TASTES = RNG.integers(2, size=USERS)


def history(name: str, side: int, seed: int) -> History:
    """Eight items, all of one kind."""
    rows = np.random.default_rng(seed).choice(np.flatnonzero(side == SIDE), 8, replace=False)
    return History(name, rows, np.arange(8), np.ones(8, np.float32))


HISTORIES = [history(f"u{user}", int(side), user) for user, side in enumerate(TASTES)]
TELLING = Profiles.from_arrow(
    pa.table({"user": [f"u{user}" for user in range(USERS)], "plan": [f"plan {side}" for side in TASTES]})
)


def test_profiles_that_tell_are_asked_with() -> None:
    taste, report = select_profile_model(TELLING, HISTORIES, ITEMS, IDS)
    assert report.users == USERS
    assert report.profiles > report.popular + 0.2
    asked = taste.queries(taste.table([{"plan": "plan 0"}, {"plan": "plan 1"}]))
    best = np.argsort(-asked @ ITEMS.T, axis=1)[:, :20]
    popular = np.argsort(-ITEMS[:, -1])[:20]
    for side, rows in enumerate(best):
        assert np.mean(SIDE[rows] == side) > np.mean(SIDE[popular] == side)
    length = np.sqrt(np.mean(np.sum(taste.queries(TELLING.attributes)[:, :-1] ** 2, axis=1)))
    assert length == pytest.approx(taste.share, rel=1e-5)


def test_profiles_that_say_nothing_are_not() -> None:
    drawn = pa.table({"user": TELLING.user_ids, "plan": [f"plan {n}" for n in RNG.permutation(TASTES)]})
    with pytest.raises(TrainingError, match="a difference within chance"):
        select_profile_model(Profiles.from_arrow(drawn), HISTORIES, ITEMS, IDS)
    alike = pa.table({"user": TELLING.user_ids, "plan": ["plan 0"] * USERS})
    with pytest.raises(TrainingError, match=r"columns \['plan'\] of profiles are the same for all users"):
        select_profile_model(Profiles.from_arrow(alike), HISTORIES, ITEMS, IDS)
    with pytest.raises(TrainingError, match="49 users of the log have a profile"):
        select_profile_model(TELLING, HISTORIES[:49], ITEMS, IDS)


def test_it_is_a_ridge_regression() -> None:
    ages = RNG.integers(18, 80, USERS)
    profiles = Profiles.from_arrow(
        pa.table({"user": TELLING.user_ids, "plan": TELLING.attributes["plan"], "age": ages})
    )
    chosen, _ = select_profile_model(profiles, HISTORIES, ITEMS, IDS)
    again = refit_profile_model(profiles, HISTORIES[:200], ITEMS, chosen)
    lines = np.concatenate([one.encode(profiles.attributes[one.column].slice(0, 200)) for one in again.columns], axis=1)
    described = lines - lines.mean(axis=0)
    wanted = first_tastes(HISTORIES[:200], ITEMS)
    stacked = np.concatenate([described, np.sqrt(RIDGE) * np.eye(described.shape[1])])
    goal = np.concatenate([wanted - wanted.mean(axis=0), np.zeros((described.shape[1], 3))])
    expected = described @ np.linalg.lstsq(stacked, goal, rcond=None)[0]
    expected *= chosen.share / np.sqrt(np.mean(np.sum(expected**2, axis=1)))
    asked = again.queries(profiles.attributes.slice(0, 200))
    np.testing.assert_allclose(asked[:, :-1], expected, atol=1e-5)


def test_what_was_done_first_and_liked_counts_most() -> None:
    past = History("ann", np.array([4, 7]), np.arange(2), np.array([1, 5], np.float32))
    counts = np.array([0.3, 0.5 ** (1 / 20)])
    expected = counts @ ITEMS[[4, 7], :-1] / counts.sum()
    np.testing.assert_allclose(first_tastes([past], ITEMS)[0], expected, rtol=1e-5)


def test_only_those_with_a_profile_and_a_history_teach() -> None:
    nobody = History.empty("u1")
    found = with_profile(TELLING, [HISTORIES[0], nobody, history("stranger", 0, 1)])
    assert [past.user_id for past in found] == ["u0"]
