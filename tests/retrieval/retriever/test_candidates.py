"""Candidates keep their promises: aligned, padded at the end, readable by other tools."""

from dataclasses import replace

import numpy as np
import pytest

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import ShapeError
from retrieval.candidates import Candidates, Hit
from retrieval.candidates.lists import with_lists

ITEMS = ItemIds(["a", "b", "c", "d"])


def candidates() -> Candidates:
    return Candidates(
        queries=np.ones((2, 3), np.float32),
        rows=np.array([[2, 0, 1], [3, -1, -1]]),
        scores=np.array([[0.9, 0.5, 0.1], [0.25, -np.inf, -np.inf]], np.float32),
        items=ITEMS,
        stage="retrieve",
        query_ids=("q", "r"),
    )


def test_hits_have_ids_scores_and_ranks() -> None:
    assert [(hit.item_id, hit.rank) for hit in candidates()[0]] == [("c", 1), ("a", 2), ("b", 3)]
    assert [hit.score for hit in candidates()[0]] == pytest.approx([0.9, 0.5, 0.1])
    assert list(candidates())[1] == [Hit("d", 0.25, 1)]
    assert repr(candidates()) == "<Candidates 2 queries, 4 hits, stage 'retrieve'>"


def test_reordering_is_stable_and_keeps_padding_last() -> None:
    ranked = candidates().reordered(np.array([[0, 5, 5], [1, 99, 99]], np.float32), "rerank")
    assert ranked.rows.tolist() == [[0, 1, 2], [3, -1, -1]]
    assert ranked.scores.tolist() == [[5, 5, 0], [1, -np.inf, -np.inf]]
    assert ranked.stage == "rerank"
    with pytest.raises(ShapeError, match="one score for each candidate"):
        candidates().reordered(np.zeros((2, 2), np.float32), "rerank")


def test_what_is_fixed_keeps_its_place_and_the_others_are_ordered_around_it() -> None:
    rng = np.random.default_rng(0)
    rows = np.array([rng.permutation(12) for _ in range(200)])
    for line, length in enumerate(rng.integers(0, 13, 200)):
        rows[line, length:] = -1
    before = np.where(rows >= 0, -np.arange(12), -np.inf).astype(np.float32)
    given = Candidates(np.ones((200, 1), np.float32), rows, before, ItemIds(list("abcdefghijkl")), "retrieve")
    scores = rng.integers(0, 5, rows.shape).astype(np.float32)
    fixed = (rng.random(rows.shape) < rng.random((200, 1))) & (rows >= 0)
    found = given.reordered(scores, "rerank", fixed)
    for line in range(200):
        free = [place for place in range(12) if rows[line, place] >= 0 and not fixed[line, place]]
        best = sorted(free, key=lambda place: -scores[line, place])
        expected, expected_scores = rows[line].tolist(), [-np.inf] * 12
        last = scores[line, best[0]] if best else None
        for place, row in enumerate(expected):
            if row >= 0 and not fixed[line, place]:
                at = best.pop(0)
                expected[place], last = rows[line, at], scores[line, at]
            if row >= 0:
                expected_scores[place] = before[line, place] if last is None else last
        assert found.rows[line].tolist() == expected
        assert found.scores[line].tolist() == expected_scores


def test_top_and_take() -> None:
    assert [hit.item_id for hit in candidates().top(2)[0]] == ["c", "a"]
    taken = candidates().take([1])
    assert (taken.query_ids, taken.rows.tolist()) == (("r",), [[3, -1, -1]])


def test_arrow_and_trec_leave_out_padding() -> None:
    assert candidates().to_arrow().to_pydict() == {
        "query_id": ["q", "q", "q", "r"],
        "item_id": ["c", "a", "b", "d"],
        "rank": [1, 2, 3, 1],
        "score": [pytest.approx(0.9), 0.5, pytest.approx(0.1), 0.25],
        "stage": ["retrieve"] * 4,
        "source": [None] * 4,
    }
    assert candidates().to_trec().splitlines()[-1] == "r Q0 d 1 0.250000 retrieve"


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"rows \(2, 3\) but scores \(2, 2\)"):
        Candidates(np.ones((2, 3), np.float32), np.zeros((2, 3), int), np.zeros((2, 2), np.float32), ITEMS, "retrieve")
    with pytest.raises(ShapeError, match=r"2 queries but \{'query_ids': 1\}"):
        candidates().named(["only one"])
    with pytest.raises(ShapeError, match="rows reach 4, but there are 4 items"):
        Candidates(np.ones((1, 3), np.float32), np.array([[4]]), np.zeros((1, 1), np.float32), ITEMS, "retrieve")


def test_lists_of_some_queries_are_replaced_with_sources_and_what_was_folded() -> None:
    items, queries = ItemIds([*"abcdef"]), np.zeros((3, 2), np.float32)
    rows, scores = np.array([[0], [1], [2]]), np.array([[3.0], [2.0], [1.0]], np.float32)
    before = Candidates(queries, rows, scores, items, "retrieve", ("x", "y", "z"))
    lists = Candidates(queries[:1], np.array([[4, 5]]), np.array([[9.0, 8.0]], np.float32), items, "retrieve")
    lists = replace(lists.coming_from("popular"), folded=({4: np.array([3])},))
    found = with_lists(before, np.array([1]), lists)
    assert found.rows.tolist() == [[0, -1], [4, 5], [2, -1]]
    assert found.scores.tolist() == [[3.0, -np.inf], [9.0, 8.0], [1.0, -np.inf]]
    assert [[hit.source for hit in hits] for hits in found] == [[None], ["popular", "popular"], [None]]
    assert [found.folded_ids(query) for query in range(3)] == [[[]], [["d"], []], [[]]]
    assert (found.query_ids, found.stage, before.rows.tolist()) == (("x", "y", "z"), "retrieve", [[0], [1], [2]])
    assert with_lists(before, np.array([0]), replace(lists, sources=None, folded=())).sources is None
