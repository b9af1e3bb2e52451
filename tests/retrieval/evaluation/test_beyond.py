"""Every measure beyond accuracy by hand, and in an evaluation."""

import json
from dataclasses import replace
from math import inf, log, log2

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.evaluation import Beyond, evaluate
from retrieval.evaluation.beyond_accuracy import (
    InteractionCounts,
    calibration,
    diversity,
    first_occurrences,
    gini,
    hits_of,
    mean_popularity,
    novelty,
    serendipity,
)
from retrieval.interactions.interactions import Interactions
from retrieval.models.features.attribute_values import Attribute

ITEMS = ItemIds([*"abcdef"])
NAN = float("nan")
# Of four users all met a, two met b (one of them twice), one met c; d, e and f are new; one met what is not here.
LOG = Interactions.from_arrow(
    pa.table({"user": [*"uvwxuvvwx"], "item": [*"aaaabbbc", "gone"]}),
)
PAST = InteractionCounts.of(LOG, ITEMS)


def rows(*lines: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    width = max(map(len, lines))
    return np.array([[*line, *[-1] * (width - len(line))] for line in lines], np.int64)


def test_the_past_is_counted_by_users_and_by_interactions() -> None:
    assert PAST.users.tolist() == [4, 2, 1, 0, 0, 0]
    assert PAST.interactions.tolist() == [4, 3, 1, 0, 0, 0]
    assert PAST.num_users == 4
    with pytest.raises(InputError, match="the past is empty"):
        InteractionCounts.of(Interactions(LOG.table[:0]), ITEMS)


def test_an_item_put_in_again_is_counted_at_its_new_row() -> None:
    changed = ItemIds([*"ab"]).changed((["a"], ["a", "c"]))
    assert InteractionCounts.of(LOG, changed).users.tolist() == [0, 2, 4, 1]


def test_novelty() -> None:
    lists = rows([0, 1, 2, 3], [0], [], [2, 2, 1])
    # Self-information: a 0 bits, b 1, c 2, d as if one user had met it, 2.
    np.testing.assert_allclose(novelty(lists, PAST, 4), [(0 + 1 + 2 + 2) / 4, 0, NAN, (2 + 1) / 2])
    np.testing.assert_allclose(novelty(lists, PAST, 2), [1 / 2, 0, NAN, 2])
    assert novelty(rows([3, 4, 5]), PAST, 3).tolist() == [log2(4)]


def test_mean_popularity() -> None:
    lists = rows([0, 1, 2, 3], [0], [], [2, 2, 1])
    np.testing.assert_allclose(mean_popularity(lists, PAST, 3), [(4 + 3 + 1) / 3, 4, NAN, (1 + 3) / 2])


def test_serendipity() -> None:
    # pu: a 6/6, b 5/6, c 4/6, the others 0; p at ranks 1 to 3: 6/6, 5/6, 4/6.
    lists = rows([0, 1, 2], [2, 3, 0], [3], [])
    relevant = [{"a", "c"}, {"c", "d"}, {"d"}, {"a"}]
    hits = hits_of(lists, relevant, ITEMS)
    expected = [0, ((6 - 4) / 6 + 5 / 6) / 3, (6 / 6) / 3, 0]
    np.testing.assert_allclose(serendipity(lists, hits, PAST, 3), expected, atol=1e-12)
    np.testing.assert_allclose(serendipity(lists, hits, PAST, 1), [0, 2 / 6, 1, 0], atol=1e-12)
    np.testing.assert_allclose(serendipity(lists, hits, PAST, 12), np.array(expected) / 4, atol=1e-12)


def test_items_met_equally_often_share_a_popularity_rank() -> None:
    even = InteractionCounts(np.array([2, 2, 1, 0]), np.array([2, 2, 1, 0]), 2)
    # Ranks 1, 1, 2: pu is 4/4, 4/4, 3/4, 0.
    lists = rows([2, 3, 0, 1])
    np.testing.assert_allclose(serendipity(lists, lists >= 0, even, 4), [((4 - 3) + 3 + 0 + 0) / 4 / 4])


def test_gini() -> None:
    # Shown 0, 0, 1, 3 times: (-3*0 - 1*0 + 1*1 + 3*3) / (4 * 4).
    assert gini(rows([0, 1], [0, 0], [0, -1]), 4, 2) == pytest.approx(10 / 16)
    assert gini(rows([0, 1], [2, 3]), 4, 1) == pytest.approx(0.5)
    assert np.isnan(gini(rows([], [0])[:1], 4, 1))


def test_gini_is_half_the_relative_mean_difference() -> None:
    rng = np.random.default_rng(0)
    lists = np.array([rng.choice(12, 5, replace=False, p=np.arange(1, 13) / 78) for _ in range(40)])
    shown = np.bincount(lists.ravel(), minlength=12)
    difference = np.abs(shown[:, None] - shown[None, :]).mean()
    assert gini(lists, 12, 5) == pytest.approx(difference / shown.mean() / 2)


def test_hits_and_repeats() -> None:
    lists = rows([3, 1, 3], [0, 0])
    assert first_occurrences(lists).tolist() == [[True, True, False], [True, False, False]]
    assert hits_of(lists, [{"d", "gone"}, ["a", "a"]], ITEMS).tolist() == [[True, False, False], [True, False, False]]
    assert first_occurrences(np.empty((2, 0), np.int64)).shape == (2, 0)


def test_diversity() -> None:
    vectors = np.array([[2, 0], [0, 1], [-3, 0], [1, 1], [0, 0]], np.float32)
    lists = rows([0, 1, 2], [0, 3, -1], [0], [0, 4], [1, 1, 0], [])
    half = 0.5**0.5
    # Cosines of a, b, c: 0, -1, 0; of a and d: the square root of a half. The last item has no direction.
    np.testing.assert_allclose(diversity(lists, vectors, 3), [1 + 1 / 3, 1 - half, NAN, NAN, 1, NAN], atol=1e-7)
    np.testing.assert_allclose(diversity(lists, vectors, 2), [1, 1 - half, NAN, NAN, NAN, NAN], atol=1e-7)


def test_diversity_is_one_minus_the_mean_of_all_cosines() -> None:
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(50, 8)).astype(np.float32)
    lists = np.array([rng.permutation(50)[:10] for _ in range(30)])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = [1 - np.mean((unit[line] @ unit[line].T)[np.triu_indices(10, 1)]) for line in lists]
    np.testing.assert_allclose(diversity(lists, vectors, 10), expected, atol=1e-6)


