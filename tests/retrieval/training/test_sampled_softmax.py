"""Every loss against plain loops in float64, and the sampled softmax against the softmax over all items."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retrieval.training.sampled_softmax import accidental_hits, log_expected_counts, next_item_loss, sampled_softmax

Doubles = NDArray[np.float64]


def tensors(*arrays: NDArray[np.generic]) -> list[torch.Tensor]:
    return [torch.from_numpy(array) for array in arrays]


def by_hand(logits: Doubles, wanted: Doubles, log_expected: Doubles, out: NDArray[np.bool_]) -> list[float]:
    losses = []
    for i in range(len(logits)):
        total = 0.0
        for c in range(logits.shape[1]):
            if wanted[i, c] > 0:
                total += np.exp(logits[i, c])
            elif not out[i, c]:
                total += np.exp(logits[i, c]) / np.exp(log_expected[c])
        grades = sum(wanted[i])
        loss = 0.0
        for c in range(logits.shape[1]):
            if wanted[i, c] > 0:
                loss -= wanted[i, c] / grades * np.log(np.exp(logits[i, c]) / total)
        losses.append(loss)
    return losses


def test_graded_positives_masks_and_corrections_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    logits, log_expected = rng.normal(size=(6, 11)) * 2, rng.normal(size=11)
    wanted = rng.integers(1, 6, (6, 11)) * (rng.random((6, 11)) < 0.3)
    wanted[4] = 0  # a query without a positive teaches nothing
    wanted[5] = 0
    wanted[5, 2] = 3  # one positive: its grade does not matter
    out = rng.random((6, 11)) < 0.3
    out[5, 2] = True  # nor that it is masked, for it is the positive
    expected = by_hand(logits, wanted.astype(float), log_expected, out)
    found = sampled_softmax(*tensors(logits, wanted.astype(float), log_expected, out))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)
    assert expected[4] == 0
    assert len({round(loss, 6) for loss in expected}) == 6


def test_gradients_are_finite_even_where_everything_else_is_masked() -> None:
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    wanted = torch.zeros(3, 4)
    wanted[0, 0] = wanted[1, 1] = 1
    out = torch.ones(3, 4, dtype=torch.bool)
    losses = sampled_softmax(logits, wanted, torch.zeros(4), out)
    assert losses[:2].tolist() == [0.0, 0.0]
    losses[:2].sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_accidental_hits_are_found_by_item_id() -> None:
    rng = np.random.default_rng(1)
    items, own = rng.integers(0, 6, 15), rng.random((5, 15)) < 0.2
    expected = np.zeros((5, 15), bool)
    for i in range(5):
        for c in range(15):
            for mine in range(15):
                if own[i, mine] and items[mine] == items[c] and not own[i, c]:
                    expected[i, c] = True
    found = accidental_hits(*tensors(items, own)).numpy()
    np.testing.assert_array_equal(found, expected)
    assert 0 < expected.sum() < expected.size


def test_expected_counts_are_those_of_drawing() -> None:
    rng = np.random.default_rng(0)
    share, rounds = np.array([0.5, 0.3, 0.2, 0.0, 0.0]), 20_000
    drawn = np.zeros(5)
    for _ in range(rounds):
        for item in (*rng.choice(5, 3, p=share), *rng.integers(0, 5, 4)):
            drawn[item] += 1
    items = np.array([4, 0, 1, 2, 3, 0])
    found = log_expected_counts(torch.from_numpy(share), torch.from_numpy(items), 3, 4).exp().numpy()
    np.testing.assert_allclose(found, drawn[items] / rounds, rtol=0.03)
    np.testing.assert_allclose(found, [0.8, 2.3, 1.7, 1.4, 0.8, 2.3], rtol=1e-12)


def test_next_item_loss_is_that_of_plain_loops() -> None:
    rng = np.random.default_rng(2)
    queries, drawn = 6, 5
    items = rng.integers(0, 9, queries + drawn)
    logits, log_expected = rng.normal(size=(queries, queries + drawn)), rng.normal(size=queries + drawn)
    seen = rng.random((queries, queries + drawn)) < 0.2
    losses = []
    for i in range(queries):
        total = np.exp(logits[i, i])
        for c in range(queries + drawn):
            if c != i and items[c] != items[i] and not seen[i, c]:
                total += np.exp(logits[i, c] - log_expected[c])
        losses.append(-np.log(np.exp(logits[i, i]) / total))
    given, of, expected, known_to = tensors(logits, items, log_expected, seen)
    found = next_item_loss(given, of, expected, known_to).item()
    assert found == pytest.approx(np.mean(losses), rel=1e-12)
    worth = np.array([1.0, 0.5] + [0.0] * (len(losses) - 2))
    weighed = next_item_loss(given, of, expected, known_to, weights=torch.from_numpy(worth)).item()
    assert weighed == pytest.approx((losses[0] + losses[1] / 2) / len(losses), rel=1e-12)


SHARE = np.array([0.4, 0.2, 0.15, 0.1, 0.06, 0.04, 0.03, 0.02, 0.0, 0.0])
TARGET = 3


def full_softmax(scores: Doubles) -> tuple[float, Doubles]:
    """Loss and gradient of the softmax over all items."""
    likely = np.exp(scores) / np.exp(scores).sum()
    return float(-np.log(likely[TARGET])), likely - np.eye(len(scores))[TARGET]


def sampled(scores: Doubles, targets: int, uniform: int, sign: float) -> tuple[float, Doubles]:
    """Loss and gradient for one query, from one large sample, as `next_item_loss` has it."""
    rng = np.random.default_rng(7)
    drawn = np.concatenate([rng.choice(len(SHARE), targets, p=SHARE), rng.integers(0, len(SHARE), uniform)])
    items = torch.from_numpy(np.concatenate([[TARGET], drawn]))
    log_expected = sign * log_expected_counts(torch.from_numpy(SHARE), items, targets, uniform)
    by_item = torch.from_numpy(scores).requires_grad_()
    loss = next_item_loss(by_item[items][None], items, log_expected, torch.zeros(1, len(items), dtype=torch.bool))
    loss.backward()
    assert by_item.grad is not None
    return loss.item(), by_item.grad.numpy()


@pytest.mark.parametrize("uniform", [0, 60_000])
def test_log_q_has_the_sign_with_which_sampling_matches_the_full_softmax(uniform: int) -> None:
    scores = np.random.default_rng(0).normal(size=len(SHARE))
    if not uniform:
        scores[SHARE == 0] = -50.0  # what is never drawn cannot be stood for
    loss, gradient = full_softmax(scores)
    right_loss, right = sampled(scores, 60_000, uniform, 1.0)
    assert right_loss == pytest.approx(loss, abs=0.02)
    np.testing.assert_allclose(right, gradient, atol=0.01)

    # With either wrong sign, even once the size of the sample is made up for, the gradient points elsewhere.
    for sign in (0.0, -1.0):
        _, wrong = sampled(scores, 60_000, uniform, sign)
        others = np.arange(len(SHARE)) != TARGET
        shares, true = wrong[others] / wrong[others].sum(), gradient[others] / gradient[others].sum()
        assert np.abs(shares - true).max() > 0.08
        np.testing.assert_allclose(right[others] / right[others].sum(), true, atol=0.01)


def test_a_target_that_is_corrected_too_takes_the_loss_elsewhere() -> None:
    """What is certain to be in the sample does not stand for more than itself."""
    scores = np.random.default_rng(0).normal(size=len(SHARE))
    loss, gradient = full_softmax(scores)
    rng = np.random.default_rng(7)
    for draws in (1_000, 60_000):
        items = np.concatenate([[TARGET], rng.choice(8, draws, p=SHARE[:8])])
        negatives = items[1:][items[1:] != TARGET]
        corrected = np.exp(scores[negatives]) / SHARE[negatives]
        target = np.exp(scores[TARGET]) / SHARE[TARGET]
        share = target / (target + corrected.sum())
        assert -np.log(share) > loss + 2
        assert 1 - share > -gradient[TARGET] + 0.05  # it is pulled harder than by the softmax over all items
