"""Where a scan of codes pays, `auto` takes it: it finds nearly all of what exact search finds, or else is not taken."""

import numpy as np
import pytest

from indexing.arrays import Vectors, unit
from indexing.index import FlatIndex, IndexConfig, Queries, build_index, recall
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams
from indexing.index.tuning.families import CODES_FROM, FLAT_UP_TO
from tests.agree import assert_lists_agree
from tests.indexing.index.test_ivf import clustered, far_from_the_origin

COUNT, DIM = 4000, 25  # odd: codes are of two dimensions each


@pytest.fixture
def from_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("indexing.index.tuning.families.CODES_FROM", COUNT * DIM)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return clustered(COUNT, 1)


@pytest.fixture(scope="module")
def queries() -> dict[str, Vectors]:
    far = unit(np.random.default_rng(9).normal(size=(200, DIM)))
    return {"near": clustered(200, 2), "far": far}


@pytest.mark.usefixtures("from_few")
def test_from_some_size_on_codes_are_scanned_and_find_nearly_all(vectors: Vectors, queries: dict[str, Vectors]) -> None:
    index, report = build_index(
        vectors, IndexConfig(min_recall=0.9), {**queries, "item": Queries(vectors[:200], np.arange(200))}
    )
    assert (report.kind, report.family, report.unmet) == ("faiss-ivf", "flat pq4 + fp32", [])
    assert min(report.recall.values()) >= 0.99
    others = {"near": clustered(300, 5), "far": unit(np.random.default_rng(8).normal(size=(300, DIM)))}
    for kind, new in others.items():
        assert recall(index, FlatIndex(vectors), new, 10, kind=kind) >= 0.985
        scores, rows = index.search(new, 10, kind=kind)
        np.testing.assert_allclose(scores, np.take_along_axis(new @ vectors.T, rows, axis=1), atol=1e-5)
    fewer, small = build_index(vectors[:-1], IndexConfig(min_recall=0.9), queries)
    assert (small.family, len(fewer)) == ("flat fp32", COUNT - 1)
    assert CODES_FROM < FLAT_UP_TO * 512


@pytest.mark.usefixtures("from_few")
def test_codes_that_find_less_are_not_taken(
    vectors: Vectors, queries: dict[str, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.index.tuning.efforts.CANDIDATES", (20,))
    _, report = build_index(vectors, IndexConfig(min_recall=0.5), queries)
    assert [trial["family"] for trial in report.tried] == ["flat pq4 + fp32", "flat fp32"]
    assert (report.family, report.target_met) == ("flat fp32", True)
    assert any("< 0.99" in line for line in report.tried[0]["unmet"])


@pytest.mark.usefixtures("from_few")
def test_what_cannot_be_measured_is_searched_exactly(vectors: Vectors) -> None:
    assert build_index(vectors, IndexConfig(), {})[1].family == "flat fp32"


def test_many_answers_are_chosen_from_more(
    vectors: Vectors, queries: dict[str, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = IvfIndex.scan(vectors).with_effort(SearchParams(1, 75))
    assert recall(index, FlatIndex(vectors), queries["far"], 200) >= 0.93
    monkeypatch.setattr("indexing.index.backends.ivf.ANSWERS_POWER", 0)
    assert recall(index, FlatIndex(vectors), queries["far"], 200) <= 0.75


def test_where_nearly_all_would_be_scored_all_are(vectors: Vectors, queries: dict[str, Vectors]) -> None:
    index = IvfIndex.scan(vectors).with_effort(SearchParams(1, COUNT // 8))
    assert_lists_agree(index.search(queries["far"], 10), FlatIndex(vectors).search(queries["far"], 10))


def test_a_wide_filter_does_not_find_less_of_many(
    vectors: Vectors, queries: dict[str, Vectors], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.index.backends.ivf.FILTER_OVERHEAD_ROWS", 0)
    index, exact = IvfIndex.scan(vectors).with_effort(SearchParams(1, 40)), FlatIndex(vectors)
    allow, many = np.arange(COUNT) % 50 != 7, COUNT // 5
    for few in (queries["far"][:3], queries["far"]):
        assert_lists_agree(index.search(few, many, allow), exact.search(few, many, allow))
    assert recall(index, exact, queries["far"], 10) < 1  # few answers are chosen from few


def test_the_mean_and_lengths_do_not_matter() -> None:
    items = 7 * far_from_the_origin(COUNT, 1)
    index = IvfIndex.scan(items, "fp16").with_effort(SearchParams(1, 400))
    assert recall(index, FlatIndex(items), far_from_the_origin(100, 2), 10) > 0.95


def test_equal_vectors_are_all_found() -> None:
    items = np.ones((300, 8), np.float32)
    rows = IvfIndex.scan(items).with_effort(SearchParams(1, 50)).search(items[:2], 300)[1]
    np.testing.assert_array_equal(np.sort(rows, axis=1), np.tile(np.arange(300), (2, 1)))
