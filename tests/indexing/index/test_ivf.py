"""Inverted lists find nearly what exact search finds, score it as exactly as half precision can, and obey filters."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from indexing.arrays import Vectors, unit
from indexing.errors import DamagedFileError, InputError, ShapeError, VectorError
from indexing.index import FlatIndex, IndexConfig, build_index, load_index, recall
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams
from tests.agree import assert_lists_agree

COUNT, DIM = 4000, 25  # odd: codes are of two dimensions each


def clustered(count: int, seed: int, dim: int = DIM) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(40, dim))
    return unit(centres[rng.integers(0, 40, count)] + 0.7 * rng.normal(size=(count, dim)) + 1.0)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1)


@pytest.fixture(scope="module")
def index(vectors: Vectors) -> IvfIndex:
    built = IvfIndex.build(vectors)
    return built.with_effort(SearchParams(built.lists, 400))


@pytest.fixture(scope="module")
def queries() -> Vectors:
    return clustered(60, 2) * np.random.default_rng(3).uniform(0.01, 300, (60, 1)).astype(np.float32)


def test_with_all_lists_it_agrees_with_exact_search(index: IvfIndex, vectors: Vectors, queries: Vectors) -> None:
    assert recall(index, FlatIndex(vectors), unit(queries), 10) >= 0.99
    exact, exact_rows = FlatIndex(vectors).search(queries, 5)
    scores, rows = index.search(queries, 5)
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    np.testing.assert_allclose(scores / lengths, exact / lengths, atol=1e-3)
    own = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    np.testing.assert_allclose(scores / lengths, own / lengths, atol=1e-3)
    assert (rows == exact_rows).mean() > 0.97
    assert (np.diff(scores) <= 0).all()


def test_batch_equals_one_by_one(index: IvfIndex, queries: Vectors) -> None:
    scores, rows = index.search(queries, 7)
    for line, query in enumerate(queries):
        assert_lists_agree(index.search(query[None], 7), (scores[[line]], rows[[line]]))


@pytest.mark.parametrize("share", [0.9, 0.5, 0.25, 0.1, 0.001, 0.0])
def test_filters_give_k_where_k_exist_and_nothing_forbidden(
    index: IvfIndex, vectors: Vectors, queries: Vectors, share: float
) -> None:
    allow = np.random.default_rng(4).random(COUNT) < share
    scores, rows = index.search(queries, 10, allow)
    wanted = min(10, int(allow.sum()))
    assert ((rows >= 0).sum(axis=1) == wanted).all()
    assert allow[rows[rows >= 0]].all()
    exact, _ = FlatIndex(vectors).search(queries, 10, allow)
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    found = scores[:, :wanted] / lengths >= exact[:, wanted - 1 : wanted] / lengths - 1e-3 if wanted else np.ones(1)
    assert found.mean() > 0.98


def test_more_than_there_are_is_padded_and_nobody_comes_twice(index: IvfIndex, queries: Vectors) -> None:
    scores, rows = index.search(queries[:3], COUNT + 5)
    assert (rows[:, COUNT:] == -1).all()
    assert np.isinf(scores[:, COUNT:]).all()
    assert [len(set(line)) for line in rows[:, :COUNT].tolist()] == [COUNT] * 3
    assert index.search(queries[:0], 3)[1].shape == (0, 3)


def test_wrong_queries_are_refused(index: IvfIndex, queries: Vectors) -> None:
    with pytest.raises(ShapeError, match="expected"):
        index.search(queries[:, 1:], 3)
    with pytest.raises(VectorError, match="NaN or infinity"):
        index.search(np.full((1, DIM), np.nan, np.float32), 3)
    with pytest.raises(InputError, match="k is 0"):
        index.search(queries, 0)
    with pytest.raises(InputError, match="30 vectors are too few for inverted lists"):
        IvfIndex.build(clustered(30, 0))


def test_saved_and_loaded_it_answers_the_same(
    index: IvfIndex, vectors: Vectors, queries: Vectors, tmp_path: Path
) -> None:
    index.save(tmp_path / "index.bin")
    loaded = load_index(tmp_path / "index.bin", "faiss-ivf", {"text": index.effort.to_json()})
    assert isinstance(loaded, IvfIndex)
    assert (loaded.effort, loaded.dim, len(loaded)) == (index.effort, DIM, COUNT)
    for ours, theirs in zip(loaded.search(queries, 10), index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_allclose(loaded.vectors, vectors, atol=1e-3)
    assert IvfIndex.build(vectors).to_bytes() == IvfIndex.build(vectors).to_bytes()
    FaissIndex.flat(vectors).save(tmp_path / "flat.bin")
    with pytest.raises(DamagedFileError, match="FAISS index of another kind"):
        IvfIndex.load(tmp_path / "flat.bin")
    assert isinstance(faiss.deserialize_index(np.frombuffer(index.to_bytes(), np.uint8)), faiss.IndexPreTransform)


def test_the_cheapest_effort_that_keeps_the_promise_to_the_hardest_kind_of_query(vectors: Vectors) -> None:
    far = unit(np.random.default_rng(9).normal(size=(200, DIM)))
    queries = {"near": vectors[:200], "far": far}
    index, report = build_index(vectors, IndexConfig(kind="ivf", min_recall=0.9), queries)
    assert (report.kind, report.target_met) == ("faiss-ivf", True)
    assert isinstance(index, IvfIndex)
    for kind, of_kind in queries.items():
        checking = of_kind[1::2]  # which did not choose
        assert report.recall[kind] == pytest.approx(
            recall(index, FlatIndex(vectors), checking, 10, kind=kind), abs=1e-4
        )
        assert report.recall[kind] >= 0.9
    easier, easy = build_index(vectors, IndexConfig(kind="ivf", min_recall=0.9), {"near": vectors[:200]})
    assert isinstance(easier, IvfIndex)
    assert easier.effort.lists < index.effort.lists
    assert easier.efforts.of("near") == index.efforts.of("near") != index.efforts.of("far")
    assert recall(easier, FlatIndex(vectors), far[1::2], 10) < report.recall["far"]
    assert easy.efforts == {"near": easier.effort.to_json()}


def test_what_lists_cannot_reach_is_searched_exactly(monkeypatch: pytest.MonkeyPatch, vectors: Vectors) -> None:
    monkeypatch.setattr("indexing.index.tuning.families.FLAT_UP_TO", 1000)
    queries = {"far": unit(np.random.default_rng(9).normal(size=(100, DIM)))}
    index, report = build_index(vectors, IndexConfig(min_recall=0.9), queries)
    assert (index.kind, report.target_met) == ("faiss-ivf", True)
    monkeypatch.setattr("indexing.index.tuning.efforts.CANDIDATES", (10,))
    index, report = build_index(vectors, IndexConfig(min_recall=1.0), queries)
    assert (index.kind, report.target_met) == ("faiss-flat", True)
    assert [trial["family"] for trial in report.tried] == ["ivf pq4 + fp16", "ivf sq8", "flat fp32"]
    index, report = build_index(vectors, IndexConfig(kind="ivf", min_recall=1.0), queries)
    assert (index.kind, report.target_met) == ("faiss-ivf", False)
    assert report.unmet[0].startswith(f"recall of far {report.recall['far']:.3f}, at least ")


def test_vectors_far_from_the_origin_are_found_in_few_lists() -> None:
    items, queries = far_from_the_origin(4000, 1), far_from_the_origin(100, 2)
    index = IvfIndex.build(items)
    assert np.linalg.norm(items.mean(axis=0)) > 0.8
    assert recall(index.with_effort(SearchParams(index.lists // 8, 200)), FlatIndex(items), queries, 10) > 0.9


def far_from_the_origin(count: int, seed: int, dim: int = 32) -> Vectors:
    """Groups in a narrow cone."""
    same, rng = np.random.default_rng(0), np.random.default_rng(seed)
    centres, middle = same.normal(size=(60, dim)), 3 * same.normal(size=dim)
    return unit(centres[rng.integers(0, 60, count)] + rng.normal(size=(count, dim)) + middle)
