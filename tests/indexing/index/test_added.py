"""Rows that were added are found by codes as a scan would find them, but for the share that a build may miss too."""

from itertools import pairwise

import numpy as np
import pytest

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import InputError
from indexing.index import FlatIndex
from indexing.index import delta_codes as added
from indexing.index.backends.faiss import FaissIndex
from indexing.index.base import VectorIndex
from indexing.index.config import IndexConfig
from indexing.index.delta import DeltaIndex
from indexing.index.delta_codes import AddedCodes, CodedRows, codes_for
from indexing.index.tuning.recall import Queries

DIM, BASE, ADDED, ASKED = 33, 600, 6000, 100  # an odd number of dimensions is widened by one
CONFIG = IndexConfig(min_recall=0.95)


def drawn(count: int, seed: int) -> Vectors:
    """Clusters about a common mean, and axes of falling variance, as encoders give them."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(9).normal(size=(40, DIM))
    axes = 2 / np.sqrt(np.arange(1, DIM + 1))
    found = 0.5 + (centres[rng.integers(0, 40, count)] + rng.normal(size=(count, DIM))) * axes
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


VECTORS, QUERIES = drawn(BASE + ADDED, 0), drawn(ASKED, 1)


def held_out() -> dict[str, Queries]:
    return {"text": Queries(drawn(32, 2)), "item": Queries(VECTORS[:32], np.arange(32))}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a few thousand rows be many."""
    monkeypatch.setattr(added, "MIN_ADDED_ROWS", 2000)
    monkeypatch.setattr(added, "MAX_TAIL_ROWS", 100)
    monkeypatch.setattr(added, "FLAT_UP_TO", 4000)


def codes(base: VectorIndex, vectors: Vectors = VECTORS, known: AddedCodes | None = None) -> AddedCodes:
    found = codes_for(base, vectors, CONFIG, held_out, known)
    assert found is not None
    return found


def index_of(base: VectorIndex, coded: AddedCodes, vectors: Vectors, is_live: Mask | None = None) -> DeltaIndex:
    is_live = np.ones(len(vectors), np.bool_) if is_live is None else is_live
    return DeltaIndex(base, vectors[len(base) :], is_live, CodedRows(coded, vectors[coded.start : coded.stop]))


def recall(found: tuple[Vectors, Rows], vectors: Vectors, queries: Vectors, k: int, may: Mask | None = None) -> float:
    """Give the share of the exact best, and check that scores are the products and in order, and rows come once."""
    scores, rows = found
    own = np.einsum("bkd,bd->bk", vectors[rows].astype(np.float64), queries.astype(np.float64))
    there = rows >= 0
    # Sums of 33 products of numbers below 1, in another order: some steps of float32.
    np.testing.assert_allclose(scores[there], own[there], atol=2e-6)
    assert all((one[:-1] >= one[1:]).all() for one in scores)
    assert all(len(set(line[line >= 0].tolist())) == (line >= 0).sum() for line in rows)
    exact = FlatIndex(vectors).search(queries, k, may)[0]
    return float((scores >= exact[:, -1:] - 1e-6).mean())


@pytest.mark.parametrize(("kind", "start"), [(FaissIndex.flat, 0), (FaissIndex.hnsw, BASE)])
@pytest.mark.parametrize("k", [1, 10, 100])
def test_the_promise_is_kept_with_exact_scores(kind: type[FlatIndex], start: int, k: int) -> None:
    base = kind(VECTORS[:BASE])
    coded = codes(base)
    assert (coded.start, coded.stop) == (start, len(VECTORS))
    assert set(coded.recall) == {"text", "item", "added"}
    assert min(coded.recall.values()) >= CONFIG.min_recall
    assert recall(index_of(base, coded, VECTORS).search(QUERIES, k), VECTORS, QUERIES, k) >= 0.95


@pytest.mark.parametrize("kind", [FaissIndex.flat, FaissIndex.hnsw])
@pytest.mark.parametrize("allowed", [None, 0.9, 0.5, 0.1, 0.03])
@pytest.mark.parametrize("gone", [0.0, 0.02, 0.6])
def test_deleted_and_forbidden_rows_are_passed_over(kind: type[FlatIndex], allowed: float | None, gone: float) -> None:
    rng = np.random.default_rng(3)
    base = kind(VECTORS[:BASE])
    is_live = rng.random(len(VECTORS)) >= gone
    allow = None if allowed is None else rng.random(len(VECTORS)) < allowed
    may = is_live if allow is None else is_live & allow
    scores, rows = index_of(base, codes(base), VECTORS, is_live).search(QUERIES, 10, allow)
    assert (rows >= 0).all()
    assert may[rows].all()
    assert recall((scores, rows), VECTORS, QUERIES, 10, may) >= 0.95


