"""Filtered search gives k whenever k exist, never what is forbidden, and finds the best however the filter lies."""

from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.index import FlatIndex, VectorIndex
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.faiss_base import search_allowed
from indexing.index.backends.ivf import IvfIndex, Occupancy
from indexing.index.config import SearchParams
from tests.agree import assert_lists_agree

COUNT, DIM, K = 6000, 24, 10
MAKERS: dict[str, Callable[[Vectors], VectorIndex]] = {
    "flat": FlatIndex,
    "faiss-flat": FaissIndex.flat,
    "faiss-hnsw": lambda vectors: FaissIndex.hnsw(vectors, ef_search=48),
    "faiss-ivf": lambda vectors: IvfIndex.build(vectors).with_effort(SearchParams(24, 150)),
    "codes": lambda vectors: IvfIndex.scan(vectors).with_effort(SearchParams(1, 150)),
}
EXACT = ("flat", "faiss-flat")


def clustered(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(60, DIM))
    return unit(centres[rng.integers(0, 60, count)] + 0.6 * rng.normal(size=(count, DIM)) + 0.5)


VECTORS, QUERIES = clustered(COUNT, 1), clustered(50, 2)


@pytest.fixture(scope="module", params=MAKERS)
def index(request: pytest.FixtureRequest) -> VectorIndex:
    return MAKERS[request.param](VECTORS)


@pytest.fixture(scope="module")
def graph() -> FaissIndex:
    return FaissIndex.hnsw(VECTORS, ef_search=48)


@pytest.fixture(autouse=True)
def lists_are_searched_although_the_catalogue_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.backends.ivf.FILTER_OVERHEAD_ROWS", 0)


def best_towards(direction: Vectors, count: int) -> Mask:
    allow = np.zeros(COUNT, np.bool_)
    allow[np.argsort(-(VECTORS @ direction))[:count]] = True
    return allow


def check(rows: Rows, scores: Vectors, allow: Mask, queries: Vectors, k: int) -> float:
    """Check all that no index may get wrong, and give the recall."""
    wanted = min(k, int(allow.sum()))
    assert rows.shape == scores.shape == (len(queries), k)
    assert (rows[:, wanted:] == -1).all()
    assert np.isneginf(scores[:, wanted:]).all()
    kept = rows[:, :wanted]
    assert (kept >= 0).all()
    assert allow[kept].all()
    assert all(len(set(line)) == wanted for line in kept.tolist())
    own = np.einsum("qkd,qd->qk", VECTORS[kept], queries)
    np.testing.assert_allclose(scores[:, :wanted], own, atol=2e-3)
    assert (np.diff(scores[:, :wanted]) <= 0).all()
    if wanted == 0:
        return 1.0
    exact = -np.sort(-(queries @ VECTORS[allow].T), axis=1)[:, wanted - 1 : wanted]
    return float((own >= exact - 1e-6).mean())


@pytest.mark.parametrize("share", [0.9, 0.5, 0.2, 0.1, 0.05, 0.01, 0.001])
@pytest.mark.parametrize("where", ["random", "near", "far", "near one item", "far from one query"])
def test_recall_holds_however_the_filter_lies(index: VectorIndex, share: float, where: str) -> None:
    count = max(1, round(share * COUNT))
    allow = {
        "random": np.random.default_rng(3).permutation(COUNT) < count,
        "near": best_towards(QUERIES.mean(axis=0), count),
        "far": best_towards(-QUERIES.mean(axis=0), count),
        "near one item": best_towards(VECTORS[5], count),
        "far from one query": best_towards(-QUERIES[0], count),
    }[where]
    scores, rows = index.search(QUERIES, K, allow)
    assert check(rows, scores, allow, QUERIES, K) >= (1.0 if index.kind in EXACT else 0.95)