GENRES = Attribute.of([["drama"], ["drama", "war"], None, ["war"], [], ["comedy", None]])


def test_attributes_are_divided_evenly() -> None:
    assert GENRES.values == ("comedy", "drama", "war")
    lists = [np.array([0, 1]), np.array([2, 4]), np.array([1, 2, 5, 3]), np.empty(0, np.int64)]
    expected = np.array([[0, 0.75, 0.25], [0, 0, 0], [1 / 3, 1 / 6, 1 / 2], [0, 0, 0]])
    np.testing.assert_allclose(GENRES.shares(lists), expected, atol=1e-12)
    assert Attribute.of(pa.chunked_array([["x", None], ["y"]])).shares([np.arange(3)]).tolist() == [[0.5, 0.5]]
    assert Attribute.of([None, None]).shares([np.arange(2)]).shape == (1, 0)


def test_calibration() -> None:
    histories = [np.array([0, 1]), np.array([0, 1]), np.array([0]), np.array([2]), np.array([0])]
    lists = rows([1, 0], [3, 5, 0], [3], [0], [2, 4])
    # History drama 3/4, war 1/4; the second list holds comedy, drama and war once each.
    second = 0.75 * log(0.75 / (0.99 / 3 + 0.01 * 0.75)) + 0.25 * log(0.25 / (0.99 / 3 + 0.01 * 0.25))
    expected = [0, second, -log(0.01), NAN, NAN]
    np.testing.assert_allclose(calibration(lists, histories, GENRES, 3), expected, atol=1e-12)
    with pytest.raises(InputError, match=r"a smoothing of 1 cannot be used"):
        calibration(lists, histories, GENRES, 3, smoothing=1)


