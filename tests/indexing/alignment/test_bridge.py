"""Bridges between spaces whose relation is known."""

from typing import Any

import numpy as np
import pytest

from indexing.arrays import unit
from indexing.encoders.alignment.bridge import Bridge
from indexing.errors import DamagedFileError, InputError, ShapeError, VectorError

Array = np.ndarray[Any, Any]


def spaces(count: int = 800, dims: tuple[int, int] = (24, 24), noise: float = 0.05, seed: int = 0) -> tuple[Array, ...]:
    """Texts in a space with a mean of its own, and the same ones turned, moved and disturbed: source, target, turn."""
    rng = np.random.default_rng(seed)
    large, small = max(dims), min(dims)
    turn = np.linalg.qr(rng.normal(size=(large, large)))[0][:, :small]
    turn = turn if dims[0] >= dims[1] else turn.T
    source = rng.normal(size=(count, dims[0])) / np.sqrt(dims[0]) + 0.2
    target = source @ turn + rng.normal(size=dims[1]) / 3 + noise * rng.normal(size=(count, dims[1]))
    return unit(source), unit(target), turn


@pytest.mark.parametrize("method", ["best", "ridge", "orthogonal"])
def test_a_turn_with_noise_is_found(method: str) -> None:
    source, target, _ = spaces()
    bridge = Bridge.fit(source[:600], target[:600], method=method)
    assert set(bridge.report.scores) == ({"ridge", "orthogonal"} if method == "best" else {method})
    for score in bridge.report.scores.values():
        assert score.recall_at_1 > 0.9
        assert score.recall_at_10 > 0.99
        assert score.mean_cosine > 0.95
    mapped = bridge.apply(source[600:])  # texts it never saw
    assert ((mapped @ target[600:].T).argmax(axis=1) == np.arange(200)).mean() > 0.9
    assert mapped.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("dims", [(16, 40), (40, 16)])
def test_lengths_may_differ(dims: tuple[int, int]) -> None:
    source, target, _ = spaces(dims=dims)
    bridge = Bridge.fit(source, target)
    assert bridge.matrix.shape == dims
    assert bridge.report.scores[bridge.report.method].recall_at_1 > 0.9
    assert bridge.apply(source[:0]).shape == (0, dims[1])


def test_a_stretch_is_the_ridges_and_few_texts_are_the_turns() -> None:
    source, target, _ = spaces(noise=0.01)
    stretched = unit(target * np.geomspace(0.05, 20, 24).astype(np.float32))
    assert Bridge.fit(source, stretched).report.method == "ridge"
    source, target, _ = spaces(count=2_000, dims=(64, 64), noise=0.1)
    few = Bridge.fit(source[:60], target[:60])
    turned = few if few.report.method == "orthogonal" else Bridge.fit(source[:60], target[:60], method="orthogonal")
    ridge = Bridge.fit(source[:60], target[:60], method="ridge")

    def hits(bridge: Bridge) -> float:
        return float(((bridge.apply(source[1_000:]) @ target[1_000:].T).argmax(axis=1) == np.arange(1_000)).mean())

    assert hits(turned) > hits(ridge)


def test_unrelated_spaces_are_reported_as_such() -> None:
    rng = np.random.default_rng(3)
    bridge = Bridge.fit(unit(rng.normal(size=(900, 20))), unit(rng.normal(size=(900, 20))))
    assert all(score.recall_at_1 < 0.1 for score in bridge.report.scores.values())
    assert bridge.report.held_out == 135


def test_the_same_texts_and_seed_give_the_same_bytes() -> None:
    source, target, _ = spaces(count=200)
    first, again = (Bridge.fit(source, target, seed=4).to_bytes() for _ in range(2))
    assert first == again
    assert Bridge.fit(source, target, seed=5).to_bytes() != first


def test_it_comes_back_from_bytes() -> None:
    source, target, _ = spaces(count=200, dims=(10, 12))
    bridge = Bridge.fit(source, target, origin="abc")
    again = Bridge.from_bytes(bridge.to_bytes())
    assert again.report == bridge.report
    assert again.origin == "abc"
    np.testing.assert_array_equal(again.apply(source), bridge.apply(source))


def test_damaged_bytes_are_refused() -> None:
    source, target, _ = spaces(count=200, dims=(10, 12))
    data = Bridge.fit(source, target).to_bytes()
    other = Bridge.fit(source, target[:, :11])
    mixed = Bridge(other.matrix, other.source_mean, np.zeros(12, np.float32), other.report, "")
    endless = Bridge(other.matrix * np.float32(np.inf), other.source_mean, other.target_mean, other.report, "")
    for bad in (b"", b"once upon a time", data[:-50], data[:100], mixed.to_bytes(), endless.to_bytes()):
        with pytest.raises(DamagedFileError, match="fit it again"):
            Bridge.from_bytes(bad)


def test_what_cannot_be_fitted_is_refused() -> None:
    source, target, _ = spaces(count=100)
    with pytest.raises(InputError, match="no bridge method 'linear'; known are best, ridge, orthogonal"):
        Bridge.fit(source, target, method="linear")
    with pytest.raises(ShapeError, match=r"shapes \(100, 24\) and \(99, 24\)"):
        Bridge.fit(source, target[1:])
    with pytest.raises(InputError, match="at least 20 texts, better thousands; there are 19"):
        Bridge.fit(source[:19], target[:19])
    with pytest.raises(VectorError, match="target texts have 1 vectors not finite"):
        Bridge.fit(source, np.where(np.arange(100)[:, None] == 3, np.nan, target))
    with pytest.raises(ShapeError, match=r"vectors have shape \(100, 5\), this bridge takes \(N, 24\)"):
        Bridge.fit(source, target).apply(source[:, :5])


def test_vectors_that_are_all_the_same_are_no_crash() -> None:
    same = np.tile(unit(np.ones((1, 8))), (30, 1))
    assert np.isfinite(Bridge.fit(same, same).apply(same)).all()
