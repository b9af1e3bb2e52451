"""Train a head: the neural one by a softmax over the candidates of each query, or trees by LightGBM."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from indexing.arrays import Mask, Vectors
from indexing.errors import TrainingError, import_extra
from retrieval.ranking.heads.neural import MAX_DEVIATIONS, NeuralHead
from retrieval.ranking.heads.trees import TreesHead
from retrieval.training.loop import Schedule, TrainingCurve, digest, train
from retrieval.training.ranker_config import HeadConfig, TreesConfig

MIN_QUERIES = 10  # that a head needs


class Examples(NamedTuple):
    """Candidates of B queries with their relevance.

    Attributes:
        features: (B, K, F) float32.
        gains: (B, K) float32, 1 where it is relevant, else 0.
        mask: (B, K) bool, False for padding.
        weights: (B, K) float32, weights from impressions; see
            `retrieval.training.ranker.shown_items.ShownItems.weights`. Equal when None.
    """

    features: Vectors
    gains: Vectors
    mask: Mask
    weights: Vectors | None = None

    def useful(self) -> "Examples":
        """Keep the queries with a relevant candidate.

        Raises:
            TrainingError: When there are fewer than ten.
        """
        rows = np.flatnonzero(((self.gains > 0) & self.mask).any(axis=1))
        if len(rows) < MIN_QUERIES:
            raise TrainingError(f"only {len(rows)} users have a candidate they later took; at least 10 are needed")
        return Examples(*(array[rows] for array in self.arrays()))

    def arrays(self) -> list[NDArray[Any]]:
        """Give the arrays that are not None, in order."""
        return [array for array in self if array is not None]

    @classmethod
    def joined(cls, parts: "list[Examples]") -> "Examples":
        """Put the queries of several sets below each other, padded to the longest list."""
        if any(part.weights is not None for part in parts):
            parts = [part._replace(weights=part.weights_or_ones()) for part in parts]
        max_candidates = max(part.mask.shape[1] for part in parts)
        no_padding = [(0, 0), (0, 0)]

        def padded(array: NDArray[np.generic]) -> NDArray[np.generic]:
            return np.pad(array, [no_padding[0], (0, max_candidates - array.shape[1]), *no_padding[: array.ndim - 2]])

        columns = zip(*(part.arrays() for part in parts), strict=True)
        return cls(*(np.concatenate([padded(array) for array in column]) for column in columns))

    def weights_or_ones(self) -> Vectors:
        """Give the weights: (B, K) float32."""
        return np.ones_like(self.gains) if self.weights is None else self.weights


def train_neural_head(
    examples: Examples, config: HeadConfig, progress: Callable[[int, int], None] | None = None, work: Path | None = None
) -> tuple[NeuralHead, TrainingCurve]:
    """Train networks from several seeds, whose mean is the head.

    Args:
        examples: Of any users and cutoffs.
        config: The settings.
        progress: Called after each epoch with the number of epochs done, over all seeds, and their total.
        work: Folder for checkpoints, from which a killed training continues, with the same result; None keeps none.

    Raises:
        TrainingError: When fewer than ten queries have a relevant candidate, or the loss is not finite from the start.
    """
    useful = examples.useful()
    name = "" if work is None else digest(asdict(config), *useful.arrays())
    heads, curves = [], []
    for number in range(config.ensemble_size):
        rng = np.random.default_rng([config.seed, number])
        network = _Network(useful, config, rng)
        checkpoint = None if work is None else work / f"head-{name}-{number}.safetensors"
        done, total = number * network.epochs, config.ensemble_size * network.epochs
        on_epoch = (
            None if progress is None else lambda epoch, counted=(done, total): progress(counted[0] + epoch, counted[1])
        )
        curves.append(train(network, rng, Schedule(network.epochs, checkpoint=checkpoint), on_epoch))
        heads.append(network.head())
    return NeuralHead.averaged(heads), curves[0]


def scores_by_torch(head: NeuralHead, features: Vectors) -> Vectors:
    """Compute `NeuralHead.score` with the operations of training: (…, F) float32 to (…) float32."""
    mean, scale, linear, w1, b1, w2 = (torch.as_tensor(tensor) for tensor in head.tensors().values())
    x = ((torch.as_tensor(features) - mean) / scale).clamp_(-MAX_DEVIATIONS, MAX_DEVIATIONS)
    scores: Vectors = (x @ linear + F.relu(x @ w1 + b1) @ w2).cpu().numpy()
    return scores


class _Network:
    """The torch side of `NeuralHead`."""

    def __init__(self, examples: Examples, config: HeadConfig, rng: np.random.Generator) -> None:
        self.config, self.count = config, len(examples.features)
        seen = examples.features[examples.mask]
        self.mean = torch.as_tensor(seen.mean(axis=0))
        self.scale = torch.as_tensor(np.maximum(seen.std(axis=0), np.float32(1e-3)))
        standard = (torch.as_tensor(examples.features) - self.mean) / self.scale
        self.x = standard.clamp_(-MAX_DEVIATIONS, MAX_DEVIATIONS)
        self.gains = torch.as_tensor(examples.gains * examples.mask).float()
        self.padding = torch.as_tensor(~examples.mask)
        self.weights = None if examples.weights is None else torch.as_tensor(examples.weights)
        width, hidden = examples.features.shape[2], config.hidden
        self.linear = torch.zeros(width)
        self.linear[0] = 1.0  # the initial order is that of the first source
        self.w1 = torch.as_tensor(rng.normal(0, width**-0.5, (width, hidden)).astype(np.float32))
        self.b1 = torch.zeros(hidden)
        self.w2 = torch.as_tensor(rng.normal(0, 0.3 * hidden**-0.5, hidden).astype(np.float32))
        self.trained = [part.requires_grad_() for part in (self.linear, self.w1, self.b1, self.w2)]
        self.optimizer: torch.optim.Optimizer = torch.optim.AdamW(
            self.trained, lr=config.learning_rate, weight_decay=config.WEIGHT_DECAY
        )
        self.epochs = config.epochs_for(self.count)
        self.steps = max(1, self.epochs * -(-self.count // config.batch_size))

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        """Make one pass over the queries; see `Trainable`."""
        shuffled = torch.as_tensor(rng.permutation(self.count))
        for rows in shuffled.split(self.config.batch_size):
            self._warm_up_and_cool_down()
            yield self.loss(rows, rng)

    def valid(self) -> None:
        """Nothing is held out: the schedule ends by itself."""

    def loss(self, rows: torch.Tensor, rng: np.random.Generator | None = None) -> torch.Tensor:
        """Softmax loss over the candidates of each query, weighted by the root of its number of relevant candidates.

        With weights, the log-likelihood of a relevant candidate is multiplied by its weight, and a negative counts as
        that many candidates.
        """
        x, gains = self.x[rows], self.gains[rows]
        hidden = torch.addmm(self.b1, x.flatten(0, 1), self.w1).relu_().view(*x.shape[:2], -1)
        output = self.w2.expand(len(rows), 1, -1)
        if rng is not None and self.config.dropout:
            keep = 1 - self.config.dropout
            mask = rng.random((len(rows), 1, self.config.hidden), np.float32) < keep  # the same for all candidates
            output = output * (torch.as_tensor(mask.astype(np.float32)) / keep)
        scores = x @ self.linear + torch.bmm(hidden, output.mT)[:, :, 0]
        scores = scores.masked_fill(self.padding[rows], -torch.inf)
        relevant = gains.sum(dim=1)
        if self.weights is not None:
            weights = self.weights[rows]
            scores = scores + weights.log().masked_fill(gains > 0, 0.0)
            gains = gains * weights
        logs = torch.log_softmax(scores, dim=1).masked_fill(self.padding[rows], 0.0)
        return (-(gains * logs).sum(dim=1) / relevant.sqrt()).mean()

    def head(self) -> NeuralHead:
        """Give the head for use in numpy."""
        parts = (self.mean, self.scale, *self.trained)
        return NeuralHead(*(part.detach().cpu().numpy().copy() for part in parts))

    def _warm_up_and_cool_down(self) -> None:
        """Raise the learning rate over the first three tenths of all steps, then lower it by a cosine."""
        # Counted by the optimizer, whose state is in a checkpoint.
        done = float(self.optimizer.state.get(self.w1, {}).get("step", 0)) / self.steps
        factor = done / 0.3 if done < 0.3 else 0.5 + 0.5 * np.cos(np.pi * (done - 0.3) / 0.7)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * max(factor, 0.04)


def train_trees_head(examples: Examples, config: TreesConfig | None = None) -> TreesHead:
    """Train boosted trees by LightGBM with LambdaRank.

    Args:
        examples: Of any users and cutoffs.
        config: The settings.

    Raises:
        TrainingError: When fewer than ten queries have a relevant candidate.
        MissingExtraError: Without the extra ``trees``.
    """
    config = config or TreesConfig()
    lightgbm = import_extra("lightgbm", "trees")
    useful = examples.useful()
    settings = {
        "objective": "lambdarank",
        "learning_rate": config.learning_rate,
        "num_leaves": config.num_leaves,
        "min_data_in_leaf": config.min_data_in_leaf,
        "bagging_fraction": 0.7,
        "bagging_freq": 1,
        "feature_fraction": config.feature_fraction,
        "lambda_l2": 10.0,
        "lambdarank_truncation_level": config.lambdarank_truncation_level,
        "max_bin": 127,
        "num_threads": config.num_threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }
    relevant = (useful.gains[useful.mask] > 0).astype(np.int64)
    weights = None if useful.weights is None else useful.weights[useful.mask]
    data = lightgbm.Dataset(useful.features[useful.mask], relevant, weight=weights, group=useful.mask.sum(axis=1))
    return TreesHead(lightgbm.train(settings, data, num_boost_round=config.num_boost_round).model_to_string())
