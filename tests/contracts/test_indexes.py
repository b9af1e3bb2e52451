"""One suite over every index: it must agree with the exact oracle by row and by score."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.arrays import Rows, Vectors
from indexing.errors import DamagedFileError, InputError, ShapeError, VectorError
from indexing.index import FlatIndex, VectorIndex, load_index
from indexing.index.backends.build_lance import build_lance
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.backends.lance import LanceIndex
from indexing.index.backends.sharded import ShardedIndex
from indexing.index.config import SearchParams, SearchParamsByKind
from tests.agree import assert_lists_agree

COUNT, DIM = 700, 24
FOLDERS = tempfile.TemporaryDirectory(prefix="tables-of-tests-")  # removed when the tests end


def lance(vectors: Vectors, *, lists: bool) -> LanceIndex:
    """A table, of which all lists are searched and all codes but one are scored anew."""
    index = build_lance(vectors, Path(tempfile.mkdtemp(dir=FOLDERS.name), "index.bin"), lists=lists)
    return index.with_efforts(SearchParamsByKind(default=SearchParams(index.lists, len(index) - 1)))


def codes(vectors: Vectors) -> IvfIndex:
    """Codes of which so many would be scored anew that all vectors are, in single precision."""
    index = IvfIndex.scan(vectors).with_effort(SearchParams(1, 400))
    index.keep_greatest()  # as a build does
    return index


MAKERS: dict[str, Callable[[Vectors], VectorIndex]] = {
    "flat": FlatIndex,
    "faiss-flat": FaissIndex.flat,
    # An effort as large as the catalogue makes the graph visit nearly everything: its answers must then be exact.
    "faiss-hnsw": lambda vectors: FaissIndex.hnsw(vectors, m=32, ef_search=1024),
    "faiss-ivf": codes,
    "faiss-sharded": lambda vectors: ShardedIndex(
        [FaissIndex.flat(part) for part in np.split(vectors, [len(vectors) // 3, len(vectors) // 2]) if len(part)]
    ),
    "lancedb-flat": partial(lance, lists=False),
    "lancedb-ivf": partial(lance, lists=True),
}


def make_vectors(count: int = COUNT, seed: int = 0) -> Vectors:
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return make_vectors()


@pytest.fixture(scope="module")
def queries() -> Vectors:
    lengths = np.random.default_rng(2).uniform(0.01, 300, (40, 1)).astype(np.float32)
    return make_vectors(40, seed=1) * lengths  # far from normalised


@pytest.fixture(scope="module", params=MAKERS)
def index(request: pytest.FixtureRequest, vectors: Vectors) -> VectorIndex:
    return MAKERS[request.param](vectors)


def brute_force(vectors: Vectors, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
    scores: Vectors = (queries.astype(np.float64) @ vectors.T.astype(np.float64)).astype(np.float32)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


def test_says_what_it_is(index: VectorIndex) -> None:
    assert index.kind in MAKERS
    assert (index.dim, len(index)) == (DIM, COUNT)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_agrees_with_brute_force(index: VectorIndex, vectors: Vectors, queries: Vectors, k: int) -> None:
    scores, rows = index.search(queries, k)
    # Queries are up to 300 long, and so are the products that scores are sums of.
    assert_lists_agree((scores, rows), brute_force(vectors, queries, k), rtol=1e-4, atol=1e-3)
    assert scores.dtype == np.dtype(np.float32)
    assert rows.dtype == np.dtype(np.int64)


def test_batch_equals_one_by_one(index: VectorIndex, queries: Vectors) -> None:
    scores, rows = index.search(queries, 10)
    one_by_one = zip(*(index.search(query[None], 10) for query in queries), strict=True)
    single_scores, single_rows = (np.concatenate(part) for part in one_by_one)
    assert_lists_agree((scores, rows), (single_scores, single_rows))


def test_k_beyond_the_catalogue_is_padded(index: VectorIndex, vectors: Vectors, queries: Vectors) -> None:
    scores, rows = index.search(queries[:3], COUNT + 5)
    assert rows.shape == scores.shape == (3, COUNT + 5)
    np.testing.assert_array_equal(np.sort(rows[:, :COUNT], axis=1), np.tile(np.arange(COUNT), (3, 1)))
    assert (rows[:, COUNT:] == -1).all()
    assert np.isneginf(scores[:, COUNT:]).all()


def test_empty_batch(index: VectorIndex) -> None:
    scores, rows = index.search(np.empty((0, DIM), np.float32), 7)
    assert scores.shape == rows.shape == (0, 7)


def test_ties_go_to_the_lower_row() -> None:
    base = np.eye(DIM, dtype=np.float32)
    vectors = np.concatenate([base[[3]], base, base[[3]]])  # rows 0, 4 and DIM + 1 are the same
    for name, make in MAKERS.items():
        scores, rows = make(vectors).search(2 * base[[3]], 3)
        if name == "faiss-ivf":  # which rotates vectors: the scores of two equal ones differ by their rounding
            assert_lists_agree((scores, rows), (np.full((1, 3), 2.0), np.array([[0, 4, DIM + 1]])))
            continue
        assert rows.tolist() == [[0, 4, DIM + 1]], name
        assert scores.tolist() == [[2, 2, 2]], name


@pytest.mark.parametrize("share", [0.9, 0.5, 0.1, 0.01])
def test_filter_gives_the_exact_best_of_the_allowed(
    index: VectorIndex, vectors: Vectors, queries: Vectors, share: float
) -> None:
    allow = np.random.default_rng(3).random(COUNT) < share
    rows_allowed = np.flatnonzero(allow)
    k = min(10, len(rows_allowed))
    scores, rows = index.search(queries, 10, allow)
    exact_scores, places = brute_force(vectors[allow], queries, k)
    assert_lists_agree((scores[:, :k], rows[:, :k]), (exact_scores, rows_allowed[places]), rtol=1e-4, atol=1e-3)
    assert (rows[:, k:] == -1).all()


def test_filter_that_allows_nothing(index: VectorIndex, queries: Vectors) -> None:
    scores, rows = index.search(queries, 4, np.zeros(COUNT, np.bool_))
    assert (rows == -1).all()
    assert np.isneginf(scores).all()


def test_save_and_load_give_the_same_answers(index: VectorIndex, queries: Vectors, tmp_path: Path) -> None:
    index.save(tmp_path / "index.bin")
    loaded = load_index(tmp_path / "index.bin", index.kind)
    assert loaded.kind == index.kind
    for before, after in zip(index.search(queries, 10), loaded.search(queries, 10), strict=True):
        np.testing.assert_array_equal(before, after)


def test_wrong_arguments_are_refused(index: VectorIndex, queries: Vectors) -> None:
    with pytest.raises(ShapeError, match=rf"queries have shape \(40, 23\), expected \(N, {DIM}\)"):
        index.search(queries[:, 1:], 3)
    with pytest.raises(ShapeError, match=r"shape \(24,\)"):
        index.search(queries[0], 3)
    for k in (0, -1, True, 2.5):
        with pytest.raises(InputError, match="expected a whole number of at least 1"):
            index.search(queries, k)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="allow has shape"):
        index.search(queries, 3, np.ones(COUNT - 1, np.bool_))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_broken_queries_are_refused(index: VectorIndex, queries: Vectors, bad: float) -> None:
    broken = queries.copy()
    broken[5, 3] = bad
    with pytest.raises(VectorError, match="queries hold NaN or infinity at rows 5"):
        index.search(broken, 3)
    broken[5] = 0
    with pytest.raises(VectorError, match="queries are all zero at rows 5"):
        index.search(broken, 3)


@pytest.mark.parametrize("name", MAKERS)
def test_broken_vectors_are_refused(name: str, vectors: Vectors) -> None:
    broken = vectors.copy()
    broken[11, 0] = np.nan
    with pytest.raises(VectorError, match="NaN or infinity at rows 11"):
        MAKERS[name](broken)
    broken[11] = 0
    with pytest.raises(VectorError, match="all zero at rows 11"):
        MAKERS[name](broken)


@settings(max_examples=40)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_any_small_catalogue_agrees_with_brute_force(count: int, k: int, seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-3, 4, (count, 5)).astype(np.float32)  # whole numbers: scores are exact and often tie
    vectors[~vectors.any(axis=1), 0] = 1
    queries = rng.integers(1, 4, (3, 5)).astype(np.float32)
    allow = rng.random(count) < share
    for make in (FlatIndex, FaissIndex.flat, MAKERS["faiss-sharded"]):
        scores, rows = make(vectors).search(queries, k, allow)
        for line in range(3):
            exact = sorted(-float(queries[line] @ vectors[row]) for row in np.flatnonzero(allow))[:k]
            kept = rows[line] >= 0
            assert kept.sum() == len(exact)
            np.testing.assert_array_equal(-scores[line, kept], exact)
            np.testing.assert_array_equal((queries[line] @ vectors[rows[line, kept]].T), scores[line, kept])
            assert allow[rows[line, kept]].all()
            assert len(set(rows[line, kept].tolist())) == kept.sum()


def test_bytes_that_are_no_index_are_refused(tmp_path: Path) -> None:
    (tmp_path / "index.bin").write_bytes(b"IxFI" + b"\xff" * 200)
    with pytest.raises(DamagedFileError, match=r"index\.bin is not a FAISS index"):
        load_index(tmp_path / "index.bin", "faiss-flat")
    with pytest.raises(InputError, match="index kind 'annoy' is unknown"):
        load_index(tmp_path / "index.bin", "annoy")
