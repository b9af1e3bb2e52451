"""Train the adapter, gate and residual together, to predict the next item of a history; see `losses`."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, lengths_of, unit
from indexing.errors import InputError, ShapeError, TrainingError
from indexing.store.collect import ModalityVectors, fuse
from retrieval.models.adapter import Adapter, ModalityGate
from retrieval.models.user_model import UserModel
from retrieval.training.config import AdapterConfig
from retrieval.training.loop import Schedule, TrainingCurve, digest, train
from retrieval.training.sampled_softmax import log_expected_counts, next_item_loss, sampled_softmax


def train_adapter(
    items: ModalityVectors,
    histories: Sequence[Rows],
    users: UserModel,
    config: AdapterConfig,
    progress: Callable[[int], None] | None = None,
    work: Path | None = None,
    start: Adapter | None = None,
    weights: Sequence[Vectors] | None = None,
) -> tuple[Adapter, TrainingCurve]:
    """Train an adapter on the next items of histories.

    The last interaction of some users is held out for early stopping; the best state is kept. The query is that of
    serving, `UserModel.taste`, and targets are weighted by their interaction weights.

    Args:
        items: The frozen vectors of the N items.
        histories: For each user the rows of their items, oldest first; those shorter than 2 are ignored.
        users: Makes the query vectors.
        config: The settings.
        progress: Called after each epoch with the number of new epochs: 1, or more after a continued checkpoint.
        work: Folder for checkpoints, from which a killed training continues, with the same result; None keeps none.
        start: The adapter that training continues from; the identity when None.
        weights: Interaction weight of each item of each history, above 0; equal when None. Their scale has no effect.

    Raises:
        InputError: When the start is of another width, or a weight is not above 0.
        ShapeError: When weights and histories do not fit.
        TrainingError: When no history has two items, or the loss is not finite from the start.
    """
    liked = None if weights is None else _liked(weights, histories)
    usable = [user for user, history in enumerate(histories) if len(history) >= 2]
    if not usable:
        raise TrainingError("no user has two or more known items: there is nothing to learn a next item from")
    rng = np.random.default_rng(config.seed)
    training_weights = None if liked is None else [liked[user] for user in usable]
    training = AdapterTraining(items, [histories[user] for user in usable], users, config, rng, start, training_weights)
    name = "" if work is None else _name(items, histories, users, config, start, liked or ())
    checkpoint = None if work is None else work / f"adapter-{name}.safetensors"
    done = 0

    def on_epoch(epoch: int) -> None:
        nonlocal done
        if progress is not None:
            progress(epoch - done)
        done = epoch

    curve = train(training, rng, Schedule(config.epochs_for(len(usable)), config.patience, checkpoint), on_epoch)
    return training.adapter(), curve


def _liked(weights: Sequence[Vectors], histories: Sequence[Rows]) -> list[Vectors]:
    if list(map(len, weights)) != list(map(len, histories)):
        raise ShapeError("weights and histories differ in length; give one weight for each row of each history")
    liked = [np.asarray(values, np.float32) for values in weights]
    for user, values in enumerate(liked):
        if len(invalid := np.flatnonzero(~((values > 0) & (values < np.inf)))):
            raise InputError(
                f"weights[{user}][{invalid[0]}] is {values[invalid[0]]:g}; give more than 0, and leave out what was "
                "disliked"
            )
    return liked


def _name(
    items: ModalityVectors,
    histories: Sequence[Rows],
    users: UserModel,
    config: AdapterConfig,
    start: Adapter | None,
    weights: Sequence[Vectors],
) -> str:
    arrays = [part for m in items.modalities for part in (items.vectors[m], items.exists[m])]
    settings = {"config": asdict(config), "users": asdict(users), "modalities": list(items.modalities)}
    if start is not None:
        settings["start"] = hashlib.sha256(start.to_bytes()).hexdigest()
    return digest(settings, *arrays, lengths_of(histories), np.concatenate(histories), *weights)


class AdapterTraining:
    """The torch side of `Adapter`."""

    def __init__(
        self,
        items: ModalityVectors,
        histories: Sequence[Rows],
        users: UserModel,
        config: AdapterConfig,
        rng: np.random.Generator,
        start: Adapter | None = None,
        weights: Sequence[Vectors] | None = None,
    ) -> None:
        self.items, self.users, self.config = items, users, config
        self.modalities, dim = items.modalities, next(iter(items.vectors.values())).shape[1]
        start = start or Adapter.identity(dim, config.hidden, rng)
        if start.w1.shape != (dim, config.hidden):
            raise InputError(
                f"the published adapter is of shape {start.w1.shape}, but {(dim, config.hidden)} was set: leave "
                "the settings as they are, or fit without refresh"
            )
        self.centre = torch.as_tensor(mean_fused(items))
        self.residual = [torch.as_tensor(part.copy()) for part in (start.w1, start.b1, start.w2)]
        self.gate = [torch.zeros(len(self.modalities), dim), torch.zeros(len(self.modalities), 1)]
        for index, modality in enumerate(self.modalities):
            if modality in start.gate.slopes:
                self.gate[0][index] = torch.as_tensor(start.gate.slopes[modality].copy())
                self.gate[1][index] = torch.as_tensor(start.gate.offsets[modality].copy())
        parameters = [part.requires_grad_() for part in (*self.residual, *self.gate)]
        self.optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=1e-4)
        self.histories, self.held_out = hold_out(histories, items.count, config.validation_fraction, rng)
        self.share = torch.as_tensor(target_probabilities(self.histories, items.count))
        self.weights = [np.ones(len(history), np.float32) for history in histories] if weights is None else weights
        self.mean_weight = mean_target_weight(
            [values[: len(history)] for values, history in zip(self.weights, self.histories, strict=True)]
        )

    def adapter(self) -> Adapter:
        """Give the adapter as trained so far, for use in numpy."""
        parts = (part.detach().cpu().numpy().copy() for part in self.gate)
        gate = ModalityGate(*(dict(zip(self.modalities, part, strict=True)) for part in parts))
        w1, b1, w2 = (part.detach().cpu().numpy().copy() for part in self.residual)
        return Adapter(w1, b1, w2, gate)

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass over the users; see `Trainable`."""
        samples = [(user, int(t)) for user, history in enumerate(self.histories) for t in self._targets(history, rng)]
        rng.shuffle(samples)
        for start in range(0, len(samples), self.config.BATCH_SIZE):
            yield self._loss(samples[start : start + self.config.BATCH_SIZE], rng)

    def _targets(self, history: Rows, rng: np.random.Generator) -> NDArray[np.int64]:
        return rng.integers(1, len(history), self.config.TARGETS_PER_USER)

    def _loss(self, batch: Sequence[tuple[int, int]], rng: np.random.Generator) -> torch.Tensor:
        parts = [(user, slice(max(0, t - self.users.longest), t)) for user, t in batch]
        histories = [self.histories[user][part] for user, part in parts]
        liked = [self.weights[user][part] for user, part in parts]
        targets = np.array([self.histories[user][t] for user, t in batch])
        target_weights = torch.tensor([float(self.weights[user][t]) / self.mean_weight for user, t in batch])
        candidates = np.concatenate([targets, rng.integers(0, self.items.count, self.config.UNIFORM_NEGATIVES)])
        rows, positions = np.unique(np.concatenate([*histories, candidates]), return_inverse=True)
        vectors, frozen = self.project(rows, rng)
        num_history = len(positions) - len(candidates)
        tastes = self._tastes(histories, liked, positions[:num_history], vectors)
        candidate_rows = torch.as_tensor(candidates)
        loss = next_item_loss(
            tastes @ vectors[torch.as_tensor(positions[num_history:])].T / self.config.TEMPERATURE,
            candidate_rows,
            log_expected_counts(self.share, candidate_rows, len(batch) - 1, self.config.UNIFORM_NEGATIVES),
            seen=torch.as_tensor(seen_mask(histories, candidates, self.items.count)),
            weights=target_weights,
        )
        return loss + self.config.anchor_weight * (1 - (vectors * frozen).sum(dim=1)).mean()

    def project(self, rows: Rows, rng: np.random.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Give the vectors of some items as trained so far, and the frozen ones: two times (R, D).

        With a generator, modality dropout is applied to both.
        """
        fused, frozen = self._fused(self.items.take(rows), rng)
        w1, b1, w2 = self.residual
        return F.normalize(fused + torch.tanh(fused @ w1 + b1) @ w2, dim=1), frozen

    def _fused(self, taken: ModalityVectors, rng: np.random.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Fuse some items by the gate as trained so far, and by the weights of the bundle."""
        exists = np.stack([taken.exists[modality] for modality in self.modalities])
        if rng is not None:
            exists = drop_modalities(exists, self.config.MODALITY_DROPOUT, rng)
        if len(self.modalities) == 1:  # the gate has no effect, and is as slow as all else
            vectors = torch.as_tensor(unit(taken.vectors[self.modalities[0]]))
            return vectors, vectors
        units = torch.as_tensor(np.stack([unit(taken.vectors[m]) for m in self.modalities]) * exists[:, :, None])
        slopes, offsets = self.gate
        base_weights = torch.tensor([self.items.weights.get(modality, 1.0) for modality in self.modalities])[:, None]
        logits = torch.einsum("mrd,md->mr", units, slopes) + offsets + base_weights.log()
        # Not -inf: an item without any modality would be NaN.
        weights = torch.softmax(logits.masked_fill(~torch.as_tensor(exists), -1e9), dim=0)
        fused = F.normalize(torch.einsum("mr,mrd->rd", weights, units), dim=1)
        return fused, F.normalize((units * base_weights[:, :, None]).sum(dim=0), dim=1)

    def _tastes(
        self, histories: Sequence[Rows], liked: Sequence[Vectors], positions: NDArray[np.int64], vectors: torch.Tensor
    ) -> torch.Tensor:
        """Give the taste of each of B concatenated histories, whose items are at these positions: (B, D)."""
        weights = torch.as_tensor(self.users.shares(lengths_of(histories), liked))
        starts = torch.as_tensor(np.cumsum([0, *map(len, histories[:-1])]))
        rows = torch.as_tensor(positions)
        tastes = F.embedding_bag(rows, vectors, starts, mode="sum", per_sample_weights=weights)
        return F.normalize(tastes - self.centre, dim=1)

    def valid(self) -> float | None:
        """Give the softmax loss over the catalogue on the held-out interactions; see `Trainable`."""
        held_out = self.held_out
        if held_out is None:
            return None
        histories = [history[-self.users.longest :] for history in held_out.histories]
        liked = [self.weights[user][:-1][-self.users.longest :] for user in held_out.users]
        target_weights = torch.tensor([float(self.weights[user][-1]) for user in held_out.users])
        rows, positions = np.unique(np.concatenate([*histories, held_out.candidates]), return_inverse=True)
        num_history = len(positions) - len(held_out.candidates)
        with torch.no_grad():
            vectors, _ = self.project(rows)
            tastes = self._tastes(histories, liked, positions[:num_history], vectors)
            logits = tastes @ vectors[torch.as_tensor(positions[num_history:])].T / self.config.TEMPERATURE
            is_target = torch.as_tensor(held_out.candidates == held_out.targets[:, None]).float()
            seen = torch.as_tensor(seen_mask(histories, held_out.candidates, self.items.count))
            losses = sampled_softmax(logits, is_target, torch.zeros(len(held_out.candidates)), seen)
            return float((target_weights * losses).sum() / target_weights.sum())


# Validation should cost less than an epoch of training.
MAX_USERS = 500
MAX_CANDIDATES = 20_000
MIN_USERS = 10  # the loss of fewer is too noisy


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out last interactions of V users.

    Attributes:
        users: (V,) int64, ascending: the number of each user's history.
        histories: The history of each user before the held-out interaction.
        targets: (V,) int64, row of the held-out item.
        candidates: (C,) int64, ascending rows that targets are ranked among; a sample of a large catalogue, else all.
    """

    users: Rows
    histories: tuple[Rows, ...]
    targets: Rows
    candidates: Rows


def hold_out(
    histories: Sequence[Rows], count: int, fraction: float, rng: np.random.Generator
) -> tuple[list[Rows], HeldOut | None]:
    """Hold out the last interaction of a fraction of the users who have three or more.

    Args:
        histories: Rows of each user, oldest first.
        count: N, items of the catalogue.
        fraction: Of users, from 0 to 1. Fewer than ten are not held out, and never more than 500.
        rng: Draws the users.

    Returns:
        The training histories, and the held-out interactions; None where nothing is held out.
    """
    long = [user for user, history in enumerate(histories) if len(history) >= 3]
    num_users = min(round(fraction * len(long)), MAX_USERS)
    if num_users < MIN_USERS:
        return list(histories), None
    users = np.sort(rng.choice(long, num_users, replace=False))
    chosen = set(users.tolist())
    training = [history[:-1] if user in chosen else history for user, history in enumerate(histories)]
    targets = np.array([histories[user][-1] for user in users])
    sample = np.arange(count) if count <= MAX_CANDIDATES else rng.choice(count, MAX_CANDIDATES, replace=False)
    prefixes = tuple(histories[user][:-1] for user in users)
    return training, HeldOut(users, prefixes, targets, np.union1d(sample, targets))


_BLOCK = 16_384


def seen_mask(histories: Sequence[Rows], candidates: Rows, count: int) -> Mask:
    """Say which of C candidates are in each of B histories, of a catalogue of ``count`` items: (B, C)."""
    flags, seen = np.zeros(count, np.bool_), np.zeros((len(histories), len(candidates)), np.bool_)
    for row, history in enumerate(histories):
        flags[history] = True
        seen[row] = flags[candidates]
        flags[history] = False
    return seen


def drop_modalities(exists: Mask, fraction: float, rng: np.random.Generator) -> Mask:
    """Drop one modality, at random, from a fraction of the items that have several: (M, R)."""
    chosen = (exists.sum(axis=0) >= 2) & (rng.random(exists.shape[1]) < fraction)
    modality = np.where(exists, rng.random(exists.shape), -1).argmax(axis=0)
    remaining = exists.copy()
    remaining[modality[chosen], np.flatnonzero(chosen)] = False
    return remaining


def target_probabilities(histories: Sequence[Rows], count: int) -> Vectors:
    """The fraction of drawn targets that is each of N items: each position but the first is drawn equally often."""
    probabilities = np.zeros(count)
    for history in histories:
        np.add.at(probabilities, history[1:], 1 / (len(history) - 1))
    return (probabilities / len(histories)).astype(np.float32)


def mean_target_weight(weights: Sequence[Vectors]) -> float:
    """The mean weight of drawn targets: each position but the first is drawn equally often.

    >>> mean_target_weight([np.array([9.0, 1.0]), np.array([9.0, 2.0, 4.0])])
    2.0
    """
    return float(np.mean([values[1:].mean(dtype=np.float64) for values in weights]))


def mean_fused(items: ModalityVectors) -> Vectors:
    """The mean of the frozen vectors of all items: (D,) float32, block by block."""
    total = np.zeros(next(iter(items.vectors.values())).shape[1])
    for start in range(0, items.count, _BLOCK):
        total += fuse(items.take(slice(start, start + _BLOCK))).sum(axis=0, dtype=np.float64)
    return (total / items.count).astype(np.float32)
