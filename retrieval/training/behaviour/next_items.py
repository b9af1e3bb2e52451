"""Learn a tower by the softmax over all items, or a sample that stands for them, of what comes next in a history."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.models.behaviour import QueryTower
from retrieval.models.user_model import ALL_ALIKE
from retrieval.training.behaviour.ease import Whitening
from retrieval.training.config import NextItemsConfig
from retrieval.training.loop import Schedule, TrainingCurve, digest, learn
from retrieval.training.losses import sampled_softmax

_SPREAD = 0.05  # of random factors: scores start near zero


def in_order(histories: Sequence[History]) -> bool:
    """Whether any interaction came later than another: without that, the order of a history says nothing."""
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    return len(times) > 0 and int(np.ptp(times)) > 0


class Start(Protocol):
    """What a tower goes on from, in place of random numbers."""

    def begin(self, state: "NextItems") -> None:
        """Put it where the tower begins."""
        ...

    def arrays(self) -> list[Vectors]:
        """Give all that it is made of."""
        ...


def learn_next_items(
    histories: Sequence[History],
    weight_bins: Vectors,
    bin_weights: Vectors,
    warm: Rows,
    features: Vectors,
    config: NextItemsConfig,
    progress: Callable[[int, "NextItems"], None] | None = None,
    work: Path | None = None,
    start: Start | None = None,
) -> "NextItems":
    """Learn from random cuts of each history.

    Args:
        histories: Those shorter than 2 teach nothing.
        weight_bins: (V,) rising weights; an interaction counts by the nearest in learning.
        bin_weights: (V,) what each level counts, as a history's item at the start and as a target.
        warm: Rows that somebody touched; only they are negatives, for of the others nothing is known.
        features: (N, F) float32, what an item's vector is predicted from; the item's own vector is added to that,
            and now and then left out, so that the prediction learns to stand alone.
        config: How.
        progress: Called after each epoch with its number, from 1, and the state.
        work: Folder in which a training that was killed goes on, with the same result; nothing is kept when None.
        start: What it goes on from; random numbers when None.

    Raises:
        TrainingError: When no history has two items, or the loss is not finite in the first epoch.
    """
    usable = [history for history in histories if len(history) >= 2]
    if not usable:
        raise TrainingError("no user has two or more known items: there is nothing to learn a next item from")
    rng = np.random.default_rng(config.seed)
    state = NextItems(usable, features, weight_bins, bin_weights, warm, config, rng)
    if start is not None:
        start.begin(state)
    checkpoint = None
    if work is not None:
        lengths = np.array([len(history) for history in histories])
        done = [np.concatenate([getattr(history, name) for history in histories]) for name in ("rows", "weights")]
        start_arrays = [] if start is None else start.arrays()
        name = digest(asdict(config), weight_bins, bin_weights, warm, features, lengths, *done, *start_arrays)
        checkpoint = work / f"next-items-{name}.safetensors"
    on_epoch = None if progress is None else lambda epoch: progress(epoch, state)
    state.curve = learn(state, rng, Schedule(config.epochs_for(len(usable)), checkpoint=checkpoint), on_epoch)
    return state


def _cuts(length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(max(1, length // 4), length, count if length > 4 else 1)


def _positions_in(rows: Rows, lists: Sequence[Rows]) -> tuple[torch.Tensor, torch.Tensor]:
    """Find what lists hold among rising rows: of all that is there the number of its list, and its place."""
    flat = np.concatenate(lists)
    list_index = np.repeat(np.arange(len(lists)), [len(part) for part in lists])
    position = np.minimum(np.searchsorted(rows, flat), len(rows) - 1)
    exists = rows[position] == flat
    return torch.from_numpy(list_index[exists]), torch.from_numpy(position[exists])


class NextItems:
    """The torch side of a `QueryTower` and its items."""

    curve: TrainingCurve

    def __init__(
        self,
        histories: Sequence[History],
        features: Vectors,
        weight_bins: Vectors,
        bin_weights: Vectors,
        warm: Rows,
        config: NextItemsConfig,
        rng: np.random.Generator,
    ) -> None:
        self.pasts = histories
        self.warm = warm
        self.levels, self.config, self.count = weight_bins, config, len(features)
        count = self.count
        self.described = torch.from_numpy(features)
        self.predicting = torch.zeros(features.shape[1], config.dims + 1)
        self.targets = torch.from_numpy(bin_weights.astype(np.float32))
        self.items, channel = (self._random(count, config.dims, rng) for _ in range(2))
        self.said = [channel, torch.zeros_like(channel), torch.zeros_like(channel)]
        self.bias, self.scale = torch.zeros(count, 1), torch.zeros(())
        half_lives = config.HALF_LIVES if in_order(histories) else (ALL_ALIKE,) * len(config.HALF_LIVES)
        self.half_lives = torch.tensor(np.log(half_lives), dtype=torch.float32)
        disliked = (weight_bins < weight_bins.max() / 2).astype(np.float32)
        self.worth = torch.from_numpy(np.stack([bin_weights, np.ones_like(bin_weights), disliked]).astype(np.float32))
        self.learned = torch.tensor([[1.0], [0.0], [0.0]])  # the worth of the other two channels stays
        large, small = [self.items, *self.said, self.bias], [self.half_lives, self.worth, self.scale]
        for part in (*large, *small):
            part.requires_grad_()
        self.predicting.requires_grad_()
        groups = [
            {"params": large, "lr": config.learning_rate},
            {"params": small, "lr": 1e-2},
            {"params": [self.predicting], "lr": config.learning_rate * config.PREDICTION_RATE},
        ]
        self.optimizer = RowAdam(groups)
        self.fixed = self.worth.detach().clone()

    @staticmethod
    def _random(count: int, dims: int, rng: np.random.Generator) -> torch.Tensor:
        return torch.from_numpy(rng.normal(0, _SPREAD, (count, dims)).astype(np.float32))

    @property
    def sampled(self) -> bool:
        """Whether a batch reads only some of the rows; then gradients are sparse, and a step is as large as they."""
        return len(self.warm) > self.config.MAX_NEGATIVES

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass over the users; see `Learner`."""
        samples = [
            (history, int(cut))
            for history in self.pasts
            for cut in _cuts(len(history), self.config.CUTS_PER_HISTORY, rng)
        ]
        order = rng.permutation(len(samples))
        for start in range(0, len(order), self.config.BATCH_SIZE):
            yield self._loss([samples[n] for n in order[start : start + self.config.BATCH_SIZE]], rng)

    def valid(self) -> None:
        """Nothing is held out: how long to learn is chosen by who calls."""

    def _loss(self, batch: Sequence[tuple[History, int]], rng: np.random.Generator) -> torch.Tensor:
        rows, log_expected = self._candidates(batch, rng)
        excluded = torch.isinf(log_expected).repeat(len(batch), 1)
        excluded[_positions_in(rows, [history.rows[:cut] for history, cut in batch])] = True
        targets = torch.zeros(len(batch), len(rows))
        nexts = [history[cut : cut + self.config.num_targets] for history, cut in batch]
        target_weights = self.targets[self._level(np.concatenate([following.weights for following in nexts]))]
        targets[_positions_in(rows, [following.rows for following in nexts])] = target_weights
        # The root: who did much teaches more than who did little, but not in proportion.
        grades = targets.sum(dim=1).sqrt()
        return (grades * sampled_softmax(self._scores(batch, rows, rng), targets, log_expected, excluded)).mean()

    def _candidates(self, batch: Sequence[tuple[History, int]], rng: np.random.Generator) -> tuple[Rows, torch.Tensor]:
        """Give the rising rows to tell the next items from, and the log of how often each is expected among them.

        All that somebody touched; or, where they are too many, some of them drawn at random. A target that was not
        drawn is a candidate for its own queries alone: for the others it is never expected.
        """
        if not self.sampled:
            return self.warm, torch.zeros(len(self.warm))
        sample = rng.choice(self.warm, self.config.MAX_NEGATIVES, replace=False)
        rows = np.union1d(
            sample, np.concatenate([history.rows[cut : cut + self.config.num_targets] for history, cut in batch])
        )
        expected = np.where(np.isin(rows, sample), np.log(self.config.MAX_NEGATIVES / len(self.warm)), np.inf)
        return rows, torch.from_numpy(expected.astype(np.float32))

    def _level(self, weights: Vectors) -> torch.Tensor:
        return torch.from_numpy(np.abs(weights[:, None] - self.levels).argmin(axis=1))

    def _scores(self, batch: Sequence[tuple[History, int]], candidates: Rows, rng: np.random.Generator) -> torch.Tensor:
        rows = torch.from_numpy(np.concatenate([history.rows[:cut] for history, cut in batch]))
        bins = self._level(np.concatenate([history.weights[:cut] for history, cut in batch]))
        ages = torch.from_numpy(np.concatenate([np.arange(cut)[::-1] for _, cut in batch]).astype(np.float32))
        starts = torch.from_numpy(np.cumsum([0, *(cut for _, cut in batch[:-1])]))
        keep = 1 - self.config.dropout
        mask = torch.from_numpy((rng.random(len(rows)) < keep).astype(np.float32)) / keep
        queries: torch.Tensor = torch.zeros(())
        for context, half_life, bin_weights in zip(self.said, self.half_lives, self._worth(), strict=True):
            counts = bin_weights[bins] * torch.exp2(-ages / half_life.exp()) * mask
            queries = queries + F.embedding_bag(
                rows, context, starts, mode="sum", per_sample_weights=counts, sparse=self.sampled
            )
        has_own = torch.from_numpy((rng.random((len(candidates), 1)) >= self.config.id_dropout).astype(np.float32))
        candidate_rows = torch.from_numpy(candidates)
        vectors, bias = self._predicted(candidate_rows, rng)
        items, biases = (F.embedding(candidate_rows, table, sparse=self.sampled) for table in (self.items, self.bias))
        vectors, bias = vectors + has_own * items, bias + has_own * biases
        return self.scale.exp() * (queries @ vectors.T) + bias.T

    def _predicted(self, rows: torch.Tensor, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        keep = 1 - self.config.FEATURE_DROPOUT
        mask = torch.from_numpy((rng.random(len(self.predicting)) < keep).astype(np.float32)) / keep
        predicted = self.described[rows] @ (mask[:, None] * self.predicting)
        return predicted[:, :-1], predicted[:, -1:]

    def _worth(self) -> torch.Tensor:
        return self.learned * self.worth + (1 - self.learned) * self.fixed

    def tower(self, warm: Rows) -> tuple[QueryTower, Vectors, Vectors]:
        """Give what was learned for use in numpy.

        The tower, (N, dims + 1) item vectors, and (N, 3 (dims + 1)) what items say.

        The bias is a dimension like others.
        """
        with torch.no_grad():
            vectors = torch.cat([self.items, self.bias], dim=1) + self.described @ self.predicting
            items, scale = vectors.double().numpy(), float(self.scale.exp())
            white = Whitening.of(items[warm])
            to_white = scale * white.back[:-1]
            context = [(part.double().numpy() @ to_white).astype(np.float32) for part in self.said]
            start = white.back[-1].astype(np.float32)
            tower = QueryTower(self.half_lives.exp().numpy(), self._worth().numpy(), start)
        return tower, white.apply(items).astype(np.float32), np.concatenate(context, axis=1)


class RowAdam(torch.optim.Adam):
    """Adam that steps only the rows with a gradient, where the gradient of a parameter is sparse.

    The mean of squares fades with every step, also those at which a row is not read, as in Adam; so a row that is read
    seldom moves as far each time as it does there. The mean of gradients is left out for such rows: it spreads each
    gradient over later steps, and would have to be added to rows that nobody reads. All other parameters learn by Adam
    as it is.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # noqa: ANN401 - as Adam
        """Take one step."""
        for group in self.param_groups:
            for table in group["params"]:
                gradient = table.grad
                if gradient is not None and gradient.is_sparse:
                    self._step_rows(table, gradient.coalesce(), group)
                    table.grad = None  # so that Adam passes over it
        return super().step(closure)

    def _step_rows(self, table: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        fading, rows, values = group["betas"][1], gradient.indices()[0], gradient.values()
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["squares"], state["last"] = torch.zeros_like(table), torch.zeros(len(table), 1)
        state["step"] += 1
        passed = state["step"] - state["last"][rows]
        squares = fading**passed * state["squares"][rows] + (1 - fading) * values**2
        state["squares"][rows], state["last"][rows] = squares, state["step"]
        denominator = (squares / (1 - fading ** state["step"])).sqrt() + group["eps"]
        table.index_add_(0, rows, values / denominator, alpha=-group["lr"])
