"""Each method against the plainest loops over one query, and against cases worked out by hand."""

import math
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.models.features.attribute_values import Attribute
from retrieval.models.user_model import UserModel
from retrieval.postprocess.diversify import (
    MMR,
    MSD,
    Calibrated,
    Cap,
    MaxSimilarity,
    Objective,
    Relevant,
    diversified,
    greedy,
    relevance,
)
from tests.retrieval.diversify.lists import ITEMS, cosine, genres, lists, picked_plainly, plain_relevance, vectors

STRENGTHS = (0.0, 0.1, 0.3, 0.5, 0.8, 1.0)
OBJECTIVES: dict[str, Callable[[float], Objective]] = {
    "mmr": lambda strength: MMR(vectors(1), strength),
    "msd": lambda strength: MSD(vectors(1), strength, sharpness=2.0),
    "calibrated": lambda strength: Calibrated(Attribute.of(genres(1)), strength),
}
seeds = st.integers(0, 10_000)


def kept(candidates: Candidates) -> list[list[int]]:
    return [[row for row in line if row >= 0] for line in candidates.rows.tolist()]


def relevant_of(candidates: Candidates, line: int) -> list[float]:
    scores = candidates.scores[line][candidates.rows[line] >= 0].tolist()
    return plain_relevance(scores) if scores else []


def alike_plainly(
    candidates: Candidates, line: int, k: int, make: tuple[Callable[[list[float]], float], Vectors, float]
) -> list[int]:
    """What is lost by cosines with those picked: the largest of them, or their mean."""
    rows, relevant = candidates.rows[line], relevant_of(candidates, line)
    lost, shown, strength = make

    def value(picked: list[int], place: int) -> float:
        cosines = [cosine(shown[rows[place]], shown[rows[other]]) for other in picked]
        return (1 - strength) * relevant[place] - strength * (lost(cosines) if cosines else 0.0)

    return picked_plainly(rows, k, value)


def shares_plainly(rows: list[int], weights: list[float], values: list[list[str] | None]) -> dict[str, float]:
    total: dict[str, float] = {}
    for row, weight in zip(rows, weights, strict=True):
        for one in values[row] or []:
            total[one] = total.get(one, 0) + weight / len(values[row] or [])
    whole = sum(total.values())
    return {one: part / whole for one, part in total.items()} if whole else {}


def divergence_plainly(wanted: dict[str, float], shown: dict[str, float]) -> float:
    return sum(p * math.log(p / (0.99 * shown.get(one, 0) + 0.01 * p)) for one, p in wanted.items())


def calibrated_plainly(
    candidates: Candidates, line: int, k: int, values: list[list[str] | None], strength: float
) -> list[int]:
    rows, relevant = candidates.rows[line], relevant_of(candidates, line)
    history = candidates.histories[line].tolist()
    wanted = shares_plainly(history, UserModel().weights(len(history)).tolist(), values)

    def value(picked: list[int], place: int) -> float:
        shown = [int(rows[one]) for one in (*picked, place)]
        apart = divergence_plainly(wanted, shares_plainly(shown, [1.0] * len(shown), values))
        return (1 - strength) * sum(relevant[one] for one in (*picked, place)) - strength * apart

    return picked_plainly(rows, k, value)


@given(seeds, st.sampled_from(STRENGTHS), st.integers(1, 14))
@settings(max_examples=40)
def test_mmr_and_msd_are_those_of_plain_loops(seed: int, strength: float, k: int) -> None:
    found, shown = lists(seed), vectors(seed)
    for objective, lost in ((MMR(shown, strength), max), (MSD(shown, strength), fmean)):
        ranked = diversified(found, objective, k)
        assert kept(ranked) == [alike_plainly(found, line, k, (lost, shown, strength)) for line in range(len(found))]


