"""The adapter starts as the frozen model, learns what there is to learn, and its loss is the right one."""

import numpy as np
import pytest
import torch

from indexing.encoders.base import unit
from indexing.errors import DamagedFileError, TrainingError
from indexing.types import Rows, Vectors
from retrieval.adapter import Adapter
from retrieval.training.adapter import next_item_loss, train_adapter
from retrieval.training.config import AdapterConfig
from retrieval.users import UserModel

GROUPS, SIZE, DIM = 6, 10, 24


def fused_vectors(seed: int = 0) -> Vectors:
    """Items whose frozen vectors say nothing of the group that users stay within."""
    return unit(np.random.default_rng(seed).normal(size=(GROUPS * SIZE, DIM)))


def group_histories(count: int, seed: int = 0) -> list[Rows]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, GROUPS) * SIZE + rng.permutation(SIZE)[:6] for _ in range(count)]


def share_in_group(vectors: Vectors, histories: list[Rows]) -> float:
    tastes = UserModel().taste(vectors, [history[:3] for history in histories])
    best = np.argsort(-(tastes @ vectors.T), axis=1)[:, :SIZE]
    return float(
        np.mean([(line // SIZE == history[0] // SIZE).mean() for line, history in zip(best, histories, strict=True)])
    )


def test_untrained_it_is_the_frozen_model() -> None:
    fused = fused_vectors()
    adapter = Adapter.identity(DIM, 8, np.random.default_rng(0))
    np.testing.assert_allclose(adapter.apply(fused), fused, atol=1e-6)
    untrained = train_adapter(fused, group_histories(20), UserModel(), AdapterConfig(epochs=0))
    np.testing.assert_allclose(untrained.apply(fused), fused, atol=1e-6)


def test_it_learns_what_users_did_and_generalises_to_other_users() -> None:
    fused = fused_vectors()
    config = AdapterConfig(epochs=40, learning_rate=5e-3, stay=0.1)
    adapter = train_adapter(fused, group_histories(300), UserModel(), config)
    others = group_histories(100, seed=1)
    before, after = share_in_group(fused, others), share_in_group(adapter.apply(fused), others)
    assert before < 0.45  # three of ten are the history's own
    assert after > before + 0.25


def test_the_same_seed_gives_the_same_weights_and_numpy_agrees_with_torch() -> None:
    fused = fused_vectors()
    first, second = (train_adapter(fused, group_histories(50), UserModel(), AdapterConfig(epochs=3)) for _ in range(2))
    np.testing.assert_array_equal(first.w2, second.w2)
    other = train_adapter(fused, group_histories(50), UserModel(), AdapterConfig(epochs=3, seed=1))
    assert np.abs(first.w2 - other.w2).max() > 1e-4
    w1, b1, w2, f = (torch.from_numpy(part) for part in (first.w1, first.b1, first.w2, fused))
    expected = torch.nn.functional.normalize(f + torch.tanh(f @ w1 + b1) @ w2, dim=1).numpy()
    np.testing.assert_allclose(first.apply(fused), expected, atol=1e-6)


def test_log_q_has_the_sign_that_makes_sampling_match_the_full_softmax() -> None:
    """With targets drawn by q, the corrected in-batch gradient must point where the full softmax's does."""
    rng = np.random.default_rng(0)
    items, draws = 8, 60_000
    q = np.array([0.4, 0.2, 0.15, 0.1, 0.06, 0.04, 0.03, 0.02])
    scores = rng.normal(size=items).astype(np.float32)
    negatives = rng.choice(items, draws, p=q)
    logits = np.concatenate([[scores[3]], scores[negatives]])
    corrected = logits - np.log(np.concatenate([[q[3]], q[negatives]]))
    uncorrected_mass, sampled_mass = np.zeros(items), np.zeros(items)
    np.add.at(sampled_mass, negatives, np.exp(corrected[1:]))
    np.add.at(uncorrected_mass, negatives, np.exp(logits[1:]))
    full = np.exp(scores) / np.exp(scores).sum()
    np.testing.assert_allclose(sampled_mass / sampled_mass.sum(), full, atol=0.02)
    assert np.abs(uncorrected_mass / uncorrected_mass.sum() - full).max() > 0.05

    # and the loss subtracts exactly that
    targets = torch.tensor([0, 1, 2])
    given = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    log_q = torch.log(torch.tensor([0.5, 0.3, 0.2]))
    by_hand = -torch.log_softmax(given - log_q, dim=1).diagonal().mean()
    loss = next_item_loss(given, targets, log_q, torch.zeros(3, 3, dtype=torch.bool))
    torch.testing.assert_close(loss, by_hand)


def test_accidental_hits_and_seen_items_are_no_negatives() -> None:
    logits = torch.tensor([[1.0, 5.0, 9.0], [2.0, 1.0, 0.0], [0.0, 0.0, 3.0]])
    targets = torch.tensor([7, 8, 7])  # queries 0 and 2 have the same target
    seen = torch.tensor([[False, True, False], [False] * 3, [False] * 3])  # query 0 has seen item 8
    loss = next_item_loss(logits, targets, torch.zeros(3), seen)
    first = torch.tensor(0.0)  # nothing is left to confuse it with
    second = -torch.log_softmax(logits[1], dim=0)[1]
    third = -torch.log_softmax(logits[2, 1:], dim=0)[1]
    torch.testing.assert_close(loss, (first + second + third) / 3)


def test_too_little_to_learn_from_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no user has two or more known items"):
        train_adapter(fused_vectors(), [np.array([3])], UserModel(), AdapterConfig())


def test_weights_survive_saving_and_foreign_ones_are_refused() -> None:
    adapter = train_adapter(fused_vectors(), group_histories(20), UserModel(), AdapterConfig(epochs=1))
    loaded = Adapter.from_bytes(adapter.to_bytes(), DIM)
    np.testing.assert_array_equal(loaded.apply(fused_vectors()), adapter.apply(fused_vectors()))
    with pytest.raises(DamagedFileError, match="expected dimension 99"):
        Adapter.from_bytes(adapter.to_bytes(), 99)
