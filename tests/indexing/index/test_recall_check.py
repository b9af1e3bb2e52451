"""The recall of an index is kept with its queries and their exact answers, and measured again."""

import numpy as np
import pytest
from safetensors.numpy import save

from indexing.arrays import Vectors, unit
from indexing.errors import DamagedFileError
from indexing.index import FlatIndex, IndexConfig, Queries, build_index
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams
from indexing.index.tuning.recall import MAX_QUERIES, MIN_QUERIES, RecallCheck

DIM = 24


def clustered(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(60, DIM))
    return unit(centres[rng.integers(0, 60, count)] + 0.7 * rng.normal(size=(count, DIM)) + 1.0)


def test_it_survives_its_bytes_and_sees_what_was_lost() -> None:
    vectors = clustered(4000, 1)
    rows = np.arange(50)
    texts = Queries(unit(np.random.default_rng(3).normal(size=(60, DIM))))
    asked = {"text": texts, "item": Queries(vectors[rows], rows)}
    index, _ = build_index(vectors, IndexConfig(kind="ivf"), asked)
    assert isinstance(index, IvfIndex)
    recall_check = RecallCheck.from_bytes(RecallCheck.of(index, vectors, asked, 10).to_bytes())
    assert {kind: len(one.queries) for kind, one in recall_check.ground_truth.items()} == {
        "text": MAX_QUERIES,
        "item": MAX_QUERIES,
    }
    exact, _ = FlatIndex(vectors).search(recall_check.ground_truth["text"].queries.vectors, 10)
    np.testing.assert_allclose(recall_check.ground_truth["text"].exact, exact, rtol=1e-5)
    np.testing.assert_array_equal(recall_check.ground_truth["item"].queries.item_rows, rows[:MAX_QUERIES])
    assert recall_check.measure(index, vectors) == recall_check.recall
    assert min(recall_check.recall.values()) > 0.9
    lazy = recall_check.measure(index.with_effort(SearchParams(1, 20)), vectors)
    assert lazy["text"] < 0.6
    assert recall_check.measure(FlatIndex(vectors), vectors) == {"text": 1.0, "item": 1.0}


def test_of_what_scans_everything_little_is_kept() -> None:
    vectors = np.random.default_rng(0).normal(size=(30_000, 512)).astype(np.float32)
    asked = {kind: vectors[:40] for kind in ("text", "image", "history")}
    index, _ = build_index(vectors[:100], IndexConfig(), {})
    kept = RecallCheck.of(index, vectors[:100], asked, 10)
    assert [len(one.queries) for one in kept.ground_truth.values()] == [MAX_QUERIES] * 3
    large, _ = build_index(vectors, IndexConfig(), {})
    kept = RecallCheck.of(large, vectors, asked, 10)
    assert [len(one.queries) for one in kept.ground_truth.values()] == [400_000_000 // (30_000 * 512 * 3)] * 3
    assert MIN_QUERIES <= 8


def test_what_is_no_promise_is_refused() -> None:
    for data in (b"", b"x" * 40, save({"text.vectors": np.zeros((2, 3), np.float32)})):
        with pytest.raises(DamagedFileError, match="stored sample of queries cannot be read"):
            RecallCheck.from_bytes(data)