@settings(max_examples=25)
@given(st.data())
def test_k_whenever_k_exist(index: VectorIndex, data: st.DataObject) -> None:
    allowed = data.draw(st.sampled_from([0, 1, 2, 9, 10, 11, 300, COUNT // 2, COUNT - 1, COUNT]))
    k = data.draw(
        st.sampled_from([1, max(1, allowed - 1), max(1, allowed), allowed + 1, COUNT + 1]).filter(lambda k: k < 400)
        | st.just(10)
    )
    few = data.draw(st.sampled_from([1, 2, 20]))
    allow = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(COUNT) < allowed
    scores, rows = index.search(QUERIES[:few], k, allow)
    check(rows, scores, allow, QUERIES[:few], k)


@pytest.mark.parametrize("allowed", [1, COUNT // 2, COUNT])
def test_more_than_there_are(index: VectorIndex, allowed: int) -> None:
    allow = np.random.default_rng(4).permutation(COUNT) < allowed
    scores, rows = index.search(QUERIES[:2], COUNT + 1, allow)
    assert check(rows, scores, allow, QUERIES[:2], COUNT + 1) >= 0.999


def test_a_filter_that_allows_everything_changes_nothing(index: VectorIndex) -> None:
    assert_lists_agree(index.search(QUERIES, K, np.ones(COUNT, np.bool_)), index.search(QUERIES, K))


@pytest.mark.parametrize("share", [0.5, 0.02])
def test_batch_equals_one_by_one(index: VectorIndex, share: float) -> None:
    allow = best_towards(-QUERIES[0], round(share * COUNT))
    scores, rows = index.search(QUERIES, K, allow)
    for line, query in enumerate(QUERIES):
        assert_lists_agree(index.search(query[None], K, allow), (scores[[line]], rows[[line]]))


def test_a_dropped_selector_is_noticed(index: VectorIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def everything(allow: Mask) -> Any:  # noqa: ANN401 - FAISS ships no types
        return faiss.IDSelectorBitmap(np.full((len(allow) + 7) // 8, 255, np.uint8))

    for module in ("faiss_base", "faiss", "ivf"):
        monkeypatch.setattr(f"indexing.index.backends.{module}.selector", everything)
    for share in (0.5, 0.01):
        allow = np.random.default_rng(3).random(COUNT) < share
        for queries in (QUERIES, QUERIES[:1]):
            scores, rows = index.search(queries, K, allow)
            assert check(rows, scores, allow, queries, K) >= 0.99


def test_a_graph_that_did_not_look_deep_enough_notices(graph: FaissIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    allow = best_towards(-QUERIES.mean(axis=0), 3 * COUNT // 10)
    scores, rows = graph.search(QUERIES, K, allow)
    assert check(rows, scores, allow, QUERIES, K) >= 0.99
    monkeypatch.setattr(FaissIndex, "_rank_in_catalogue", lambda *_: np.zeros(len(QUERIES)))
    scores, rows = graph.search(QUERIES, K, allow)
    assert check(rows, scores, allow, QUERIES, K) < 0.95


def test_depth_is_counted_in_the_whole_catalogue_where_the_sample_holds_it(graph: FaissIndex) -> None:
    small = FaissIndex.hnsw(VECTORS[:500])
    exact = np.sort(QUERIES @ VECTORS[:500].T, axis=1)
    np.testing.assert_allclose(small._rank_in_catalogue(QUERIES, exact[:, -41:-40] + np.float32(1e-6)) / 40, 1.0)
    depth = graph._rank_in_catalogue(QUERIES, np.sort(QUERIES @ VECTORS.T, axis=1)[:, -1000:-999])
    assert np.abs(depth / 1000 - 1).max() < 0.15


def test_lists_are_visited_until_they_hold_enough_allowed_rows() -> None:
    lists = Occupancy(np.eye(8, dtype=np.float32), np.repeat(np.arange(8), 100).astype(np.int32))
    query = np.arange(8, 0, -1, dtype=np.float32)[None]  # list 0 is nearest, list 7 farthest
    everything = np.ones(800, np.bool_)
    assert lists.lists(query, everything, 2).tolist() == [2]
    last = everything & (np.arange(800) >= 700)  # an eighth, all in the farthest list
    assert lists.lists(query, last, 1).tolist() == [8]
    quarter = np.arange(800) % 4 == 0  # 25 in each list; of 100 that an unfiltered search sees 57 are wanted
    assert lists.lists(query, quarter, 1).tolist() == [4]
    assert lists.lists(np.concatenate([query, -query]), last, 1).tolist() == [8, 1]


@pytest.mark.parametrize("few", [0, 100])
def test_scan_in_blocks_agrees_with_one_product(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr("indexing.index.backends.faiss_base.BLOCK_ROWS", 7)
    rng = np.random.default_rng(5)
    vectors = rng.integers(-2, 3, (200, 4)).astype(np.float32)  # whole numbers: many scores are equal
    stored = faiss.IndexFlatIP(4)
    stored.add(vectors)
    queries = rng.integers(-2, 3, (9, 4)).astype(np.float32)
    for allow in (None, rng.random(200) < 0.3):
        scores, rows = search_allowed(stored, queries, 20, allow, few)
        among = np.arange(200) if allow is None else np.flatnonzero(allow)
        order = np.argsort(-(queries @ vectors[among].T), axis=1, kind="stable")[:, :20]
        np.testing.assert_array_equal(scores, np.take_along_axis(queries @ vectors[among].T, order, axis=1))
        if few == 0:
            np.testing.assert_array_equal(rows, among[order])


@pytest.mark.parametrize(
    ("count", "sizes"), [(1, [50, 50, 20]), (3, [30, 30, 30, 30]), (9, [10] * 12), (200, [1] * 120)]
)
def test_the_more_queries_the_fewer_rows_are_scored_at_once(
    count: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stored:
        ntotal = 200

        def reconstruct_batch(self, rows: Rows) -> Vectors:
            copied.append(len(rows))
            return vectors[rows]

    monkeypatch.setattr("indexing.index.backends.faiss_base.BLOCK_ROWS", 50)
    monkeypatch.setattr("indexing.index.backends.faiss_base.MAX_SCORES", 90)
    rng, copied = np.random.default_rng(0), list[int]()
    vectors, queries = rng.normal(size=(200, 4)).astype(np.float32), rng.normal(size=(count, 4)).astype(np.float32)
    allow = np.arange(200) < 120
    rows = search_allowed(Stored(), queries, 5, allow, max_row_wise=0)[1]
    assert copied == sizes
    assert rows.tolist() == np.argsort(-(queries @ vectors[:120].T), axis=1)[:, :5].tolist()