def some() -> Candidates:
    lists = rows([0, 1, 2], [3], [], [5, 4, 3])
    scores = np.where(lists >= 0, -np.arange(3), -inf).astype(np.float32)
    past = tuple(np.array(one, np.int64) for one in ([0], [3], [0], []))
    return Candidates(np.zeros((4, 2), np.float32), lists, scores, ITEMS, "retrieve", ("p", "q", "r", "s"), past)


def test_an_evaluation_has_what_it_has_data_for() -> None:
    vectors, genres = np.eye(6, dtype=np.float32), [["drama"], ["drama", "war"], None, ["war"], None, None]
    relevant = [{"c"}, {"d"}, {"a"}, set()]
    found = evaluate(some(), relevant, measures=["recall@2", "mrr@3"], beyond=Beyond(LOG, vectors, genres))
    names = ["novelty", "popularity", "serendipity", "diversity", "calibration"]
    assert list(found.per_query) == ["recall@2", "mrr@3", *(f"{name}@{k}" for name in names for k in (2, 3))]
    np.testing.assert_allclose(found.per_query["novelty@2"], [0.5, 2, NAN])
    np.testing.assert_allclose(found.per_query["serendipity@3"], [0, 1 / 3, 0], atol=1e-12)
    np.testing.assert_allclose(found.per_query["diversity@2"], [1, NAN, NAN])
    assert found.means["novelty@2"] == 1.25  # the empty list has no novelty
    assert found.undefined == {
        name: count
        for name, count in [
            ("novelty@2", 1),
            ("novelty@3", 1),
            ("popularity@2", 1),
            ("popularity@3", 1),
            ("diversity@2", 2),
            ("diversity@3", 2),
            ("calibration@2", 1),
            ("calibration@3", 1),
        ]
    }
    assert found.catalogue == {
        "gini@2": pytest.approx(gini(some().rows[:3], 6, 2)),
        "gini@3": pytest.approx(gini(some().rows[:3], 6, 3)),
    }
    assert "gini@2" in str(found)
    assert "diversity@3 not defined for 2" in str(found)
    only = evaluate(some(), relevant, measures=["recall@2"], beyond=Beyond())
    assert list(only.per_query) == ["recall@2"]
    assert list(only.catalogue) == ["gini@2"]


def test_lists_are_calibrated_to_what_was_liked() -> None:
    kinds, lists = ["x", "x", "y", "y", "x", "y"], some().take([0, 1])
    past = (np.array([0, 2]), np.array([3, 4, 5]))
    weights = (np.array([5, 1], np.float32), np.array([1, 4, 3], np.float32))
    asked = replace(lists, histories=past, weights=weights, min_relevance=2.0)
    found = evaluate(asked, [{"d"}, {"a"}], measures=["recall@2"], beyond=Beyond(attribute=kinds))
    expected = calibration(lists.rows, [past[0][:1], past[1][1:]], Attribute.of(kinds), 2)
    np.testing.assert_allclose(found.per_query["calibration@2"], expected)
    assert not np.allclose(expected, calibration(lists.rows, past, Attribute.of(kinds), 2))


def test_what_is_not_defined_is_null_in_json() -> None:
    found = evaluate(
        some().take([1, 2]), [{"d"}, {"a"}], measures=["recall@3"], beyond=Beyond(vectors=np.eye(6, dtype=np.float32))
    )
    as_json = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert as_json["means"] == {"recall@3": 0.5, "diversity@3": None}
    assert as_json["intervals"]["diversity@3"] == [None, None]
    assert as_json["undefined"] == {"diversity@3": 2}
    assert as_json["catalogue"] == {"gini@3": pytest.approx(5 / 6)}


def test_one_line_an_item_is_asked_for() -> None:
    with pytest.raises(ShapeError, match="vectors has 5 rows for 6 items"):
        evaluate(some(), [{"a"}] * 4, beyond=Beyond(vectors=np.eye(5, dtype=np.float32)))
    with pytest.raises(ShapeError, match="attribute has 1 rows for 6 items"):
        evaluate(some(), [{"a"}] * 4, beyond=Beyond(attribute=["x"]))
