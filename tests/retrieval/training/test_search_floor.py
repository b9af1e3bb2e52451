"""An adapter is softened until search is kept, and no further."""

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.index import FlatIndex
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse
from retrieval.fitting.selection.search_bound import (
    BLURRED,
    STRENGTHS,
    KnownItemQueries,
    blurred_queries,
    bound_search_loss,
    own_queries,
    recalls,
)
from retrieval.models.adapter import Adapter, ModalityGate

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
    asked = own_queries(items, np.random.default_rng(2))[str(modality)]
    assert sorted(asked.rows) == np.flatnonzero(items.exists[modality]).tolist()
    np.testing.assert_array_equal(asked.vectors, unit(items.vectors[modality][asked.rows]))
    found = FlatIndex(vectors).search(asked.vectors, 10)[1]
    expected = (found == asked.rows[:, None]).any(axis=1).mean()
    assert asked.recall(vectors) == pytest.approx(expected)
    assert 0.3 < expected < 1


def test_blurred_queries_are_only_just_found() -> None:
    frozen = fuse(some_items())
    for found in (0.95, 0.6):
        asked = blurred_queries(frozen, np.random.default_rng(0), found)
        nearest = FlatIndex(frozen).search(asked.vectors, 10)[1]
        assert (nearest == asked.rows[:, None]).any(axis=1).mean() == pytest.approx(found, abs=0.01)
        assert asked.recall(frozen) <= found
        np.testing.assert_allclose(np.linalg.norm(asked.vectors, axis=1), 1, rtol=1e-5)
    few = blurred_queries(frozen[:5], np.random.default_rng(0))  # ten of five items are always all of them
    assert few.recall(frozen[:5]) == 1


def test_queries_that_are_far_from_their_item_are_kept_too() -> None:
    """As captions are from pictures: near none, their own a little nearer than others. Own vectors do not see it."""
    rng = np.random.default_rng(3)
    frozen = unit(rng.normal(size=(400, 64)).astype(np.float32))
    items = ModalityVectors({Modality.IMAGE: frozen.astype(np.float16)}, {Modality.IMAGE: np.ones(400, np.bool_)})
    captions = KnownItemQueries(unit(frozen + 0.3 * rng.normal(size=frozen.shape).astype(np.float32)), np.arange(400))
    w1, w2 = (rng.normal(size=shape).astype(np.float32) for shape in ((64, 8), (8, 64)))
    adapter = Adapter(w1, np.zeros(8, np.float32), 0.04 * w2, ModalityGate({}, {}))
    own = own_queries(items, rng)["image"]
    assert own.recall(adapter.apply(items)) == own.recall(fuse(items)) == 1
    before = captions.recall(fuse(items))
    assert 0.8 < before < 0.97
    assert captions.recall(adapter.apply(items)) < 0.95 * before
    kept = bound_search_loss(adapter, items, 0.01)
    assert 0 < kept.strength < 1
    assert captions.recall(kept.adapter.apply(items)) >= 0.98 * before


def test_it_is_as_strong_as_the_bound_allows() -> None:
    items, adapter = some_items(), learned(0.2)
    rng = np.random.default_rng(4)
    asked = own_queries(items, rng) | {BLURRED: blurred_queries(fuse(items), rng)}
    before = recalls(asked, fuse(items))
    lost = []
    for strength in STRENGTHS:
        vectors = adapter.with_strength(strength).apply(items)
        lost.append(max(before[name] - after for name, after in recalls(asked, vectors).items()))
    assert lost == sorted(lost, reverse=True)
    for bound, expected in ((1.0, 1.0), (lost[2] + 1e-9, STRENGTHS[2]), (-1.0, 0.0)):
        kept = bound_search_loss(adapter, items, bound)
        assert kept.strength == expected
        np.testing.assert_array_equal(kept.adapter.apply(items), adapter.with_strength(expected).apply(items))
        assert all(frozen - after <= max(bound, 0) for frozen, after in kept.search.values())
        report = kept.to_json()
        assert report["strength"] == expected
        assert report["search_recall@10"]["image"]["frozen"] == pytest.approx(before["image"])
        assert set(report["search_recall@10"]) == {"text", "image", "blurred"}


def test_softened_is_between_frozen_and_learned() -> None:
    items, adapter = some_items(), learned(0.2)
    np.testing.assert_allclose(adapter.with_strength(0.0).apply(items), fuse(items), atol=1e-6)
    np.testing.assert_array_equal(adapter.with_strength(1.0).apply(items), adapter.apply(items))
    near = [
        (adapter.with_strength(strength).apply(items) * fuse(items)).sum(axis=1).mean() for strength in (0, 0.3, 0.6, 1)
    ]
    assert near == sorted(near, reverse=True)
    halves = adapter.with_strength(0.5)
    np.testing.assert_array_equal(halves.w2, adapter.w2 / 2)
    np.testing.assert_array_equal(halves.gate.slopes[Modality.TEXT], adapter.gate.slopes[Modality.TEXT] / 2)
    np.testing.assert_array_equal(halves.gate.offsets[Modality.IMAGE], [0.5])