@pytest.mark.parametrize("kind", [FaissIndex.flat, FaissIndex.hnsw])
def test_as_many_answers_as_there_are(kind: type[FlatIndex]) -> None:
    base = kind(VECTORS[:BASE])
    index = index_of(base, codes(base), VECTORS)
    rows = index.search(QUERIES[:2], len(VECTORS) + 5)[1]
    assert (np.sort(rows[:, : len(VECTORS)], axis=1) == np.arange(len(VECTORS))).all()
    assert (rows[:, len(VECTORS) :] == -1).all()
    few = np.zeros(len(VECTORS), np.bool_)
    few[[3, 4000, 6500]] = True
    found = index.search(QUERIES[:2], 5, few)[1]
    assert [sorted(line[:3]) for line in found.tolist()] == [[3, 4000, 6500]] * 2
    assert (found[:, 3:] == -1).all()
    assert (index.search(QUERIES[:2], 5, np.zeros(len(VECTORS), np.bool_))[1] == -1).all()
    assert index.search(QUERIES[:0], 5)[1].shape == (0, 5)


def test_equal_rows_come_in_their_order_wherever_they_are() -> None:
    same = [5, 700, 5999, len(VECTORS) - 2]  # of the base, with a code, again, and among the last
    vectors = VECTORS.copy()
    vectors[same] = 4 * np.eye(DIM, dtype=np.float32)[0]  # longer than any other, and its products are exact
    base = FaissIndex.hnsw(vectors[:BASE])
    scores, rows = index_of(base, codes(base, vectors[:-50]), vectors).search(vectors[[5]], 4)
    assert rows.tolist() == [same]
    assert scores.tolist() == [[16, 16, 16, 16]]


def test_codes_are_shared_until_enough_has_come_and_never_changed() -> None:
    base = FaissIndex.hnsw(VECTORS[:BASE])
    early = codes(base, VECTORS[:3000])
    before = index_of(base, early, VECTORS[:3000]).search(QUERIES, 10)
    assert codes(base, VECTORS[:3100], early) is early
    further = codes(base, VECTORS[:3101], early)
    assert (early.stop, further.stop, further.num_trained) == (3000, 3101, early.num_trained)
    further = codes(base, VECTORS[:5000], further)
    assert min(further.recall.values()) >= CONFIG.min_recall
    for vectors in (VECTORS[:5000], VECTORS[:5060]):  # the last 60 rows are scanned
        assert recall(index_of(base, further, vectors).search(QUERIES, 10), vectors, QUERIES, 10) >= 0.95
    anew = codes(base, VECTORS, further)
    assert anew.num_trained == ADDED > 2 * early.num_trained
    for one, other in zip(before, index_of(base, early, VECTORS[:3000]).search(QUERIES, 10), strict=True):
        np.testing.assert_array_equal(one, other)  # the same codes, searched twice


def test_what_is_measured_after_an_extension_is_measured_on_all_rows() -> None:
    base = FaissIndex.hnsw(VECTORS[:BASE])
    grown = codes(base, VECTORS[:4000], codes(base, VECTORS[:3000]))
    covered = VECTORS[grown.start : grown.stop]
    for one in grown._ground_truth.values():
        room = 0 if one.queries.item_rows is None else 1
        exact = one.queries.without_item_rows(*FlatIndex(covered).search(one.queries.vectors, 10 + room))[0]
        np.testing.assert_allclose(one.exact, exact, atol=1e-6)  # products in another order


@pytest.mark.parametrize("config", [IndexConfig(kind="flat"), IndexConfig(kind="flat", min_recall=0.5)])
def test_who_asked_for_a_scan_gets_one(config: IndexConfig) -> None:
    assert codes_for(FaissIndex.flat(VECTORS[:BASE]), VECTORS, config, held_out) is None


def test_few_rows_are_scanned() -> None:
    graph, flat = FaissIndex.hnsw(VECTORS[:BASE]), FaissIndex.flat(VECTORS[:5000])
    assert codes_for(graph, VECTORS[: BASE + 1999], CONFIG, held_out) is None
    assert codes_for(graph, VECTORS[: BASE + 2000], CONFIG, held_out) is not None
    assert codes_for(flat, VECTORS, CONFIG, held_out) is None  # 1,600 added
    # A build would make a flat index of 4,000.
    assert codes_for(FaissIndex.flat(VECTORS[:BASE]), VECTORS[:4000], CONFIG, held_out) is None
    assert codes_for(FaissIndex.flat(VECTORS[:BASE]), VECTORS[:4001], CONFIG, held_out) is not None


def test_codes_that_find_too_little_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added, "CANDIDATES", (10,))
    monkeypatch.setattr(added, "CANDIDATES_PER_HIT", 1)
    coded = codes(FaissIndex.hnsw(VECTORS[:BASE]))
    assert min(coded.recall.values()) < 0.95
    assert not coded.reached


def test_more_candidates_are_taken_only_where_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added, "CANDIDATES_PER_HIT", 1)
    chosen = []
    for target in (0.3, 0.95, 0.999):
        coded = codes_for(FaissIndex.hnsw(VECTORS[:BASE]), VECTORS, IndexConfig(min_recall=target, k=60), held_out)
        assert coded is not None
        chosen.append(coded.candidates)
    assert all(fewer <= more for fewer, more in pairwise(chosen))
    assert chosen[0] < chosen[-1]


def test_they_are_not_saved(tmp_path: object) -> None:
    coded = codes(FaissIndex.hnsw(VECTORS[:BASE]))
    with pytest.raises(InputError, match="compact the bundle"):
        CodedRows(coded, VECTORS[coded.start :]).save(tmp_path)  # type: ignore[arg-type]
