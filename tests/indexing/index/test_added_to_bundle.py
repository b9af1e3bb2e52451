"""A retriever of a bundle to which much was added answers as brute force does, also while others search and follow."""

import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.arrays import Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.bundle.edits.edit import add, delete
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.index import delta_codes as added
from indexing.index.config import IndexConfig
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.agree import assert_lists_agree

DIM, FIRST, MORE = 16, 60, 1500


def drawn(count: int, seed: int) -> Vectors:
    rng = np.random.default_rng(seed)
    return unit((0.5 + rng.normal(size=(count, DIM)) / np.sqrt(np.arange(1, DIM + 1))).astype(np.float32))


VECTORS, QUERIES = drawn(FIRST + MORE, 0), drawn(40, 1)


def catalogue(folder: Path, start: int, stop: int) -> Catalogue:
    path = folder / f"items-{start}.parquet"
    rows = np.arange(start, stop)
    column = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS[start:stop].reshape(-1)), DIM)
    names = [f"item-{row}" for row in rows]
    pq.write_table(pa.table({"item_id": names, "image_vector": column, "price": rows % 10}), path)
    return Catalogue.from_parquet(path)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle to which few additions are many."""
    for name, value in {"MIN_ADDED_ROWS": 500, "MAX_TAIL_ROWS": 50, "FLAT_UP_TO": 550}.items():
        monkeypatch.setattr(added, name, value)
    build_bundle(catalogue(tmp_path, 0, FIRST), load_encoder("vectors:"), tmp_path / "bundle")
    return tmp_path / "bundle"


def found(retriever: Retriever, gone: int, stop: int, cheap: int = 10) -> float:
    """Give the share of the ten best there are, of items from one on to another, and check the scores."""
    kept = VECTORS[:stop].astype(np.float16).astype(np.float32)  # as a bundle keeps them
    scores = QUERIES @ unit(kept).T
    rows = np.arange(stop)
    scores[:, (rows < gone) | (rows % 10 >= cheap)] = -np.inf
    share = []
    for query, hits in zip(scores, retriever.search_vectors(QUERIES, 10, where=f"price < {cheap}"), strict=True):
        own = [query[int(hit.item_id.removeprefix("item-"))] for hit in hits]
        # One product in single precision, summed in another order.
        np.testing.assert_allclose([hit.score for hit in hits], own, atol=2e-6)
        share.append(np.mean(own >= np.sort(query)[-10] - 2e-6))
    return float(np.mean(share))


def test_searches_after_many_additions_keep_the_promise_and_tell_it(root: Path) -> None:
    encoder = load_encoder("vectors:")
    retriever = Retriever.load(root)
    assert retriever.status.added == {}
    stop = FIRST
    for count in (520, 30, 450, 500):  # codes; a tail; codes further; codes anew
        add(root, catalogue(root.parent, stop, stop + count), encoder)
        stop += count
        retriever = retriever.latest()
        assert found(retriever, 0, stop) >= 0.95
        assert min(retriever.status.added.values()) >= 0.95
        assert set(retriever.status.added) == {*retriever.status.recall, "added"}
    delete(root, [f"item-{row}" for row in range(100)])
    for one in (retriever.latest(), Retriever.load(root)):
        assert found(one, 100, stop) >= 0.95
        assert found(one, 100, stop, cheap=3) >= 0.95
        assert len(one.search_vectors(QUERIES[:1], stop)[0]) == stop - 100
        assert one.status.to_json()["added"] == one.status.added != {}
    compact(root)
    assert Retriever.load(root).status.added == {}


def test_what_codes_would_find_too_little_of_is_scanned(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(added, "CANDIDATES", (10,))
    monkeypatch.setattr(added, "CANDIDATES_PER_HIT", 1)
    add(root, catalogue(root.parent, FIRST, FIRST + 800), load_encoder("vectors:"))
    retriever = Retriever.load(root)
    assert retriever.status.added == {}
    assert found(retriever, 0, FIRST + 800) == 1


def test_a_scan_that_was_asked_for_stays_one(root: Path) -> None:
    encoder = load_encoder("vectors:")
    build_bundle(catalogue(root.parent, 0, FIRST), encoder, root, index=IndexConfig(kind="flat"))
    add(root, catalogue(root.parent, FIRST, FIRST + 800), encoder)
    retriever = Retriever.load(root)
    assert retriever.status.added == {}
    assert found(retriever, 0, FIRST + 800) == 1


def test_threads_search_one_state_while_another_is_made(root: Path) -> None:
    encoder = load_encoder("vectors:")
    add(root, catalogue(root.parent, FIRST, FIRST + 600), encoder)
    retriever = Retriever.load(root)
    before, over, wrong = retriever.search_vectors(QUERIES, 10), threading.Event(), list[AssertionError]()

    def search() -> None:
        while not over.is_set():
            now = retriever.search_vectors(QUERIES, 10)
            try:
                assert_lists_agree((now.scores, now.rows), (before.scores, before.rows))
            except AssertionError as error:
                wrong.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    latest, stop = retriever, FIRST + 600
    for _ in range(8):
        add(root, catalogue(root.parent, stop, stop + 100), encoder)
        stop += 100
        latest = latest.latest()
        assert found(latest, 0, stop) >= 0.95
    over.set()
    for thread in threads:
        thread.join()
    assert not wrong
