"""The adapter is the frozen model until it has learned, weighs modalities readably, and is the same after saving."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load, save

from indexing.arrays import Vectors, unit
from indexing.errors import DamagedFileError, InputError
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse
from retrieval.models import adapter as module
from retrieval.models.adapter import ADAPTER, CONFIG, Adapter, ModalityGate

DIM = 12
ALL = (Modality.TEXT, Modality.IMAGE, Modality.AUDIO)
ROUNDING = 1e-6  # ten steps of float32, for vectors of unit length that are reckoned in another order


def some_items(count: int = 60, seed: int = 0) -> ModalityVectors:
    """Items with every combination of modalities, the last two without any."""
    rng = np.random.default_rng(seed)
    exists = {modality: rng.random(count) < 0.6 for modality in ALL}
    for each in exists.values():
        each[-2:] = False
    vectors = {
        m: (unit(rng.normal(size=(count, DIM))) * there[:, None]).astype(np.float16) for m, there in exists.items()
    }
    return ModalityVectors(vectors, exists)


def learned(seed: int = 0, modalities: tuple[Modality, ...] = ALL) -> Adapter:
    """An adapter with weights everywhere, as after learning."""
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> Vectors:
        return rng.normal(size=shape).astype(np.float32)

    gate = ModalityGate({m: 3 * drawn(DIM) for m in modalities}, {m: 5 * drawn(1) for m in modalities})
    return Adapter(drawn(DIM, 5), drawn(5), drawn(5, DIM), gate)


def test_untrained_it_is_the_frozen_model() -> None:
    items = some_items()
    untrained = Adapter.identity(DIM, 8, np.random.default_rng(0), ALL)
    np.testing.assert_allclose(untrained.apply(items), fuse(items), atol=ROUNDING)
    present = np.stack([items.exists[modality] for modality in ALL], axis=1).astype(float)
    expected = present / np.maximum(present.sum(axis=1, keepdims=True), 1)
    np.testing.assert_allclose(untrained.modality_weights(items), expected, rtol=1e-6)


def test_vectors_and_weights_are_those_of_plain_loops() -> None:
    items, adapter = some_items(), learned()
    vectors, weights = adapter.apply(items), adapter.modality_weights(items)
    assert vectors.dtype == weights.dtype == np.dtype(np.float32)
    for row in range(items.count):
        levels = {}
        for modality in ALL:
            if items.exists[modality][row]:
                vector = items.vectors[modality][row].astype(np.float64)
                vector = vector / np.linalg.norm(vector)
                level = vector @ adapter.gate.slopes[modality] + adapter.gate.offsets[modality][0]
                levels[modality] = (np.exp(level), vector)
        total = sum(odds for odds, _ in levels.values())
        shares = [levels[m][0] / total if m in levels else 0.0 for m in ALL]
        np.testing.assert_allclose(weights[row], shares, rtol=1e-4, atol=1e-6)
        if not levels:
            continue
        fused = sum(share * levels[m][1] for share, m in zip(shares, ALL, strict=True) if m in levels)
        fused = fused / np.linalg.norm(fused)
        z = fused + np.tanh(fused @ adapter.w1 + adapter.b1) @ adapter.w2
        np.testing.assert_allclose(vectors[row], z / np.linalg.norm(z), atol=2e-5)
    assert np.abs(weights[:, 0] - 1 / 3).max() > 0.1


def test_weights_add_up_to_one_over_what_is_there() -> None:
    items = some_items()
    weights = learned().modality_weights(items)
    for place, modality in enumerate(ALL):
        assert not weights[~items.exists[modality], place].any()
    there = np.any([items.exists[modality] for modality in ALL], axis=0)
    np.testing.assert_allclose(weights.sum(axis=1), there.astype(float), rtol=1e-6)
    assert (weights[there].max(axis=1) > 0).all()


def test_a_missing_modality_has_no_say_however_high_its_level_would_be() -> None:
    items = some_items()
    loud = ModalityGate({Modality.IMAGE: np.zeros(DIM, np.float32)}, {Modality.IMAGE: np.array([500], np.float32)})
    fused, weights = loud.weigh(items)
    without = ~items.exists[Modality.IMAGE]
    np.testing.assert_allclose(fused[without], fuse(items)[without], atol=ROUNDING)
    np.testing.assert_array_equal(weights[~without], np.tile(np.array([0, 1, 0], np.float32), ((~without).sum(), 1)))


def test_a_modality_that_came_after_learning_stands_at_zero() -> None:
    items = some_items()
    known = learned(modalities=(Modality.TEXT,))
    zeros = np.zeros(DIM, np.float32)
    others = {Modality.IMAGE: zeros, Modality.AUDIO: zeros}
    spelled = ModalityGate({**known.gate.slopes, **others}, {**known.gate.offsets, **{m: zeros[:1] for m in others}})
    by_zeros = Adapter(known.w1, known.b1, known.w2, spelled).apply(items)
    np.testing.assert_allclose(known.apply(items), by_zeros, atol=ROUNDING)


def test_blocks_leave_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    items, adapter = some_items(), learned()
    whole, weights = adapter.apply(items), adapter.modality_weights(items)
    monkeypatch.setattr(module, "BLOCK", 7)
    np.testing.assert_allclose(adapter.apply(items), whole, atol=1e-6)
    np.testing.assert_allclose(adapter.modality_weights(items), weights, atol=1e-6)
    assert adapter.apply(items.take(np.arange(0))).shape == (0, DIM)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    items, adapter = some_items(), learned(modalities=(Modality.TEXT, Modality.AUDIO))
    adapter.save_pretrained(tmp_path / "deep" / "shop")
    again = Adapter.from_pretrained(tmp_path / "deep" / "shop")
    np.testing.assert_array_equal(again.apply(items), adapter.apply(items))
    np.testing.assert_array_equal(again.modality_weights(items), adapter.modality_weights(items))
    assert again.to_bytes() == adapter.to_bytes()


def test_loading_needs_no_torch(tmp_path: Path) -> None:
    learned().save_pretrained(tmp_path)
    probe = "import sys; from retrieval.models.adapter import Adapter; Adapter.from_pretrained(sys.argv[1]); "
    probe += "print(sorted({'torch', 'faiss'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", probe, str(tmp_path)], capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"


def test_weights_from_before_there_was_a_gate_are_read() -> None:
    items, adapter = some_items(), learned(modalities=())
    old = save({"w1": adapter.w1, "b1": adapter.b1, "w2": adapter.w2})
    fused = fuse(items)
    expected = unit(fused + np.tanh(fused @ adapter.w1 + adapter.b1) @ adapter.w2)
    np.testing.assert_allclose(Adapter.from_bytes(old, DIM).apply(items), expected, atol=ROUNDING)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = learned().to_bytes()
    with pytest.raises(DamagedFileError, match="expected dimension 99"):
        Adapter.from_bytes(data, 99)
    tensors = load(data)
    with pytest.raises(DamagedFileError, match="gate of text"):
        Adapter.from_bytes(save({**tensors, "gate.text.slope": np.ones(3, np.float32)}), DIM)
    del tensors["w2"]
    with pytest.raises(DamagedFileError, match="w2"):
        Adapter.from_bytes(save(tensors), DIM)
    with pytest.raises(DamagedFileError, match="cannot be read"):
        Adapter.from_bytes(data[:50], DIM)

    with pytest.raises(InputError, match=f"there is no {CONFIG}"):
        Adapter.from_pretrained(tmp_path)
    learned().save_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text(json.dumps({"format": "something else"}))
    with pytest.raises(InputError, match="does not say"):
        Adapter.from_pretrained(tmp_path)
    (tmp_path / CONFIG).write_text("{")
    with pytest.raises(DamagedFileError, match="no JSON"):
        Adapter.from_pretrained(tmp_path)
    (tmp_path / ADAPTER).unlink()
    learned().save_pretrained(tmp_path / "other")
    (tmp_path / CONFIG).write_bytes((tmp_path / "other" / CONFIG).read_bytes())
    with pytest.raises(InputError, match=f"there is no {ADAPTER}"):
        Adapter.from_pretrained(tmp_path)


def test_weights_that_items_came_with_are_where_the_gate_starts() -> None:
    given = {Modality.TEXT: 0.9, Modality.AUDIO: 0.25}
    items = replace(some_items(), weights=given)
    untrained = Adapter.identity(DIM, 8, np.random.default_rng(0), ALL)
    np.testing.assert_allclose(untrained.apply(items), fuse(items), atol=ROUNDING)
    odds = np.stack([items.exists[m] * given.get(m, 1.0) for m in ALL], axis=1)
    expected = odds / np.maximum(odds.sum(axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(untrained.modality_weights(items), expected, rtol=1e-6)
    weights = learned().modality_weights(some_items()) * [given.get(m, 1.0) for m in ALL]
    again = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(learned().modality_weights(items), again, rtol=1e-5)
