"""Train an `Attention` for a behaviour block: a softmax over items predicts the next items at every position.

Item vectors are fixed: the model learns a query in their space. It is trained alone, though it is served beside the
towers: they fit their training histories too well for joint training.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from indexing.arrays import Rows, Vectors, lengths_of
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.models.attention import EPSILON, Attention, Layer
from retrieval.models.behaviour import Behaviour
from retrieval.training.config import AttentionConfig
from retrieval.training.loop import Schedule, TrainingCurve, digest, train
from retrieval.training.sampled_softmax import sampled_softmax


class Window(NamedTuple):
    """A history, and (L,) int64 ascending positions in it that are read; the items after each are its targets."""

    history: History
    positions: Rows


def window(history: History, max_length: int, dropout: float, rng: np.random.Generator) -> Window:
    """Draw at most ``max_length`` consecutive positions of a history of two or more, and drop a fraction of them."""
    last = len(history) - 1  # nothing follows it
    start = int(rng.integers(max(1, last - max_length + 1)))
    positions = np.arange(start, min(last, start + max_length))
    included = rng.random(len(positions)) >= dropout
    included[rng.integers(len(positions))] = True
    return Window(history, positions[included])


def candidates(
    windows: Sequence[Window], warm: Rows, num_sampled: int, num_targets: int, rng: np.random.Generator
) -> tuple[Rows, torch.Tensor]:
    """Give the ascending rows of the candidates, and the log of the expected count of each among them.

    These are all warm items; where they are too many, a random sample. A target outside of the sample is a candidate
    for its own positions alone, and excluded for all others.
    """
    if len(warm) <= num_sampled:
        return warm, torch.zeros(len(warm))
    sample = rng.choice(warm, num_sampled, replace=False)
    nexts = [history.rows[positions[0] + 1 : positions[-1] + 1 + num_targets] for history, positions in windows]
    rows = np.union1d(sample, np.concatenate(nexts))
    expected = np.where(np.isin(rows, sample), np.log(num_sampled / len(warm)), np.inf)
    return rows, torch.as_tensor(expected.astype(np.float32))


def window_targets(
    windows: Sequence[Window], target_weights: Sequence[Vectors], rows: Rows, num_targets: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the targets and the seen items of each of T positions among C rows: (T, C) float32 and (T, C) bool.

    Args:
        windows: With T positions together.
        target_weights: For each window the weight of each item of its history as a target.
        rows: (C,) int64, ascending.
        num_targets: Number of items after a position that are its targets.
    """
    shape = sum(len(part.positions) for part in windows), len(rows)
    targets, seen = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    start = 0
    for (history, positions), counts in zip(windows, target_weights, strict=True):
        column = np.minimum(np.searchsorted(rows, history.rows), len(rows) - 1)
        exists = rows[column] == history.rows
        offset = np.arange(len(history)) - positions[:, None]
        row, item = np.nonzero((offset > 0) & (offset <= num_targets) & exists)
        targets[start + row, column[item]] = counts[item]
        row, item = np.nonzero((offset <= 0) & exists)
        seen[start + row, column[item]] = True
        start += len(positions)
    return torch.as_tensor(targets), torch.as_tensor(seen)


_HALF_LIVES = (50.0, 3.0)  # initial; long and short for the heads in turn
_LOGIT_SCALE = 10.0  # one over the temperature of the softmax; items have length 1, queries about 1
_SAMPLE_SIZE = 1_000  # histories that the mean length of queries is computed from
_INITIAL_SCALE = 0.3  # of the residual branches


def train_attention(
    block: Behaviour,
    histories: Sequence[History],
    bin_weights: Vectors,
    warm: Rows,
    config: AttentionConfig,
    progress: Callable[[int, "AttentionTraining"], None] | None = None,
    work: Path | None = None,
) -> "AttentionTraining":
    """Train on all positions of each history.

    Args:
        block: Gives the item vectors that are scored, and the context vectors that are read.
        histories: Those shorter than 2 are ignored.
        bin_weights: (V,) weight as a target of each weight bin of the block.
        warm: Rows of items with interactions, ascending; the only candidates.
        config: The settings.
        progress: Called after each epoch with its number, from 1, and the state.
        work: Folder for checkpoints, from which a killed training continues, with the same result; None keeps none.

    Raises:
        TrainingError: When no history has two items, there is no layer, ``heads`` does not divide ``dims``, or the
            loss is not finite in the first epoch.
    """
    if config.layers < 1 or config.heads < 1 or config.dims % config.heads:
        raise TrainingError(
            f"{config.layers} layers with {config.heads} heads of {config.dims} dims; give at least one layer, and "
            "heads that divide dims evenly"
        )
    usable = [history for history in histories if len(history) >= 2]
    if not usable:
        raise TrainingError("no user has two or more known items: there is nothing to learn a next item from")
    rng = np.random.default_rng(config.seed)
    state = AttentionTraining(block, usable, bin_weights, warm, config, rng)
    checkpoint = None
    if work is not None:
        lengths = np.array([len(history) for history in usable])
        done = [np.concatenate([getattr(history, name) for history in usable]) for name in ("rows", "weights")]
        name = digest(
            asdict(config), block.items, block.context_factors, block.weight_bins, bin_weights, warm, lengths, *done
        )
        checkpoint = work / f"attention-{name}.safetensors"
    on_epoch = None if progress is None else lambda epoch: progress(epoch, state)
    state.curve = train(state, rng, Schedule(config.epochs_for(len(usable)), checkpoint=checkpoint), on_epoch)
    return state


