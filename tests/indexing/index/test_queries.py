"""Recall counts what exact search finds, and never a query's own row."""

import numpy as np
import pytest

from indexing.arrays import Vectors
from indexing.errors import ShapeError
from indexing.index import FlatIndex, Queries, recall
from indexing.index.backends.faiss import FaissIndex
from indexing.index.tuning.recall import GroundTruth, ground_truths
from tests.agree import assert_best


def made(count: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).normal(size=(count, 8)).astype(np.float32)


def test_exact_scores_are_those_of_the_oracle() -> None:
    vectors, asked = made(300, 0), made(20, 1)
    scores, _ = FlatIndex(vectors).search(asked, 10)
    np.testing.assert_allclose(GroundTruth.by(vectors, Queries(asked), 10).exact, scores, rtol=1e-5)
    few = GroundTruth.by(vectors[:4], Queries(asked), 10)
    np.testing.assert_allclose(few.exact[:, :4], FlatIndex(vectors[:4]).search(asked, 4)[0], rtol=1e-5)
    assert np.isneginf(few.exact[:, 4:]).all()
    assert few.recall(FlatIndex(vectors[:4]).search(asked, 10)[1], vectors[:4]) == 1.0


def test_a_query_is_no_answer_to_itself() -> None:
    vectors = made(50, 0)
    vectors[7] = vectors[3]  # a twin is an answer
    own = np.array([3, 10])
    queries = Queries(vectors[own], own)
    scores, rows = queries.search(FlatIndex(vectors), 4)
    full = vectors[own] @ vectors.T
    full[[0, 1], own] = -np.inf
    assert_best(rows, full)
    np.testing.assert_allclose(scores, -np.sort(-full, axis=1)[:, :4], rtol=1e-5)
    assert 7 in rows[0]
    np.testing.assert_allclose(GroundTruth.by(vectors, queries, 4).exact, scores, rtol=1e-5)


def test_an_index_that_finds_only_the_query_itself_finds_nothing() -> None:
    vectors = np.eye(8, dtype=np.float32) + 0.01

    class OnlyItself(FlatIndex):
        def search(
            self, queries: Vectors, k: int, allow: object = None, kind: str | None = None
        ) -> tuple[Vectors, np.ndarray[tuple[int, ...], np.dtype[np.int64]]]:
            rows = np.full((len(queries), k), -1)
            rows[:, 0] = queries.argmax(axis=1)
            return np.where(rows >= 0, 1, -np.inf).astype(np.float32), rows

    own = np.arange(8)
    as_item = GroundTruth.by(vectors, Queries(vectors, own), 1)
    as_if_held_out = GroundTruth.by(vectors, Queries(vectors), 1)
    assert as_item.measure(OnlyItself(vectors), vectors)[0] == 0.0
    assert as_if_held_out.measure(OnlyItself(vectors), vectors)[0] == 1.0


def test_where_the_own_row_was_not_found_the_last_is_dropped() -> None:
    queries = Queries(made(2, 0), np.array([5, 9]))
    scores = np.array([[4, 3, 2], [4, 3, 2]], np.float32)
    kept = queries.without_item_rows(scores, np.array([[1, 5, 2], [1, 2, 3]]))
    assert kept[1].tolist() == [[1, 2], [1, 2]]
    assert kept[0].tolist() == [[4, 2], [4, 3]]


def test_recall_by_hand() -> None:
    vectors = np.eye(4, dtype=np.float32)
    one = GroundTruth.by(vectors, Queries(np.array([[4, 3, 2, 1]], np.float32)), 2)
    assert one.recall(np.array([[0, 3]]), vectors) == 0.5
    assert one.recall(np.array([[1, 0]]), vectors) == 1.0
    assert one.recall(np.array([[-1, -1]]), vectors) == 0.0
    wide = made(400, 3)
    index = FaissIndex.hnsw(wide, m=2, ef_search=4)
    asked = made(60, 4)
    lone = GroundTruth.by(wide, Queries(asked), 10).measure(index, wide)[0]
    assert lone == pytest.approx(recall(index, FlatIndex(wide), asked, 10))
    assert lone < 1


def test_at_most_so_many_of_each_kind() -> None:
    vectors = made(30, 0)
    found = ground_truths(
        vectors, {"text": made(9, 1), "image": made(0, 2), "item": Queries(vectors, np.arange(30))}, 3, 5
    )
    assert {kind: len(one.queries) for kind, one in found.items()} == {"text": 5, "item": 5}
    with pytest.raises(ShapeError, match=r"item_rows has shape \(3,\), expected \(30,\)"):
        Queries(vectors, np.arange(3))
