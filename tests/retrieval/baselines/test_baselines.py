"""Popularity, neighbours, factors and content by hand and against `implicit`'s own answers."""

import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, MissingExtraError, ShapeError
from retrieval.candidates import Candidates
from retrieval.evaluation.baselines import (
    EASE,
    ALSConfig,
    ContentKNN,
    ForNewUsers,
    ImplicitALS,
    ItemKNN,
    KNNConfig,
    Popularity,
    Recommender,
)
from retrieval.evaluation.baselines.neighbours import interaction_matrix, user_items
from retrieval.evaluation.baselines.recommender import rank
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions
from retrieval.models.user_model import UserModel
from tests.agree import assert_best, assert_lists_agree

ITEMS = ItemIds([f"item-{row}" for row in range(20)])
NOBODY: Rows = np.empty(0, np.int64)
DAY = 86_400


@pytest.fixture(scope="module")
def past() -> Interactions:
    """60 users in two camps, of which each likes one half of the items; the last item is nobody's."""
    rng = np.random.default_rng(0)
    camp = np.arange(60)[:, None] % 2
    likes = np.where(np.arange(20)[None] // 10 == camp, 0.6, 0.1)
    likes[:, 19] = 0
    users, items = np.nonzero(rng.random((60, 20)) < likes)
    order = rng.permutation(len(users))
    table = {"user": [f"u{users[at]:02d}" for at in order], "item": [ITEMS[items[at]] for at in order]}
    return Interactions.from_arrow(pa.table(table))


@pytest.fixture(scope="module")
def asked(past: Interactions) -> list[Rows]:
    return [history.rows for history in histories(past, ITEMS)]


def test_popularity_by_hand() -> None:
    items = ItemIds([*"abcd"])
    log = pa.table(
        {"user": list("1231245"), "item": list("aaabbcx"), "time": [DAY * day for day in (0, 0, 0, 2, 3, 3, 4)]}
    )
    interactions = Interactions.from_arrow(log)
    plain = Popularity.fit(interactions, items)
    assert plain.counts.tolist() == [3, 2, 1, 0]
    found = plain.recommend([NOBODY, np.array([0, 3])], 4)
    assert found.rows.tolist() == [[0, 1, 2, 3], [1, 2, -1, -1]]
    assert found.scores.tolist() == [[3, 2, 1, 0], [2, 1, -np.inf, -np.inf]]
    decayed = Popularity.fit(interactions, items, decay_days=2.0)  # the log ends on day 4
    np.testing.assert_allclose(decayed.counts, [3 * np.exp(-2), np.exp(-1) + np.exp(-0.5), np.exp(-0.5), 0], rtol=1e-12)
    assert decayed.recommend([NOBODY], 2).rows.tolist() == [[1, 2]]
    with pytest.raises(InputError, match="decay over 0 days"):
        Popularity.fit(interactions, items, decay_days=0)


def test_neighbours_are_those_of_implicit(past: Interactions, asked: list[Rows]) -> None:
    from implicit.nearest_neighbours import BM25Recommender
    from implicit.utils import ParameterWarning

    matrix = interaction_matrix(past, ITEMS)
    theirs = BM25Recommender(K=5, num_threads=1)
    with pytest.warns(ParameterWarning, match="CSR"):
        theirs.fit(matrix, show_progress=False)
    found = ItemKNN.fit(past, ITEMS, KNNConfig(neighbours=5)).recommend(asked, 3)
    compared = 0
    for line in range(len(asked)):
        rows, scores = theirs.recommend(line, matrix[line], N=3, filter_already_liked_items=True)
        known = scores > 0  # what no neighbour speaks for comes in any order
        compared += int(known.sum())
        ours = found.scores[[line], : known.sum()], found.rows[[line], : known.sum()]
        assert_lists_agree(ours, (scores[None, known], rows[None, known]))
    assert compared > 100


def test_a_candidate_can_be_scored_by_its_own_neighbours(past: Interactions, asked: list[Rows]) -> None:
    similarity = ItemKNN.fit(past, ITEMS, KNNConfig(neighbours=5)).similarity.toarray()
    assert ((similarity > 0).sum(axis=1) <= 5).all()
    found = ItemKNN.fit(past, ITEMS, KNNConfig(neighbours=5, of_candidate=True)).recommend(
        asked, 20, exclude=[NOBODY] * 60
    )
    for line, history in enumerate(asked):
        expected = similarity[:, history].sum(axis=1)
        np.testing.assert_allclose(found.scores[line], np.sort(expected)[::-1], rtol=1e-5)
        np.testing.assert_allclose(expected[found.rows[line]], found.scores[line], rtol=1e-5)


def test_factors_are_those_of_implicit(past: Interactions, asked: list[Rows]) -> None:
    model = ImplicitALS.fit(past, ITEMS, seed=3)
    matrix = interaction_matrix(past, ITEMS)
    rows, scores = model.model.recommend(
        np.arange(len(asked)), matrix, N=4, filter_already_liked_items=True, recalculate_user=True
    )
    found = model.recommend(asked, 4)
    assert_lists_agree((found.scores, found.rows), (scores, rows), rtol=1e-4)  # of factors solved for in float32


def test_a_users_factors_solve_the_weighted_least_squares(past: Interactions) -> None:
    # Hu et al. 2008, eq. 4, with confidence alpha for an interaction and 1 for none, and alpha = 5.
    model = ImplicitALS.fit(past, ITEMS)
    factors = model.model.item_factors.astype(np.float64)
    history = np.array([0, 2, 5])
    confidence = np.ones(20)
    confidence[history] = 5
    left = factors.T @ (confidence[:, None] * factors) + 0.05 * np.eye(32)
    scores = factors @ np.linalg.solve(left, factors[history].sum(axis=0) * 5)
    others = np.where(np.isin(np.arange(20), history), -np.inf, scores)
    found = model.recommend([history], 5)
    assert_best(found.rows, others[None], atol=1e-3)  # implicit solves in float32, and not to the end
    np.testing.assert_allclose(found.scores[0], np.sort(others)[::-1][:5], atol=1e-3)


def test_one_seed_gives_the_same_factors(past: Interactions) -> None:
    first, again, other = (ImplicitALS.fit(past, ITEMS, seed=seed).model.item_factors for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


def test_content_is_the_nearest_to_the_mean() -> None:
    vectors = np.array([[1, 0, 0], [0.8, 0.6, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, 0.8]], np.float32)
    history = np.array([0, 2])
    plain = ContentKNN(vectors, centred=False).recommend([history, NOBODY], 3)
    mean = np.array([0.5, 0.5, 0]) * np.sqrt(2)
    assert plain.rows.tolist() == [[1, 4, 3], [-1, -1, -1]]
    np.testing.assert_allclose(plain.scores[0], (vectors @ mean)[[1, 4, 3]], atol=1e-6)
    centred = ContentKNN(vectors).recommend([history], 3)
    taste = np.array([0.5, 0.5, 0]) - vectors.mean(axis=0)
    taste /= np.linalg.norm(taste)
    assert centred.rows.tolist() == [[1, 4, 3]]
    np.testing.assert_allclose(centred.scores[0], (vectors @ taste)[[1, 4, 3]], atol=1e-6)
    recent = ContentKNN(vectors, UserModel(half_life=1e-3), centred=False).recommend([history], 2)  # the last item only
    assert recent.rows.tolist() == [[1, 3]]


def recommenders(past: Interactions) -> list[Recommender]:
    vectors = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    return [
        Popularity.fit(past, ITEMS),
        EASE.fit(past, ITEMS),
        ItemKNN.fit(past, ITEMS),
        ImplicitALS.fit(past, ITEMS, ALSConfig(factors=2)),
        ContentKNN(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),
    ]


def test_all_give_what_candidates_take(past: Interactions, asked: list[Rows]) -> None:
    queries = np.zeros((len(asked), 0), np.float32)
    for model in recommenders(past):
        whole = model.recommend(asked, 25)
        assert (str(whole.rows.dtype), str(whole.scores.dtype), whole.rows.shape) == ("int64", "float32", (60, 25))
        Candidates(queries, whole.rows, whole.scores, ITEMS, "baseline")
        for line, history in enumerate(asked):
            shown = whole.rows[line, : 20 - len(history)]
            assert sorted([*shown, *history]) == list(range(20))
            assert (whole.rows[line, 20 - len(history) :] == -1).all()
            kept = whole.scores[line, : len(shown)]
            assert (kept[1:] <= kept[:-1]).all()
            alone = model.recommend([history], 25)
            # Factors of a user are solved for by themselves or among others, in float32.
            both = (alone.scores, alone.rows), (whole.scores[[line]], whole.rows[[line]])
            assert_lists_agree(*both, rtol=1e-4, atol=1e-5)
        with pytest.raises(InputError, match="lists of 0 items"):
            model.recommend(asked, 0)
        with pytest.raises(ShapeError, match="1 lists to exclude for 60 histories"):
            model.recommend(asked, 1, exclude=[NOBODY])
        assert model.recommend([], 3).rows.shape == (0, 3)


def test_what_is_learned_beats_popularity_in_two_camps(past: Interactions, asked: list[Rows]) -> None:
    own = [(np.arange(20) // 10 == user % 2) for user in range(60)]

    def share(rows: Rows) -> float:
        return float(np.mean([own[user][rows[user][rows[user] >= 0]].mean() for user in range(60)]))

    popularity, ease, knn, als, _ = (share(model.recommend(asked, 3).rows) for model in recommenders(past))
    assert popularity < 0.7
    assert min(ease, knn, als) > 0.8


def test_new_users_are_served_by_another(past: Interactions, asked: list[Rows]) -> None:
    ease, popularity = EASE.fit(past, ITEMS), Popularity.fit(past, ITEMS)
    lines = [asked[0], NOBODY, asked[1]]
    exclude = [*lines[:1], np.array([int(popularity.counts.argmax())]), *lines[2:]]
    found = ForNewUsers(ease, popularity).recommend(lines, 4, exclude=exclude)
    of_known = ease.recommend(asked[:2], 4)
    assert_lists_agree((found.scores[[0, 2]], found.rows[[0, 2]]), (of_known.scores, of_known.rows))
    np.testing.assert_array_equal(found.rows[1], np.argsort(-popularity.counts, kind="stable")[1:5])
    np.testing.assert_array_equal(found.scores[1], np.sort(popularity.counts)[::-1][1:5])


def test_matrices_hold_a_one_for_each_item_of_a_history() -> None:
    assert user_items([np.array([2, 0]), NOBODY], 3).toarray().tolist() == [[1, 0, 1], [0, 0, 0]]
    assert user_items([], 3).shape == (0, 3)


def test_without_the_extra_there_is_a_way_out(past: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("implicit.cpu.als", "implicit.nearest_neighbours"):
        monkeypatch.setitem(sys.modules, module, None)
    fits: Sequence[object] = (ItemKNN.fit, ImplicitALS.fit)
    for fit in fits:
        with pytest.raises(MissingExtraError, match=r'pip install "\.\[baselines\]"'):
            fit(past, ITEMS)  # type: ignore[operator]


def test_the_best_are_those_of_a_full_sort_ties_by_row() -> None:
    """Few different scores, so that most lists end within a tie."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 4, (50, 30)).astype(np.float64)
    histories = [rng.permutation(30)[: rng.integers(0, 29)] for _ in range(50)]
    for k in (1, 7, 29, 30, 40):
        found = rank(lambda part: scores[part].copy(), histories, k, None, needs_history=False)
        for line, history in enumerate(histories):
            there = np.setdiff1d(np.arange(30), history)
            best = there[np.argsort(-scores[line, there], kind="stable")][:k]
            assert found.rows[line, : len(best)].tolist() == best.tolist()
            assert (found.rows[line, len(best) :] == -1).all()
