"""Train a tower to predict the next items of a history, by a softmax over all items or a sample of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, lengths_of, steps_back
from indexing.errors import TrainingError
from retrieval.interactions.histories import History
from retrieval.models.behaviour import QueryTower
from retrieval.models.new_items import BLOCK
from retrieval.models.user_model import ALL_ALIKE
from retrieval.training.behaviour.ease import Doubles, Whitening
from retrieval.training.config import NextItemsConfig
from retrieval.training.loop import Schedule, TrainingCurve, digest, train
from retrieval.training.sampled_softmax import sampled_softmax

_INITIAL_STD = 0.05  # of random factors; scores start near zero


def in_order(histories: Sequence[History]) -> bool:
    """Whether interactions differ in time; else histories have no order."""
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    return len(times) > 0 and int(np.ptp(times)) > 0


class InitialTower(Protocol):
    """A trained tower that training continues from, in place of random weights."""

    def initialise(self, state: "TowerTraining") -> None:
        """Copy its weights into the tower to train."""
        ...

    def arrays(self) -> list[Vectors]:
        """Give its arrays, which name the checkpoint."""
        ...


def train_next_items(
    histories: Sequence[History],
    weight_bins: Vectors,
    bin_weights: Vectors,
    warm: Rows,
    features: Vectors,
    config: NextItemsConfig,
    progress: Callable[[int, "TowerTraining"], None] | None = None,
    work: Path | None = None,
    start: InitialTower | None = None,
) -> "TowerTraining":
    """Train on random cuts of each history.

    Args:
        histories: Those shorter than 2 are ignored.
        weight_bins: (V,) float32, ascending; the weight of an interaction is replaced by the nearest bin.
        bin_weights: (V,) float32, weight of each bin: initially as an item of a history, always as a target.
        warm: Rows of items with interactions; the only candidates.
        features: (N, F) float32, item features. An item's vector is a prediction from them plus the item's own vector,
            which is left out at random, so that the prediction is trained to do without it.
        config: The settings.
        progress: Called after each epoch with its number, from 1, and the state.
        work: Folder for checkpoints, from which a killed training continues, with the same result; None keeps none.
        start: The tower that training continues from; random weights when None.

    Raises:
        TrainingError: When no history has two items, or the loss is not finite in the first epoch.
    """
    usable = [history for history in histories if len(history) >= 2]
    if not usable:
        raise TrainingError("no user has two or more known items: there is nothing to learn a next item from")
    rng = np.random.default_rng(config.seed)
    state = TowerTraining(usable, features, weight_bins, bin_weights, warm, config, rng)
    if start is not None:
        start.initialise(state)
    checkpoint = None
    if work is not None:
        lengths = np.array([len(history) for history in histories])
        interactions = [
            np.concatenate([getattr(history, name) for history in histories]) for name in ("rows", "weights")
        ]
        start_arrays = [] if start is None else start.arrays()
        name = digest(asdict(config), weight_bins, bin_weights, warm, features, lengths, *interactions, *start_arrays)
        checkpoint = work / f"next-items-{name}.safetensors"
    on_epoch = None if progress is None else lambda epoch: progress(epoch, state)
    state.curve = train(state, rng, Schedule(config.epochs_for(len(usable)), checkpoint=checkpoint), on_epoch)
    state.optimizer.state.clear()  # as large as the tables
    return state


def _cuts(length: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.integers(max(1, length // 4), length, count if length > 4 else 1)


def _positions_in(rows: Rows, lists: Sequence[Rows], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the items of lists among some of N rows: for each that is there, the number of its list and its position."""
    position_of = np.full(count, -1)
    position_of[rows] = np.arange(len(rows))
    position = position_of[np.concatenate(lists)]
    list_index = np.repeat(np.arange(len(lists)), lengths_of(lists))
    exists = position >= 0
    return torch.as_tensor(list_index[exists]), torch.as_tensor(position[exists])


