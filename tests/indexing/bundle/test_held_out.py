"""Held-out queries of every kind, none of them in the index as itself and counted so."""

import numpy as np

from indexing.arrays import unit
from indexing.bundle.index_files import held_out_queries
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse


def items(count: int) -> ModalityVectors:
    rng = np.random.default_rng(0)
    vectors = {
        modality: unit(rng.normal(size=(count, 12))).astype(np.float16) for modality in (Modality.TEXT, Modality.IMAGE)
    }
    exists = {modality: np.ones(count, np.bool_) for modality in vectors}
    exists[Modality.IMAGE][: count // 2] = False
    return ModalityVectors(vectors, exists)


def test_every_kind_is_held_out() -> None:
    catalogue = items(80)
    vectors = fuse(catalogue)
    queries = held_out_queries(catalogue, vectors, 30)
    assert {kind: len(one) for kind, one in queries.items()} == {"text": 30, "image": 30, "history": 30, "item": 30}
    for kind in ("text", "image", "history"):
        assert queries[kind].item_rows is None
        assert (queries[kind].vectors @ vectors.T).max() < 0.9999  # none is in the index as itself
    own = queries["item"].item_rows
    assert own is not None
    assert len(set(own.tolist())) == 30
    np.testing.assert_array_equal(queries["item"].vectors, vectors[own])
    again = held_out_queries(catalogue, vectors, 30)
    for kind, one in queries.items():
        np.testing.assert_array_equal(one.vectors, again[kind].vectors)


def test_a_single_item_has_neither_neighbours_nor_histories() -> None:
    catalogue = items(1)
    assert set(held_out_queries(catalogue, fuse(catalogue), 30)) <= {"text", "image"}
