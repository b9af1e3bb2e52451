"""Hits that fill a list leave the relevance of those that were found as it is, however many they are."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.candidates.continued import SHARE, continued_scores
from retrieval.postprocess.diversify import MMR, diversified, relevance
from tests.retrieval.diversify.lists import plain_relevance

FOUND = [1.47, 1.17, 1.05, 1.04, 0.9, 0.65, 0.19, 0.12, -0.02, -0.4]
ITEMS = ItemIds([f"i{row}" for row in range(260)])


def found(scores: list[float]) -> Candidates:
    rows = np.arange(len(scores))[None]
    return Candidates(np.zeros((1, 0), np.float32), rows, np.array([scores], np.float32), ITEMS, "rerank")


def filled(scores: list[float], count: int) -> Candidates:
    given = found(scores)
    rows = len(scores) + np.arange(count)[None]
    return given.followed_by(replace(given, rows=rows, scores=np.zeros(rows.shape, np.float32)))


def directions() -> Vectors:
    """Vectors of what was found, much alike, and of what fills, which is like nothing."""
    vectors = np.abs(np.random.default_rng(7).standard_normal((len(ITEMS), 4))).astype(np.float32)
    vectors[len(FOUND) :] = 0
    return vectors


@pytest.mark.parametrize("count", [1, 7, 250])
def test_relevance_of_what_was_found_does_not_depend_on_how_many_follow(count: int) -> None:
    after = relevance(filled(FOUND, count))[0]
    expected = [(share + SHARE) / (1 + SHARE) for share in plain_relevance(FOUND)]
    np.testing.assert_allclose(after[: len(FOUND)], expected, atol=1e-5)  # scores are of float32
    assert (after[len(FOUND) :] < expected[-1]).all()
    assert (np.diff(after) < 0).all()
    assert after[-1] == 0


@pytest.mark.parametrize("strength", [0.1, 0.3, 0.6])
def test_what_was_found_has_the_order_that_it_has_alone(strength: float) -> None:
    method = MMR(directions(), strength)  # what fills is like nothing, so picking it takes nothing from the others
    alone = diversified(found(FOUND), method).rows[0].tolist()
    assert (alone != list(range(len(FOUND)))) == (strength > 0.2)
    for count in (1, 7, 250):
        varied = diversified(filled(FOUND, count), method).rows[0]
        assert varied[varied < len(FOUND)].tolist() == alone


@pytest.mark.parametrize("scores", [FOUND, [0.5], [3.0, 3.0], [], [1e6, 1e6 - 1]])
def test_the_plain_order_stays_where_variety_counts_for_nothing(scores: list[float]) -> None:
    given = filled(scores, 200)
    np.testing.assert_array_equal(diversified(given, MMR(directions(), 1e-9)).rows, given.rows)
    assert (np.diff(given.scores[0][max(0, len(scores) - 1) :]) < 0).all()


def test_scores_of_what_follows_are_worked_out_by_hand() -> None:
    # The range is 2: two hits share .02, from half of it on.
    rows = np.array([[4, 5, 6, 7, -1], [1, 2, -1, -1, -1], [3, -1, -1, -1, -1]])
    scores = np.array([[3, 1], [-np.inf, -np.inf], [2, -np.inf]], np.float32)
    after = continued_scores(rows, scores, np.array([2, 0, 1]))
    inf = np.inf
    np.testing.assert_allclose(
        after, [[3, 1, 0.985, 0.98, -inf], [-0.75, -1, -inf, -inf, -inf], [2, -inf, -inf, -inf, -inf]], rtol=1e-6
    )


def test_the_number_of_scores_may_be_another_than_that_of_hits() -> None:
    rows = np.array([[4, 5, 6]])
    short, long = np.array([[3.0]], np.float32), np.array([[3.0, -np.inf, -np.inf, -np.inf]], np.float32)
    for scores in (short, long):
        np.testing.assert_allclose(continued_scores(rows, scores, np.array([1])), [[3, 2.25, 2]])