class _Layer(NamedTuple):
    """The parameters of a `Layer`; half-lives as logarithms, so that they stay above zero."""

    qkv: torch.Tensor
    output: torch.Tensor
    half_lives: torch.Tensor
    expand: torch.Tensor
    bias: torch.Tensor
    contract: torch.Tensor


class AttentionTraining:
    """The torch side of an `Attention`."""

    curve: TrainingCurve

    def __init__(
        self,
        block: Behaviour,
        histories: Sequence[History],
        bin_weights: Vectors,
        warm: Rows,
        config: AttentionConfig,
        rng: np.random.Generator,
    ) -> None:
        self.block, self.histories, self.warm, self.config = block, histories, warm, config
        self.targets = bin_weights.astype(np.float32)
        dims, context_dims = config.dims, block.context_factors.shape[1]
        self.context_factors, self.items = (
            torch.as_tensor(block.context_factors),
            torch.as_tensor(block.items[:, :-1]),
        )
        # Context vectors come at any scale; each dimension is scaled to a standard deviation of 1.
        std = block.context_factors[warm].std(axis=0)
        self.context_scale = torch.as_tensor(1 / np.maximum(std, max(1e-3 * std.max(), 1e-9)))[:, None]
        self.input_weights = _random_weights(rng, context_dims, dims)
        self.liked = _INITIAL_SCALE * _random_weights(rng, len(block.weight_bins), dims)
        self.layers = [_layer(rng, config) for _ in range(config.layers)]
        self.output_weights = torch.zeros(dims, block.items.shape[1] - 1)
        small = [layer.half_lives for layer in self.layers]
        large = [self.input_weights, self.liked, self.output_weights]
        large += [part for layer in self.layers for part in layer if part is not layer.half_lives]
        for part in (*large, *small):
            part.requires_grad_()
        groups = [
            {"params": large, "lr": config.learning_rate, "weight_decay": config.WEIGHT_DECAY},
            {"params": small, "lr": 1e-2, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups)

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass over the users; see `Trainable`."""
        order = rng.permutation(len(self.histories))[: self.config.MAX_STEPS * self.config.BATCH_SIZE]
        for start in range(0, len(order), self.config.BATCH_SIZE):
            batch = [self.histories[number] for number in order[start : start + self.config.BATCH_SIZE]]
            yield self.loss(
                [window(history, self.config.max_length, self.config.dropout, rng) for history in batch], rng
            )

    def valid(self) -> None:
        """Nothing is held out: the settings fix the number of passes."""

    def loss(self, windows: Sequence[Window], rng: np.random.Generator) -> torch.Tensor:
        """Give the mean loss of all positions, weighted so that a user counts by about the root of the length."""
        rows, log_expected = candidates(windows, self.warm, self.config.MAX_NEGATIVES, self.config.NUM_TARGETS, rng)
        target_weights = [self.targets[self.bin_of(history.weights).cpu().numpy()] for history, _ in windows]
        targets, seen = window_targets(windows, target_weights, rows, self.config.NUM_TARGETS)
        excluded = seen | torch.isinf(log_expected)
        losses = sampled_softmax(self.logits(windows, rows, rng), targets, log_expected, excluded)
        lengths = torch.tensor([len(part.positions) for part in windows])
        counts = (targets.sum(dim=1) / lengths.repeat_interleave(lengths)).sqrt()
        return (counts * losses).sum() / counts.sum().clamp(min=1e-9)

    def bin_of(self, weights: Vectors) -> torch.Tensor:
        """Give the nearest bin of each weight: (T,) int64."""
        return torch.as_tensor(np.abs(weights[:, None] - self.block.weight_bins).argmin(axis=1))

    def logits(self, windows: Sequence[Window], rows: Rows, rng: np.random.Generator) -> torch.Tensor:
        """Give the scores of C rows at each of the T positions of the windows: (T, C)."""
        return _LOGIT_SCALE * (self.states(windows, rng) @ self.output_weights @ self.items[torch.as_tensor(rows)].T)

    def states(self, windows: Sequence[Window], rng: np.random.Generator) -> torch.Tensor:
        """Give the state of each position of the windows, one window after the other: (T, E)."""
        lengths = [len(part.positions) for part in windows]
        exists = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        rows = torch.as_tensor(np.concatenate([history.rows[positions] for history, positions in windows]))
        bins = self.bin_of(np.concatenate([history.weights[positions] for history, positions in windows]))
        position = torch.zeros(exists.shape)
        position[exists] = torch.as_tensor(np.concatenate([part.positions for part in windows]).astype(np.float32))
        states = torch.zeros(*exists.shape, self.config.dims)
        states[exists] = self.context_factors[rows] @ (self.context_scale * self.input_weights) + self.liked[bins]
        states = self._drop(states, rng)
        distance = position[:, :, None] - position[:, None, :]
        # Later positions and padding are masked.
        hidden = ~(exists[:, None, :] & torch.ones(distance.shape[1:], dtype=torch.bool).tril())
        for layer in self.layers:
            decay = distance[:, None] / layer.half_lives.exp()[:, None, None]
            attended = _attend(_layer_norm(states) @ layer.qkv, decay, hidden[:, None])
            states = states + self._drop(attended @ layer.output, rng)
            expanded = F.relu(_layer_norm(states) @ layer.expand + layer.bias)
            states = states + self._drop(expanded @ layer.contract, rng)
        return self._drop(_layer_norm(states[exists]), rng)

    def _drop(self, states: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
        keep = 1 - self.config.HIDDEN_DROPOUT
        if keep == 1:
            return states
        return states * torch.as_tensor(rng.random(tuple(states.shape), np.float32) < keep) / keep

    def attention(self) -> Attention:
        """Give the model for use in numpy; its queries have a mean length of 1, as those of the towers."""
        with torch.no_grad():
            layers = tuple(
                Layer(**{name: part.clone().cpu().numpy() for name, part in layer._asdict().items()})
                for layer in (parameters._replace(half_lives=parameters.half_lives.exp()) for parameters in self.layers)
            )
            liked, output_weights = self.liked.clone().cpu().numpy(), self.output_weights.clone().cpu().numpy()
            attention = Attention(
                (self.context_scale * self.input_weights).cpu().numpy(),
                liked,
                layers,
                output_weights,
                self.config.max_length,
            )
        sample = self.histories[:_SAMPLE_SIZE]
        rows, weights = (np.concatenate([getattr(history, name) for history in sample]) for name in ("rows", "weights"))
        queries = attention.queries(
            self.block.context_factors[rows], weights, self.block.weight_bins, lengths_of(sample)
        )
        length = float(np.linalg.norm(queries, axis=1).mean())
        return replace(attention, output_weights=(output_weights / length).astype(np.float32)) if length else attention


def _random_weights(rng: np.random.Generator, rows: int, columns: int) -> torch.Tensor:
    """Draw weights that keep the standard deviation of their inputs."""
    return torch.as_tensor((rng.normal(size=(rows, columns)) / rows**0.5).astype(np.float32))


def _layer(rng: np.random.Generator, config: AttentionConfig) -> _Layer:
    dims = config.dims
    half_lives = torch.tensor([_HALF_LIVES[head % len(_HALF_LIVES)] for head in range(config.heads)]).log()
    qkv, output = _random_weights(rng, dims, 3 * dims), _INITIAL_SCALE * _random_weights(rng, dims, dims)
    expand, contract = _random_weights(rng, dims, 2 * dims), _INITIAL_SCALE * _random_weights(rng, 2 * dims, dims)
    return _Layer(qkv, output, half_lives, expand, torch.zeros(2 * dims), contract)


def _attend(projected: torch.Tensor, decay: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Give the output of the heads, (B, L, E), from queries, keys and values side by side, (B, L, 3 E).

    Attention halves with each 1 in ``decay``, (B, H, L, L), and skips what is ``hidden``, (B, 1, L, L).
    """
    windows, longest, width = projected.shape
    queries, keys, values = projected.reshape(windows, longest, 3, decay.shape[1], -1).permute(2, 0, 3, 1, 4)
    logits = queries @ keys.transpose(2, 3) / queries.shape[-1] ** 0.5 - np.log(2) * decay
    attention_weights = torch.softmax(logits.masked_fill(hidden, -1e9), dim=-1)  # a padded position may read anything
    attended: torch.Tensor = (attention_weights @ values).permute(0, 2, 1, 3).reshape(windows, longest, width // 3)
    return attended


def _layer_norm(states: torch.Tensor) -> torch.Tensor:
    """Subtract the mean of each row, and divide by its standard deviation."""
    return F.layer_norm(states, states.shape[-1:], eps=EPSILON)
