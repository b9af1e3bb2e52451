"""What is shown often gives way, and pages stand in the order of relevance: cases by hand, and plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.postprocess.diversify import MSD, ExposurePenalty, Relevant, diversified, exposures
from tests.retrieval.diversify.lists import ITEMS, cosine, lists, picked_plainly, plain_relevance, vectors


def candidates(rows: list[list[int]], scores: list[list[float]]) -> Candidates:
    given = np.array(rows)
    shown = np.where(given < 0, -np.inf, np.array(scores)).astype(np.float32)
    return Candidates(np.zeros((len(rows), 2), np.float32), given, shown, ItemIds([*"abcd"]), "retrieve")


def test_exposures_are_counts_of_the_first() -> None:
    found = candidates([[3, 0, 1], [3, 1, -1]], [[3, 2, 1], [2, 1, 0]])
    assert exposures(found, 1).tolist() == [0, 0, 0, 2]
    assert exposures(found, 9).tolist() == [1, 2, 0, 2]
    with pytest.raises(InputError, match="the first 0 of a list"):
        exposures(found, 0)


def test_by_hand() -> None:
    # Relevance 1, .9 and 0. The first is in all three lists that were shown, the second in none: 1 against .9 + spread.
    found, shown = candidates([[0, 1, 2]], [[10, 9, 0]]), np.array([3, 0, 0, 1])
    assert diversified(found, ExposurePenalty(Relevant(), shown, 0.09)).rows.tolist() == [[0, 1, 2]]
    assert diversified(found, ExposurePenalty(Relevant(), shown, 0.11)).rows.tolist() == [[1, 0, 2]]
    # One list of three is half of the way: 1 - ln 2 / ln 4.
    half = ExposurePenalty(Relevant(), np.array([3, 1, 0, 0]), 0.19)
    assert diversified(found, half).rows.tolist() == [[0, 1, 2]]
    assert diversified(found, ExposurePenalty(Relevant(), half.list_counts, 0.21)).rows.tolist() == [[1, 0, 2]]


def test_nothing_shown_changes_nothing() -> None:
    found = lists(3)
    same = diversified(found, ExposurePenalty(MSD(vectors(3), 0.4), np.zeros(ITEMS, np.int64), 5.0), 6)
    assert (same.rows == diversified(found, MSD(vectors(3), 0.4), 6).rows).all()


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 0.5, 3.0]), st.integers(1, 14))
@settings(max_examples=30)
def test_gains_are_those_of_plain_loops(seed: int, spread: float, k: int) -> None:
    found, directions = lists(seed), vectors(seed)
    shown = np.random.default_rng(seed).integers(0, 30, ITEMS)
    ranked = diversified(found, ExposurePenalty(MSD(directions, 0.3), shown, spread), k)
    for line, rows in enumerate(found.rows):
        relevant = plain_relevance(found.scores[line][rows >= 0].tolist()) if (rows >= 0).any() else []

        def value(picked: list[int], place: int, rows: np.ndarray = rows, relevant: list[float] = relevant) -> float:
            cosines = [cosine(directions[rows[place]], directions[rows[other]]) for other in picked]
            seldom = 1 - math.log(1 + shown[rows[place]]) / math.log(1 + max(shown))
            alike = sum(cosines) / len(cosines) if cosines else 0.0
            return 0.7 * relevant[place] - 0.3 * alike + spread * seldom

        assert [row for row in ranked.rows[line].tolist() if row >= 0] == picked_plainly(rows, k, value)


def test_faults() -> None:
    found = candidates([[0, 1]], [[1, 0]])
    with pytest.raises(InputError, match=r"an exposure weight of -1; give 0"):
        ExposurePenalty(Relevant(), np.zeros(4, np.int64), -1)
    with pytest.raises(ShapeError, match=r"\(3,\) counts of what was shown, but candidates of 4 items"):
        diversified(found, ExposurePenalty(Relevant(), np.zeros(3, np.int64)))
    with pytest.raises(InputError, match="a page of 0 shows nothing"):
        diversified(found, Relevant(), page=0)


@given(st.integers(0, 10_000), st.integers(1, 14), st.integers(1, 14))
@settings(max_examples=30)
def test_a_page_holds_what_was_picked_in_the_order_it_had(seed: int, k: int, page: int) -> None:
    found = lists(seed)
    picked, paged = (diversified(found, MSD(vectors(seed), 0.7), k, page=one) for one in (None, page))
    assert (paged.scores == found.scores).all()
    for line, rows in enumerate(found.rows.tolist()):
        before, after = picked.rows[line].tolist(), paged.rows[line].tolist()
        first = min(k, sum(row >= 0 for row in rows))
        for start in range(0, first, page):
            part = slice(start, min(start + page, first))
            assert after[part] == sorted(before[part], key=rows.index)
        assert after[first:] == before[first:]
