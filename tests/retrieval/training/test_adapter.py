"""The adapter starts as the frozen model, learns what there is to learn, and its batches are the right ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from indexing.arrays import Rows, Vectors, unit
from indexing.errors import InputError, ShapeError, TrainingError
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse
from retrieval.models.adapter import Adapter
from retrieval.models.user_model import UserModel
from retrieval.training.adapter.adapter import (
    AdapterTraining,
    drop_modalities,
    mean_fused,
    seen_mask,
    target_probabilities,
    train_adapter,
)
from retrieval.training.config import AdapterConfig

GROUPS, SIZE, DIM = 6, 10, 24
COUNT = GROUPS * SIZE
ALL = (Modality.TEXT, Modality.IMAGE)
SHORT = AdapterConfig(epochs=3)
USERS = UserModel()


class NoUniform(AdapterConfig):
    UNIFORM_NEGATIVES = 0
    MODALITY_DROPOUT = 0.0


class SevenUniform(NoUniform):
    UNIFORM_NEGATIVES = 7


class SmallBatches(AdapterConfig):
    BATCH_SIZE = 60
    UNIFORM_NEGATIVES = 9


def frozen_items(seed: int = 0, missing: float = 0.0) -> ModalityVectors:
    """Items whose frozen vectors say nothing of the group that users stay within."""
    rng = np.random.default_rng(seed)
    exists = {modality: np.ones(COUNT, np.bool_) for modality in ALL}
    exists[Modality.IMAGE] = rng.random(COUNT) >= missing
    vectors = {m: (unit(rng.normal(size=(COUNT, DIM))) * exists[m][:, None]).astype(np.float16) for m in ALL}
    return ModalityVectors(vectors, exists)


def group_histories(count: int, seed: int = 0) -> list[Rows]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, GROUPS) * SIZE + rng.permutation(SIZE)[:6] for _ in range(count)]


def learned(histories: list[Rows], config: AdapterConfig, items: ModalityVectors | None = None) -> Adapter:
    return train_adapter(frozen_items() if items is None else items, histories, USERS, config)[0]


def share_in_group(vectors: Vectors, histories: list[Rows]) -> float:
    tastes = USERS.taste(vectors, [history[:3] for history in histories])
    best = np.argsort(-(tastes @ vectors.T), axis=1)[:, :SIZE]
    return float(
        np.mean([(line // SIZE == history[0] // SIZE).mean() for line, history in zip(best, histories, strict=True)])
    )


def test_untrained_it_is_the_frozen_model() -> None:
    items = frozen_items(missing=0.3)
    untrained = learned(group_histories(20), replace(SHORT, epochs=0), items)
    np.testing.assert_allclose(untrained.apply(items), fuse(items), atol=1e-6)


@pytest.mark.parametrize("kind", [AdapterConfig, NoUniform])
def test_it_learns_what_users_did_and_generalises_to_other_users(kind: type[AdapterConfig]) -> None:
    items = frozen_items(missing=0.3)
    config = kind(epochs=25, learning_rate=1e-2, anchor_weight=0.1)
    adapter, curve = train_adapter(items, group_histories(200), USERS, config)
    others = group_histories(100, seed=1)
    before, after = share_in_group(fuse(items), others), share_in_group(adapter.apply(items), others)
    assert before < 0.45  # three of ten are the history's own
    assert after > before + 0.25
    assert curve.valid[curve.best] == min(curve.valid) < curve.valid[0] - 0.2
    assert curve.train[-1] < curve.train[0]


def test_the_gate_learns_which_modality_tells_what_goes_with_what() -> None:
    """Pictures are of the group, texts are noise: pictures must come to count more, for every item that has one."""
    items = frozen_items(missing=0.2)
    groups = np.repeat(unit(np.random.default_rng(5).normal(size=(GROUPS, DIM))), SIZE, axis=0)
    pictures = (groups * items.exists[Modality.IMAGE][:, None]).astype(np.float16)
    items = ModalityVectors({**items.vectors, Modality.IMAGE: pictures}, items.exists)
    adapter = learned(group_histories(300), AdapterConfig(epochs=20, learning_rate=1e-2, anchor_weight=0.1), items)
    weights = adapter.modality_weights(items)
    both = items.exists[Modality.IMAGE]
    assert (weights[both, 1] > 0.55).all()
    np.testing.assert_array_equal(weights[~both], np.tile(np.array([1, 0], np.float32), ((~both).sum(), 1)))


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second = (learned(group_histories(50), SHORT) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    other = learned(group_histories(50), replace(SHORT, seed=1))
    assert np.abs(first.w2 - other.w2).max() > 1e-4


@pytest.mark.parametrize("weights", [{}, {Modality.TEXT: 0.3}])
def test_numpy_agrees_with_torch(weights: dict[Modality, float]) -> None:
    items = replace(frozen_items(missing=0.3), weights=weights)
    rng = np.random.default_rng(0)
    learner = AdapterTraining(items, group_histories(20), USERS, SHORT, rng)
    with torch.no_grad():
        for part in (*learner.residual, *learner.gate):
            part.copy_(torch.from_numpy(rng.normal(size=tuple(part.shape)).astype(np.float32)))
        vectors, frozen = learner.project(np.arange(COUNT))
    np.testing.assert_allclose(learner.adapter().apply(items), vectors.numpy(), atol=1e-5)
    np.testing.assert_allclose(fuse(items), frozen.numpy(), atol=1e-6)


def stars(histories: list[Rows], seed: int = 3) -> list[Vectors]:
    rng = np.random.default_rng(seed)
    return [rng.choice([0.5, 1, 3, 5], len(history)).astype(np.float32) for history in histories]


@pytest.mark.parametrize("kind", [NoUniform, SevenUniform])
@pytest.mark.parametrize("rated", [False, True])
def test_the_loss_of_a_batch_is_that_of_plain_loops(kind: type[AdapterConfig], rated: bool) -> None:
    """Everything together, in float64: tastes, weights, draws, corrections, masks, staying near."""
    config, uniform = kind(anchor_weight=0.5, validation_fraction=0.0), kind.UNIFORM_NEGATIVES
    items, histories = frozen_items(missing=0.3), group_histories(12)
    liked = stars(histories) if rated else [np.ones(6, np.float32)] * 12
    learner = AdapterTraining(
        items, histories, USERS, config, np.random.default_rng(0), weights=liked if rated else None
    )
    mean_weight = np.mean([one[1:] for one in liked])
    with torch.no_grad():
        learner.residual[2].copy_(torch.randn(config.hidden, DIM, generator=torch.Generator().manual_seed(0)) * 0.2)
    z, frozen = learner.adapter().apply(items).astype(np.float64), fuse(items).astype(np.float64)
    batch = [(history, 2 + n % 4) for n, history in enumerate(histories)]
    found = learner._loss([(n, t) for n, (_, t) in enumerate(batch)], np.random.default_rng(4)).item()

    drawn = np.random.default_rng(4).integers(0, COUNT, uniform)
    share, candidates = np.zeros(COUNT), [*(history[t] for history, t in batch), *drawn]
    for history in histories:
        for row in history[1:]:
            share[row] += 1 / 5 / len(histories)
    losses, met = [], {int(row) for row in candidates}
    for place, (history, t) in enumerate(batch):
        weights = np.array([liked[place][n] * 0.5 ** ((t - 1 - n) / USERS.half_life) for n in range(t)])
        taste = weights @ z[history[:t]] / weights.sum() - frozen.mean(axis=0)
        taste /= np.linalg.norm(taste)
        met |= set(history[:t].tolist())
        total = target = np.exp(taste @ z[history[t]] / config.TEMPERATURE)
        for other, row in enumerate(candidates):
            if other != place and row != history[t] and row not in history[:t]:
                expected = (len(batch) - 1) * share[row] + uniform / COUNT
                total += np.exp(taste @ z[row] / config.TEMPERATURE) / expected
        losses.append(-np.log(target / total) * liked[place][t] / mean_weight)
    stay = np.mean([1 - z[row] @ frozen[row] for row in met])
    assert found == pytest.approx(np.mean(losses) + 0.5 * stay, rel=1e-4)


@pytest.mark.parametrize("rated", [False, True])
def test_what_is_held_out_is_judged_by_the_softmax_over_all_items(rated: bool) -> None:
    items, histories, config = frozen_items(), group_histories(40), replace(SHORT, validation_fraction=0.5)
    liked = stars(histories) if rated else [np.ones(6, np.float32)] * 40
    rng = np.random.default_rng(0)
    learner = AdapterTraining(items, histories, USERS, config, rng, weights=liked if rated else None)
    held = learner.held_out
    assert held is not None
    z, losses, worth = fuse(items).astype(np.float64), [], []
    for user, past, target in zip(held.users, held.histories, held.targets, strict=True):
        worth.append(liked[user][-1])
        weights = USERS.weights(len(past)).astype(np.float64) * liked[user][:-1]
        weights /= weights.sum()
        taste = weights @ z[past] - z.mean(axis=0)
        logits = z @ (taste / np.linalg.norm(taste)) / SHORT.TEMPERATURE
        rest = [row for row in range(COUNT) if row not in past]
        losses.append(-logits[target] + np.log(np.exp(logits[rest]).sum()))
    assert learner.valid() == pytest.approx(np.average(losses, weights=worth), rel=1e-4)
    assert learner.valid() == learner.valid()


def test_the_query_of_learning_is_that_of_serving() -> None:
    """With ratings, as `UserModel.taste` counts them; and only the last items of a long history."""
    users, items, histories = UserModel(half_life=3, longest=4), frozen_items(), group_histories(8)
    liked = stars(histories)
    learner = AdapterTraining(items, histories, users, SHORT, np.random.default_rng(0), weights=liked)
    vectors, centre = fuse(items), mean_fused(items)
    user_histories, last_weights = [one[-4:] for one in histories], [one[-4:] for one in liked]
    found = learner._tastes(
        user_histories, last_weights, np.concatenate(user_histories), torch.from_numpy(vectors)
    ).numpy()
    # Sums of four float32 products in another order.
    np.testing.assert_allclose(found, users.taste(vectors, histories, centre, liked), atol=1e-6)
    assert np.abs(found - users.taste(vectors, histories, centre)).max() > 1e-2


@pytest.mark.parametrize("level", [1.0, 2.0, 0.5])
def test_weights_that_are_all_alike_change_nothing(level: float) -> None:
    items, histories = frozen_items(), group_histories(50)
    alike = [np.full(len(history), level, np.float32) for history in histories]
    weighed, _ = train_adapter(items, histories, USERS, SHORT, weights=alike)
    # Factors of two cancel without rounding; the tolerance leaves room for another order of sums.
    np.testing.assert_allclose(weighed.w2, learned(histories, SHORT).w2, atol=1e-6)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_of_what_was_not_liked_is_refused(bad: float) -> None:
    weights = [np.ones(6, np.float32), np.array([1, 1, bad, 1, 1, 1], np.float32)]
    with pytest.raises(InputError, match=r"weights\[1\]\[2\] is .*leave out what was disliked"):
        train_adapter(frozen_items(), group_histories(2), USERS, SHORT, weights=weights)
    with pytest.raises(ShapeError, match="one weight for each row"):
        train_adapter(frozen_items(), group_histories(2), USERS, SHORT, weights=weights[:1])


def test_a_killed_training_continues_to_the_same_bits(tmp_path: Path) -> None:
    items, histories = frozen_items(missing=0.3), group_histories(120)
    config = SmallBatches(epochs=5)
    whole, curve = train_adapter(items, histories, USERS, config)
    done: list[int] = []

    def kill(more: int) -> None:
        done.append(more)
        if sum(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_adapter(items, histories, USERS, config, kill, work=tmp_path)
    resumed, again = train_adapter(items, histories, USERS, config, done.append, work=tmp_path)
    assert done == [1, 1, 3, 1, 1]
    assert resumed.to_bytes() == whole.to_bytes()
    assert again == curve
    # Other data or another seed is another training.
    other, _ = train_adapter(items, histories[:-1], USERS, config, work=tmp_path)
    assert other.to_bytes() != whole.to_bytes()
    assert len(list(tmp_path.glob("adapter-*.safetensors"))) == 2


def test_a_loss_that_is_not_finite_stops_and_says_so() -> None:
    items, histories = frozen_items(), group_histories(120)
    mad = SmallBatches(epochs=3, learning_rate=1e30, validation_fraction=0.2)
    adapter, curve = train_adapter(items, histories, USERS, mad)
    assert "no longer finite in epoch 1; the state of epoch 0 is kept" in curve.stopped
    np.testing.assert_allclose(adapter.apply(items), fuse(items), atol=1e-6)
    broken = ModalityVectors({m: v * np.float16(np.nan) for m, v in items.vectors.items()}, items.exists)
    with pytest.raises(TrainingError, match="not finite before the first epoch"):
        train_adapter(broken, histories, USERS, SHORT)
    with pytest.raises(TrainingError, match="not finite in the first epoch"):
        train_adapter(broken, histories, USERS, replace(SHORT, validation_fraction=0.0))


def test_too_little_to_learn_from_is_an_error() -> None:
    with pytest.raises(TrainingError, match="no user has two or more known items"):
        train_adapter(frozen_items(), [np.array([3])], USERS, AdapterConfig())


def test_only_items_with_several_modalities_lose_one() -> None:
    rng = np.random.default_rng(0)
    exists = rng.random((3, 4000)) < 0.6
    left = drop_modalities(exists, 0.25, rng)
    lost = exists & ~left
    assert not (left & ~exists).any()
    several = exists.sum(axis=0) >= 2
    assert not lost[:, ~several].any()
    assert lost.sum(axis=0).max() == 1
    assert lost[:, several].any(axis=0).mean() == pytest.approx(0.25, abs=0.03)
    three = exists.all(axis=0)
    np.testing.assert_allclose(lost[:, three].sum(axis=1) / lost[:, three].sum(), 1 / 3, atol=0.1)
    np.testing.assert_array_equal(drop_modalities(exists, 0.0, rng), exists)


def test_a_batch_knows_who_has_seen_what_and_how_often_targets_come() -> None:
    user_histories = [np.array([1, 5]), np.array([2]), np.array([5, 0, 2])]
    seen = seen_mask(user_histories, np.array([5, 2, 5, 7]), 8)
    np.testing.assert_array_equal(seen, [[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 0]])
    share = target_probabilities([np.array([1, 5, 2]), np.array([0, 5])], 6)
    np.testing.assert_allclose(share, [0, 0, 0.25, 0, 0, 0.75])
    items = frozen_items()
    np.testing.assert_allclose(mean_fused(items), fuse(items).mean(axis=0), atol=1e-6)
