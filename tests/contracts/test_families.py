"""One suite over every family of index that is tried: as exact as its codes are, and never beyond what it may do."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from indexing.arrays import Rows, Vectors
from indexing.errors import DamagedFileError, InputError, ShapeError, VectorError
from indexing.index import load_index
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.ivf import IvfIndex
from indexing.index.base import TunableIndex, VectorIndex
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.families import EVERY, SCANS, Family
from tests.agree import assert_lists_agree

COUNT, DIM = 900, 24
# What answers are scored on: the error of a score by the length of the query, and the share of the exact best found.
EXACTNESS = {"fp32": (1e-6, 1.0), "fp16": (3e-3, 0.98), "sq8": (6e-2, 0.93)}
HARDEST = SearchParams(lists=1000, candidates=500, ef_search=1000)


def scored_on(family: Family) -> str:
    return family.refine or family.codec


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return np.random.default_rng(0).normal(size=(COUNT, DIM)).astype(np.float32)


@pytest.fixture(scope="module")
def queries() -> Vectors:
    rng = np.random.default_rng(1)
    return (rng.normal(size=(40, DIM)) * rng.uniform(0.01, 300, (40, 1))).astype(np.float32)  # far from normalised


@pytest.fixture(scope="module", params=EVERY, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    assert isinstance(request.param, Family)
    return request.param


@pytest.fixture(scope="module")
def index(family: Family, vectors: Vectors) -> TunableIndex:
    return family.build(vectors, 32).with_efforts(SearchParamsByKind({"text": HARDEST}))


def exact(vectors: Vectors, queries: Vectors, k: int) -> tuple[Vectors, Rows]:
    scores = queries.astype(np.float64) @ vectors.T.astype(np.float64)
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1).astype(np.float32), rows


def check(family: Family, found: tuple[Vectors, Rows], vectors: Vectors, queries: Vectors, allowed: Rows) -> None:
    """Compare (B, k) answers of which all are there with exact search among the allowed rows."""
    error, share = EXACTNESS[scored_on(family)]
    scores, rows = found
    lengths = np.linalg.norm(queries, axis=1, keepdims=True)
    own = np.take_along_axis(queries @ vectors.T, rows, axis=1)
    np.testing.assert_allclose(scores / lengths, own / lengths, atol=error)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert np.isin(rows, allowed).all()
    assert all(len(set(line)) == rows.shape[1] for line in rows.tolist())
    best, _ = exact(vectors[allowed], queries, rows.shape[1])
    assert (own >= best[:, -1:] - 1e-4 * np.abs(best[:, -1:])).mean() >= share


def test_says_what_it_is(family: Family, index: TunableIndex) -> None:
    assert isinstance(index, VectorIndex)
    assert isinstance(index, TunableIndex)
    assert index.kind == ("faiss-ivf" if family in SCANS else f"faiss-{family.kind}")  # of one list
    assert (index.dim, len(index)) == (DIM, COUNT)


@pytest.mark.parametrize("k", [1, 10, 100])
def test_agrees_with_brute_force(
    family: Family, index: TunableIndex, vectors: Vectors, queries: Vectors, k: int
) -> None:
    check(family, index.search(queries, k), vectors, queries, np.arange(COUNT))


@pytest.mark.parametrize("share", [0.9, 0.4, 0.1])
def test_filters_are_obeyed(
    family: Family, index: TunableIndex, vectors: Vectors, queries: Vectors, share: float
) -> None:
    allow = np.random.default_rng(3).random(COUNT) < share
    check(family, index.search(queries, 10, allow), vectors, queries, np.flatnonzero(allow))


def test_batch_equals_one_by_one(index: TunableIndex, queries: Vectors) -> None:
    scores, rows = index.search(queries, 7)
    for line, query in enumerate(queries):
        assert_lists_agree(index.search(query[None], 7), (scores[[line]], rows[[line]]))


def test_more_than_there_are_is_padded(index: TunableIndex, queries: Vectors) -> None:
    scores, rows = index.search(queries[:3], COUNT + 5)
    np.testing.assert_array_equal(np.sort(rows[:, :COUNT], axis=1), np.tile(np.arange(COUNT), (3, 1)))
    assert (rows[:, COUNT:] == -1).all()
    assert np.isneginf(scores[:, COUNT:]).all()
    nothing = index.search(queries[:3], 4, np.zeros(COUNT, np.bool_))
    assert (nothing[1] == -1).all()
    assert index.search(queries[:0], 3)[1].shape == (0, 3)


def test_saved_and_loaded_with_its_efforts_it_answers_the_same(
    index: TunableIndex, queries: Vectors, tmp_path: Path
) -> None:
    efforts = SearchParamsByKind(
        {"text": SearchParams(lists=9, candidates=60, ef_search=70), "image": SearchParams(2, 20, 16)}
    )
    tuned = index.with_efforts(efforts)
    tuned.save(tmp_path / "index.bin")
    loaded = load_index(tmp_path / "index.bin", index.kind, efforts.to_json())
    for kind in ("text", "image", "audio", None):
        for before, after in zip(
            tuned.search(queries, 10, kind=kind), loaded.search(queries, 10, kind=kind), strict=True
        ):
            np.testing.assert_array_equal(before, after)
    with pytest.raises(DamagedFileError, match=r"the efforts of .*index\.bin cannot be used: effort lists is -1"):
        load_index(tmp_path / "index.bin", index.kind, {"text": {"lists": -1}})
    with pytest.raises(DamagedFileError, match="cannot be read"):
        load_index(tmp_path / "index.bin", index.kind, {"text": {"speed": 1}})


def test_who_opens_the_file_with_faiss_itself_finds_the_greatest_effort(
    family: Family, vectors: Vectors, tmp_path: Path
) -> None:
    index = family.build(vectors, 8).with_efforts(
        SearchParamsByKind({"text": SearchParams(5, 90, 33), "image": SearchParams(7, 20, 16)})
    )
    index.keep_greatest()
    index.save(tmp_path / "index.bin")
    loaded = load_index(tmp_path / "index.bin", index.kind)
    assert isinstance(loaded, FaissIndex | IvfIndex)
    wanted = {
        "flat": SearchParams(),
        "hnsw": SearchParams(ef_search=33),
        "ivf": SearchParams(lists=7, candidates=90 if family.refine else 0),
    }
    if family in SCANS:
        wanted["flat"] = wanted["ivf"]
    assert loaded.efforts.of("text") == loaded.efforts.of(None) == wanted[family.kind]


def test_bytes_are_those_of_the_file_and_foreseen(family: Family, vectors: Vectors) -> None:
    many = np.tile(vectors, (5, 1)) + np.random.default_rng(4).normal(size=(5 * COUNT, DIM)).astype(np.float32)
    index = family.build(many, 16)
    assert isinstance(index, FaissIndex | IvfIndex)
    assert index.nbytes == pytest.approx(len(index.to_bytes()), rel=0.03)
    assert family.estimated_bytes(len(many), DIM, 16) == pytest.approx(index.nbytes, rel=0.06)


def test_vectors_come_back(family: Family, index: TunableIndex, vectors: Vectors) -> None:
    assert isinstance(index, FaissIndex | IvfIndex)
    steps = {"fp32": 0, "fp16": 2e-3, "sq8": 0.03}
    atol = max(steps[scored_on(family)], 1e-5 if family in SCANS else 0)  # which were rotated
    np.testing.assert_allclose(index.vectors, vectors, atol=atol)


def test_what_is_broken_is_refused(family: Family, index: TunableIndex, vectors: Vectors, queries: Vectors) -> None:
    with pytest.raises(ShapeError, match="expected"):
        index.search(queries[:, 1:], 3)
    with pytest.raises(InputError, match="k is 0"):
        index.search(queries, 0)
    broken = vectors.copy()
    broken[11] = 0
    with pytest.raises(VectorError, match="all zero at rows 11"):
        family.build(broken, 16)


def test_searching_changes_no_field_of_the_shared_index(index: TunableIndex, queries: Vectors) -> None:
    assert isinstance(index, FaissIndex | IvfIndex)
    before = index.to_bytes()
    for kind in ("text", "image", None):
        index.search(queries, 5, kind=kind)
    assert index.to_bytes() == before
    assert isinstance(faiss.deserialize_index(np.frombuffer(before, np.uint8)), faiss.Index)


def test_short_codes_must_be_refined(vectors: Vectors) -> None:
    with pytest.raises(InputError, match="'pq4' are too coarse to be scores"):
        IvfIndex.build(vectors, refine=None)
    with pytest.raises(InputError, match="there is no index 'flat pq4'"):
        Family("flat", "pq4").build(vectors, 16)
