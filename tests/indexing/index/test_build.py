"""The index is chosen by its goals, and what the report says was measured is true."""

import numpy as np
import pytest

from indexing.arrays import Rows, Vectors, unit
from indexing.errors import InputError
from indexing.index import FlatIndex, IndexConfig, build_index, recall
from indexing.index.backends.faiss import FaissIndex


def clustered(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(20, 16))
    return unit(centres[rng.integers(0, 20, count)] + rng.normal(size=(count, 16)))


def test_small_catalogues_are_searched_exactly() -> None:
    index, report = build_index(clustered(300, 0), IndexConfig(), {"text": clustered(50, 1)})
    assert index.kind == report.kind == "faiss-flat"
    assert report.recall == {"text": 1.0}
    assert report.target_met


def test_a_graph_reaches_the_target_for_every_kind_of_query() -> None:
    vectors = clustered(3000, 0)
    queries = {"near": vectors[:200] * 3, "far": unit(np.random.default_rng(5).normal(size=(200, 16)))}
    index, report = build_index(vectors, IndexConfig(kind="hnsw", min_recall=0.97, m=8), queries)
    assert report.kind == "faiss-hnsw"
    assert report.target_met
    for kind, of_kind in queries.items():
        measured = recall(index, FlatIndex(vectors), of_kind[1::2], 10, kind=kind)  # those that did not choose
        assert measured >= 0.97
        assert report.recall[kind] == pytest.approx(measured, abs=1e-4)


def test_recall_is_the_share_of_the_exact_best() -> None:
    vectors = np.eye(4, dtype=np.float32)
    queries = np.array([[4, 3, 2, 1]], np.float32)

    class Half(FlatIndex):
        def search(
            self, queries: Vectors, k: int, allow: object = None, kind: str | None = None
        ) -> tuple[Vectors, Rows]:
            return np.array([[4, 1]], np.float32), np.array([[0, 3]], np.int64)

    assert recall(Half(vectors), FlatIndex(vectors), queries, 2) == 0.5
    assert recall(FaissIndex.flat(vectors), FlatIndex(vectors), queries, 2) == 1.0


def test_a_target_out_of_reach_is_reported() -> None:
    vectors = clustered(3000, 0)
    _, report = build_index(vectors, IndexConfig(kind="hnsw", min_recall=1.0, m=2), {"text": clustered(200, 9)})
    assert not report.target_met
    assert report.recall["text"] < 1.0


def test_impossible_goals_are_refused() -> None:
    with pytest.raises(InputError, match=r"min_recall is 1\.5"):
        IndexConfig(min_recall=1.5)
    with pytest.raises(InputError, match="the kind of index is 'lsh'; give one of"):
        IndexConfig(kind="lsh")  # type: ignore[arg-type]
