"""Hard negatives are the best of the index that were not taken, without those too good to be wrong."""

from collections.abc import Callable

import numpy as np
import pytest

from indexing.arrays.types import Vectors
from indexing.arrays.vectors import unit
from indexing.errors import InputError, ShapeError
from indexing.index import FlatIndex, VectorIndex
from indexing.index.backends.faiss import FaissIndex
from retrieval.training.adapter.hard_negatives import hard_negatives


@pytest.mark.parametrize("make", [FlatIndex, FaissIndex.flat])
def test_they_are_those_of_plain_loops(make: Callable[[Vectors], VectorIndex]) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (unit(rng.normal(size=(n, 5))) for n in (60, 12))
    known = [rng.choice(60, n, replace=False) for n in rng.integers(1, 9, 12)]
    positive = np.array([queries[n] @ vectors[rows[-1]] for n, rows in enumerate(known)], np.float32)
    found = hard_negatives(make(vectors), queries, known, positive, 4, depth=10, margin=0.1)
    short = 0
    for line, query in enumerate(queries):
        looked = [row for row in np.argsort(-(vectors @ query), kind="stable") if row not in known[line]][:10]
        expected = [row for row in looked if vectors[row] @ query <= positive[line] - 0.1][:4]
        short += len(expected) < 4
        assert found[line].tolist() == [*expected, *[-1] * (4 - len(expected))]
    assert 0 < short < 12


def test_without_a_margin_the_better_are_still_left_out() -> None:
    vectors = np.diag(np.array([4, 3, 2, 1], np.float32))
    query, positive = np.ones((1, 4), np.float32), np.array([2.0], np.float32)
    found = hard_negatives(FlatIndex(vectors), query, [np.array([2])], positive, 3, depth=4, margin=0.0)
    assert found.tolist() == [[3, -1, -1]]


def test_what_does_not_fit_is_refused() -> None:
    index, query = FlatIndex(np.eye(3, dtype=np.float32)), np.ones((1, 3), np.float32)
    with pytest.raises(ShapeError, match="1 queries, 2 lists"):
        hard_negatives(index, query, [np.array([0])] * 2, np.ones(1, np.float32), 1)
    with pytest.raises(InputError, match="count is 5 and depth 4"):
        hard_negatives(index, query, [np.array([0])], np.ones(1, np.float32), 5, depth=4)
