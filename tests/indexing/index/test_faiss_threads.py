"""Threads of FAISS: one for one query, whose exact search is slower with more."""

from collections.abc import Iterator

import faiss
import numpy as np
import pytest

from indexing.index import FlatIndex
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.faiss_base import threads_for


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    yield
    faiss.omp_set_num_threads(before)


def test_there_are_as_many_as_before_afterwards() -> None:
    with threads_for(1):
        assert faiss.omp_get_max_threads() == 1
    assert faiss.omp_get_max_threads() == 3
    with threads_for(2):
        assert faiss.omp_get_max_threads() == 3
    with pytest.raises(ValueError, match="search"), threads_for(1):
        raise ValueError("search")
    assert faiss.omp_get_max_threads() == 3


def test_one_query_finds_what_many_find() -> None:
    rng = np.random.default_rng(0)
    vectors, queries = (rng.normal(size=(count, 24)).astype(np.float32) for count in (2000, 6))
    index = FaissIndex.flat(vectors)
    oracle_scores, oracle_rows = FlatIndex(vectors).search(queries, 10)
    alone = [index.search(query[None], 10) for query in queries]
    for scores, rows in (index.search(queries, 10), [np.concatenate(parts) for parts in zip(*alone, strict=True)]):
        np.testing.assert_array_equal(rows, oracle_rows)
        np.testing.assert_allclose(scores, oracle_scores, rtol=1e-5)  # sums in another order