class TowerTraining:
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
        self.histories = histories
        self.warm = warm
        self.weight_bins, self.config, self.count = weight_bins, config, len(features)
        count = self.count
        self.features = torch.as_tensor(features)
        self.feature_weights = torch.zeros(features.shape[1], config.dims + 1)
        self.target_weights = torch.as_tensor(bin_weights.astype(np.float32))
        self.items, channel = (self._random(count, config.dims, rng) for _ in range(2))
        self.context = [channel, torch.zeros_like(channel), torch.zeros_like(channel)]
        self.bias, self.scale = torch.zeros(count, 1), torch.zeros(())
        half_lives = config.HALF_LIVES if in_order(histories) else (ALL_ALIKE,) * len(config.HALF_LIVES)
        self.half_lives = torch.tensor(np.log(half_lives), dtype=torch.float32)
        disliked = (weight_bins < weight_bins.max() / 2).astype(np.float32)
        self.bin_weights = torch.as_tensor(
            np.stack([bin_weights, np.ones_like(bin_weights), disliked]).astype(np.float32)
        )
        self.is_trained = torch.tensor([[1.0], [0.0], [0.0]])  # the bin weights of the other two channels are fixed
        large, small = [self.items, *self.context, self.bias], [self.half_lives, self.bin_weights, self.scale]
        for part in (*large, *small):
            part.requires_grad_()
        self.feature_weights.requires_grad_()
        groups = [
            {"params": large, "lr": config.learning_rate},
            {"params": small, "lr": 1e-2},
            {"params": [self.feature_weights], "lr": config.learning_rate * config.PREDICTION_RATE},
        ]
        self.optimizer = RowAdam(groups)
        self.initial_bin_weights = self.bin_weights.detach().clone()

    @staticmethod
    def _random(count: int, dims: int, rng: np.random.Generator) -> torch.Tensor:
        return torch.as_tensor(rng.normal(0, _INITIAL_STD, (count, dims)).astype(np.float32))

    @property
    def sampled(self) -> bool:
        """Whether a batch reads only some of the rows; then gradients and steps are sparse."""
        return len(self.warm) > self.config.MAX_NEGATIVES

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass over the users; see `Trainable`."""
        samples = [
            (history, int(cut))
            for history in self.histories
            for cut in _cuts(len(history), self.config.CUTS_PER_HISTORY, rng)
        ]
        order = rng.permutation(len(samples))
        for start in range(0, len(order), self.config.BATCH_SIZE):
            yield self._loss([samples[n] for n in order[start : start + self.config.BATCH_SIZE]], rng)

    def valid(self) -> None:
        """Nothing is held out: the settings fix the number of passes."""

    def _loss(self, batch: Sequence[tuple[History, int]], rng: np.random.Generator) -> torch.Tensor:
        rows, log_expected = self._candidates(batch, rng)
        excluded = torch.isinf(log_expected).repeat(len(batch), 1)
        excluded[_positions_in(rows, [history.rows[:cut] for history, cut in batch], self.count)] = True
        targets = torch.zeros(len(batch), len(rows))
        nexts = [history[cut : cut + self.config.num_targets] for history, cut in batch]
        target_weights = self.target_weights[self._bins(np.concatenate([following.weights for following in nexts]))]
        targets[_positions_in(rows, [following.rows for following in nexts], self.count)] = target_weights
        # A user with many targets has a larger weight than one with few, but less than in proportion.
        grades = targets.sum(dim=1).sqrt()
        return (grades * sampled_softmax(self._scores(batch, rows, rng), targets, log_expected, excluded)).mean()

    def _candidates(self, batch: Sequence[tuple[History, int]], rng: np.random.Generator) -> tuple[Rows, torch.Tensor]:
        """Give the ascending rows of the candidates, and the log of the expected count of each among them.

        These are all warm items; where they are too many, a random sample. A target outside of the sample is a
        candidate for its own queries alone, and excluded for all others.
        """
        if not self.sampled:
            return self.warm, torch.zeros(len(self.warm))
        sample = rng.choice(self.warm, self.config.MAX_NEGATIVES, replace=False)
        rows = np.union1d(
            sample, np.concatenate([history.rows[cut : cut + self.config.num_targets] for history, cut in batch])
        )
        expected = np.where(np.isin(rows, sample), np.log(self.config.MAX_NEGATIVES / len(self.warm)), np.inf)
        return rows, torch.as_tensor(expected.astype(np.float32))

    def _bins(self, weights: Vectors) -> torch.Tensor:
        """Give the nearest bin of each weight; of two that are as near, the lower."""
        edges = (self.weight_bins[1:] + self.weight_bins[:-1]) / 2
        return torch.as_tensor(np.searchsorted(edges, weights))

    def _scores(self, batch: Sequence[tuple[History, int]], candidates: Rows, rng: np.random.Generator) -> torch.Tensor:
        lengths, keep = np.array([cut for _, cut in batch]), 1 - self.config.dropout
        included = np.flatnonzero(rng.random(int(lengths.sum())) < keep)
        rows = torch.as_tensor(np.concatenate([history.rows[:cut] for history, cut in batch])[included])
        bins = self._bins(np.concatenate([history.weights[:cut] for history, cut in batch])[included])
        ages = torch.as_tensor(steps_back(lengths)[included].astype(np.float32))
        starts = torch.as_tensor(np.searchsorted(included, np.cumsum(lengths) - lengths))
        queries: torch.Tensor = torch.zeros(())
        for context, half_life, bin_weights in zip(self.context, self.half_lives, self._bin_weights(), strict=True):
            counts = bin_weights[bins] * torch.exp2(-ages / half_life.exp()) / keep
            queries = queries + F.embedding_bag(
                rows, context, starts, mode="sum", per_sample_weights=counts, sparse=self.sampled
            )
        has_own = torch.as_tensor((rng.random((len(candidates), 1)) >= self.config.id_dropout).astype(np.float32))
        candidate_rows = torch.as_tensor(candidates)
        vectors, bias = self._predicted(candidates, rng)
        items, biases = (F.embedding(candidate_rows, table, sparse=self.sampled) for table in (self.items, self.bias))
        vectors, bias = vectors + has_own * items, bias + has_own * biases
        return torch.addmm(bias.T, self.scale.exp() * queries, vectors.T)

    def _predicted(self, rows: Rows, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Give item vectors and biases as predicted from the features that are not left out."""
        keep = 1 - self.config.FEATURE_DROPOUT
        included = np.flatnonzero(rng.random(len(self.feature_weights)) < keep)
        if rows is self.warm:  # in every batch the same
            columns = torch.as_tensor(included)
            predicted = self._warm_columns.index_select(0, columns).T @ self.feature_weights[columns] / keep
        else:
            mask = torch.zeros(len(self.feature_weights), 1)
            mask[included] = 1 / keep
            predicted = self.features.index_select(0, torch.as_tensor(rows)) @ (mask * self.feature_weights)
        return predicted[:, :-1], predicted[:, -1:]

    @cached_property
    def _warm_columns(self) -> torch.Tensor:
        """The features of warm items, (F, W) float32: one feature after the other, for some are left out."""
        return self.features[torch.as_tensor(self.warm)].T.contiguous()

    def _bin_weights(self) -> torch.Tensor:
        return self.is_trained * self.bin_weights + (1 - self.is_trained) * self.initial_bin_weights

    def tower(self, warm: Rows) -> tuple[QueryTower, Vectors, Vectors]:
        """Give the tower, (N, dims + 1) item vectors, and (N, 3 (dims + 1)) context vectors, for use in numpy.

        The bias is one of the dimensions.
        """
        with torch.no_grad():
            white, scale = Whitening.of(self._vectors(torch.as_tensor(warm))), float(self.scale.exp())
            to_white, width = scale * white.back[:-1], self.config.dims + 1
            items = np.empty((self.count, width), np.float32)
            context = np.empty((self.count, len(self.context) * width), np.float32)
            for start in range(0, self.count, BLOCK):  # in double precision
                rows = slice(start, start + BLOCK)
                items[rows] = white.apply(self._vectors(rows))
                context[rows] = np.concatenate(
                    [part[rows].double().cpu().numpy() @ to_white for part in self.context], axis=1
                )
            empty = white.back[-1].astype(np.float32)
            tower = QueryTower(self.half_lives.exp().cpu().numpy(), self._bin_weights().cpu().numpy(), empty)
        return tower, items, context

    def _vectors(self, rows: torch.Tensor | slice) -> Doubles:
        """Give item vectors with their biases: (M, dims + 1) float64."""
        learned = torch.cat([self.items[rows], self.bias[rows]], dim=1)
        vectors: Doubles = (learned + self.features[rows] @ self.feature_weights).double().cpu().numpy()
        return vectors