# Without any relevance lists of the same values are worth the same, and rounding alone would tell them apart.
@given(seeds, st.sampled_from([one for one in STRENGTHS if one < 1]), st.integers(1, 14))
@settings(max_examples=40)
def test_calibrated_is_that_of_plain_loops(seed: int, strength: float, k: int) -> None:
    found, values = lists(seed), genres(seed)
    ranked = diversified(found, Calibrated(Attribute.of(values), strength), k)
    assert kept(ranked) == [calibrated_plainly(found, line, k, values, strength) for line in range(len(found))]


@pytest.mark.parametrize("name", OBJECTIVES)
@given(seed=seeds, strength=st.sampled_from(STRENGTHS), k=st.integers(1, 14), rough=st.booleans())
@settings(max_examples=25)
def test_what_every_method_keeps_to(name: str, seed: int, strength: float, k: int, rough: bool) -> None:
    found, objective = lists(seed, rough=rough), OBJECTIVES[name](strength)
    ranked = diversified(found, objective, k)
    assert ranked.stage == "diversify"
    assert [sorted(line) for line in kept(ranked)] == [sorted(line) for line in kept(found)]
    assert ((ranked.rows >= 0) == (found.rows >= 0)).all()  # padding stays last
    assert ranked.scores.tobytes() == found.scores.tobytes()  # scores go by place
    assert (diversified(found, objective, k).rows == ranked.rows).all()
    for line in range(len(found)):  # and one by one it is the same
        assert (diversified(found.take([line]), objective, k).rows == ranked.rows[line]).all()
    if rough:  # scores that are exact in other units too: neither these nor where zero is counts
        other = replace(found, scores=(found.scores * 4 + 8).astype(np.float32))
        assert (diversified(other, objective, k).rows == ranked.rows).all()


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("rough", [False, True])
def test_without_strength_nothing_changes(name: str, rough: bool) -> None:
    for seed in range(20):
        found = lists(seed, rough=rough)
        for objective in (OBJECTIVES[name](0.0), Relevant()):
            ranked = diversified(found, objective, 7)
            assert ranked.rows.tobytes() == found.rows.tobytes()
            assert ranked.scores.tobytes() == found.scores.tobytes()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_blocks_do_not_show(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = lists(3, queries=9)
    whole = diversified(found, OBJECTIVES[name](0.4), 6)
    monkeypatch.setattr(greedy, "_AT_ONCE", 500)
    assert (diversified(found, OBJECTIVES[name](0.4), 6).rows == whole.rows).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_nothing_in_nothing_out(name: str) -> None:
    for queries, length in ((0, 4), (0, 0), (2, 0)):
        empty = Candidates(
            np.zeros((queries, 6), np.float32),
            np.full((queries, length), -1),
            np.full((queries, length), -np.inf, np.float32),
            ItemIds(map(str, range(ITEMS))),
            "x",
        )
        assert diversified(empty, OBJECTIVES[name](0.5), 3).rows.shape == (queries, length)


def candidates(scores: list[float], rows: Rows | None = None, history: tuple[int, ...] = ()) -> Candidates:
    count = len(scores)
    given = np.arange(count) if rows is None else rows
    items = ItemIds([*"abcdefgh"[: max(count, 6)]])
    past = (np.array(history, np.int64),)
    return Candidates(
        np.zeros((1, 2), np.float32), given[None], np.array([scores], np.float32), items, "rerank", (), past
    )


def order(found: Candidates) -> str:
    return "".join(hit.item_id for hit in found[0])


def test_mmr_by_hand() -> None:
    # b is a once more, c is at right angles; relevance 1, .9, .5, 0. At strength .3 after a:
    # b .7 * .9 - .3 * 1 = .33, c .7 * .5 - 0 = .35, d 0 + .3 * 1 = .3 (opposite).
    shown = np.array([[1, 0], [2, 0], [0, 3], [-1, 0], [0, 0], [0, 0]], np.float32)
    found = candidates([10.0, 9.0, 5.0, 0.0])
    assert order(diversified(found, MMR(shown, 0.3), 2)) == "acbd"
    assert order(diversified(found, MMR(shown, 0.28), 2)) == "abcd"  # b .368, c .36
    assert order(diversified(found, MMR(shown, 0.5))) == "adcb"  # d .5, c .25, b -.05; then c .25 - 0, b -.05


def test_calibrated_by_hand() -> None:
    kinds = Attribute.of([["x"], ["x"], ["y"], ["x"], ["y"], None])
    # The history is half x, half y: after a, which is x, c brings the list to the same shares.
    found = candidates([3.0, 2.0, 1.0, 0.0], history=(3, 4))
    even = UserModel(half_life=1e9)
    assert order(diversified(found, Calibrated(kinds, 0.5, users=even), 2)) == "acbd"
    assert order(diversified(found, Calibrated(kinds, 0.1, users=even), 2)) == "abcd"
    # All of the weight on the last item, a y: c is wanted first, as strength allows.
    assert order(diversified(found, Calibrated(kinds, 0.9, users=UserModel(half_life=0.01)), 1)) == "cabd"
    for history in ((), (5,)):  # nobody, and somebody whose items have no values
        unknown = candidates([3.0, 2.0, 1.0, 0.0], history=history)
        assert order(diversified(unknown, Calibrated(kinds, 0.9), 4)) == "abcd"


@pytest.mark.parametrize(
    ("weights", "least", "expected"),
    [
        ([5, 1], 2.5, "abcd"),  # the x alone was liked
        ([1, 5], 2.5, "cabd"),  # the y alone
        ([1, 1], 2.5, "abcd"),  # nothing: relevance alone
        ([5, 1], 0.0, "cabd"),  # both, and the y came last
        ([5, 2.5], 2.5, "cabd"),
        ([5, 1], None, "cabd"),  # as the user model says
    ],
)
def test_dislikes_are_no_taste_to_calibrate_to(weights: list[float], least: float | None, expected: str) -> None:
    kinds = Attribute.of([["x"], ["x"], ["y"], ["x"], ["y"], None])
    found = candidates([3.0, 2.0, 1.0, 0.0], history=(3, 4))
    asked = replace(found, weights=(np.array(weights, np.float32),), min_relevance=least)
    assert order(diversified(asked, Calibrated(kinds, 0.9, users=UserModel(half_life=0.01)), 1)) == expected


def test_equal_gains_go_to_the_earlier_one() -> None:
    same = np.ones((6, 2), np.float32)
    found = candidates([1.0, 1.0, 1.0], rows=np.array([4, 0, 2]))
    for objective in (MMR(same, 0.6), MSD(same, 0.6), Calibrated(Attribute.of(["x"] * 6), 0.6)):
        assert order(diversified(found, objective)) == "eac"


def test_caps_by_hand() -> None:
    brands = Attribute.of([["n"], ["n"], ["n"], ["m"], ["m"], None])
    found = candidates([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert order(diversified(found, Relevant(), 4, caps=[Cap(brands, 1)])) == "adfbce"  # b for want of others
    assert order(diversified(found, Relevant(), 3, caps=[Cap(brands, 1)])) == "adfbce"
    assert order(diversified(found, Relevant(), 4, caps=[Cap(brands, 2)])) == "abdecf"
    assert order(diversified(found, Relevant(), 2, caps=[Cap(brands, 2)])) == "abcdef"
    colours = Attribute.of(["red", "blue", "blue", "red", "green", "green"])
    both = [Cap(brands, 2), Cap(colours, 1)]
    assert order(diversified(found, Relevant(), 3, caps=both)) == "abecdf"


def test_where_all_are_over_a_cap_the_objective_continues_choosing() -> None:
    # As by hand above: a, then c before b, though all have one value of which one is allowed.
    shown = np.array([[1, 0], [2, 0], [0, 3], [-1, 0], [0, 0], [0, 0]], np.float32)
    found, one = candidates([10.0, 9.0, 5.0, 0.0]), Attribute.of(["x"] * 6)
    kinds = Attribute.of([["x"], ["x"], ["y"], ["x"], ["y"], None])
    asked = candidates([3.0, 2.0, 1.0, 0.0], history=(3, 4))
    assert order(diversified(found, MMR(shown, 0.3), 2, caps=[Cap(one, 1)])) == "acbd"
    assert order(diversified(asked, Calibrated(kinds, 0.5), 2, caps=[Cap(one, 1)])) == "acbd"
    assert order(diversified(found, MMR(shown, 0.5), caps=[Cap(one, 1)])) == "adcb"
    # d alone is within the cap after a; of b (.33) and c (.35), both over it, c is then worth more.
    two = Attribute.of(["x", "x", "x", "y", "y", "y"])
    assert order(diversified(found, MMR(shown, 0.3), 3, caps=[Cap(two, 1)])) == "adcb"
    assert order(diversified(found, MMR(shown, 0.28), 3, caps=[Cap(two, 1)])) == "adbc"
    # The same where all are nearer than is allowed.
    assert (
        order(diversified(found, MMR(shown, 0.3), 3, caps=[MaxSimilarity(np.ones((6, 2), np.float32), 0.5)])) == "acbd"
    )


def test_an_item_of_several_values_is_over_when_one_is() -> None:
    tags = Attribute.of([["x", "y"], ["y", "z"], ["z"], ["x"], [], ["w"]])
    found = candidates([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert order(diversified(found, Relevant(), 4, caps=[Cap(tags, 1)])) == "acefbd"


@given(seeds, st.integers(1, 12), st.integers(1, 3), st.sampled_from(STRENGTHS))
@settings(max_examples=40)
def test_caps_hold_within_every_method(seed: int, k: int, most: int, strength: float) -> None:
    found, values = lists(seed), genres(seed)
    for objective in (MMR(vectors(seed), strength), MSD(vectors(seed), strength), Relevant()):
        ranked = kept(diversified(found, objective, k, caps=[Cap(Attribute.of(values), most)]))
        for before, line in zip(kept(found), ranked, strict=True):
            assert sorted(before) == sorted(line)
            counts: dict[str, int] = {}
            for place, row in enumerate(line[:k]):
                mine = values[row] or []
                if any(counts.get(one, 0) >= most for one in mine):  # only when no other was left within the cap
                    assert all(any(counts.get(v, 0) >= most for v in values[other] or []) for other in line[place:])
                for one in mine:
                    counts[one] = counts.get(one, 0) + 1


def test_relevance_is_on_one_scale() -> None:
    found = lists(5, queries=30)
    for line in range(30):
        there = found.rows[line] >= 0
        if there.any():
            np.testing.assert_allclose(relevance(found)[line][there], relevant_of(found, line))
        assert not relevance(found)[line][~there].any()
    assert relevance(candidates([2.0, 2.0, 2.0])).tolist() == [[1.0, 1.0, 1.0]]
    assert relevance(candidates([-7.0])).tolist() == [[1.0]]
    assert relevance(candidates([8.0, 6.0, 4.0]), sharpness=2).tolist() == [[1.0, 0.25, 0.0]]


def test_what_cannot_be_weighed_is_refused() -> None:
    found = candidates([1.0, np.nan])
    with pytest.raises(InputError, match="some scores are NaN or infinite"):
        diversified(found, Relevant())
    with pytest.raises(InputError, match="k is 0; give a whole number of at least 1"):
        diversified(candidates([1.0]), Relevant(), 0)
    for make in OBJECTIVES.values():
        with pytest.raises(InputError, match=r"a strength of 1\.5; give a number from 0"):
            make(1.5)
    with pytest.raises(InputError, match=r"a sharpness of 0; give a number above 0"):
        MSD(vectors(0), sharpness=0)
    with pytest.raises(InputError, match="a cap of 0 allows nothing"):
        Cap(Attribute.of(["x"]), 0)
