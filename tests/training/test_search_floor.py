"""An adapter is softened until search is kept, and no further."""

import numpy as np
import pytest

from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors, fuse
from indexing.index import FlatIndex
from indexing.types import Modality
from retrieval.adapter import Adapter
from retrieval.modality_gate import ModalityGate
from retrieval.training.search_floor import STRENGTHS, keeping_search, own_search

DIM, COUNT = 16, 300
ALL = (Modality.TEXT, Modality.IMAGE)


def some_items() -> ModalityVectors:
    rng = np.random.default_rng(0)
    exists = {modality: rng.random(COUNT) < 0.8 for modality in ALL}
    exists[Modality.TEXT] |= ~exists[Modality.IMAGE]
    vectors = {m: (unit(rng.normal(size=(COUNT, DIM))) * exists[m][:, None]).astype(np.float16) for m in ALL}
    return ModalityVectors(vectors, exists)


def learned(size: float) -> Adapter:
    rng = np.random.default_rng(1)
    w1, w2 = (rng.normal(size=shape).astype(np.float32) for shape in ((DIM, 8), (8, DIM)))
    gate = ModalityGate(
        {m: rng.normal(size=DIM).astype(np.float32) for m in ALL}, {m: np.ones(1, np.float32) for m in ALL}
    )
    return Adapter(w1, np.zeros(8, np.float32), w2 * np.float32(size), gate)


@pytest.mark.parametrize("modality", ALL)
def test_recall_is_that_of_exact_search(modality: Modality) -> None:
    items = some_items()
    vectors = learned(0.1).apply(items)
    rows = np.flatnonzero(items.exists[modality])[::3]
    found = FlatIndex(vectors).search(unit(items.vectors[modality][rows]), 10)[1]
    expected = (found == rows[:, None]).any(axis=1).mean()
    assert own_search(items, vectors, modality, rows) == pytest.approx(expected)
    assert 0.3 < expected < 1


def test_it_is_as_strong_as_the_bound_allows() -> None:
    items, adapter = some_items(), learned(0.2)
    rows = {m: np.flatnonzero(items.exists[m]) for m in ALL}
    before = {m: own_search(items, fuse(items), m, rows[m]) for m in ALL}
    lost = []
    for strength in STRENGTHS:
        vectors = adapter.softened(strength).apply(items)
        lost.append(max(before[m] - own_search(items, vectors, m, rows[m]) for m in ALL))
    assert lost == sorted(lost, reverse=True)
    for bound, expected in ((1.0, 1.0), (lost[2] + 1e-9, STRENGTHS[2]), (-1.0, 0.0)):
        kept = keeping_search(adapter, items, bound)
        assert kept.strength == expected
        np.testing.assert_array_equal(kept.adapter.apply(items), adapter.softened(expected).apply(items))
        assert all(frozen - after <= max(bound, 0) for frozen, after in kept.search.values())
        told = kept.to_json()
        assert told["strength"] == expected
        assert told["search_recall@10"]["image"]["frozen"] == pytest.approx(before[Modality.IMAGE])
        assert set(told["search_recall@10"]) == {"text", "image"}


def test_softened_is_between_frozen_and_learned() -> None:
    items, adapter = some_items(), learned(0.2)
    np.testing.assert_array_equal(adapter.softened(0.0).apply(items), fuse(items))
    np.testing.assert_array_equal(adapter.softened(1.0).apply(items), adapter.apply(items))
    near = [(adapter.softened(strength).apply(items) * fuse(items)).sum(axis=1).mean() for strength in (0, 0.3, 0.6, 1)]
    assert near == sorted(near, reverse=True)
    halves = adapter.softened(0.5)
    np.testing.assert_array_equal(halves.w2, adapter.w2 / 2)
    np.testing.assert_array_equal(halves.gate.slopes[Modality.TEXT], adapter.gate.slopes[Modality.TEXT] / 2)
    np.testing.assert_array_equal(halves.gate.offsets[Modality.IMAGE], [0.5])