class RowAdam(torch.optim.Adam):
    """Adam that updates only the rows with a gradient where the gradient of a parameter is sparse.

    The second moment decays at every step, as in Adam, also for rows without a gradient; a rare row thus moves as far
    at each update as with Adam. There is no first moment for such parameters: it would change rows without a gradient.
    All other parameters are updated by Adam, in one pass over each of them.
    """

    def __init__(self, params: Any, lr: float = 1e-3) -> None:  # noqa: ANN401 - as Adam
        super().__init__(params, lr, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:  # noqa: ANN401 - as Adam
        """Take one step."""
        for group in self.param_groups:
            for table in group["params"]:
                gradient = table.grad
                if gradient is not None and gradient.is_sparse:
                    self._step_rows(table, gradient.coalesce(), group)
                    table.grad = None  # Adam skips it
        return super().step(closure)

    def _step_rows(self, table: torch.Tensor, gradient: torch.Tensor, group: dict[str, Any]) -> None:
        beta2, rows, values = group["betas"][1], gradient.indices()[0], gradient.values()
        state = self.state[table]
        if not state:
            state["step"] = torch.zeros(())
            state["squares"], state["last"] = torch.zeros_like(table), torch.zeros(len(table), 1)
        state["step"] += 1
        steps = state["step"] - state["last"][rows]
        squares = beta2**steps * state["squares"][rows] + (1 - beta2) * values**2
        state["squares"][rows], state["last"][rows] = squares, state["step"]
        denominator = (squares / (1 - beta2 ** state["step"])).sqrt() + group["eps"]
        table.index_add_(0, rows, values / denominator, alpha=-group["lr"])
