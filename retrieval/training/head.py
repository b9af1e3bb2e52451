"""Train the reranking head: softmax over the candidates of each query, the positives sharing the mass."""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from indexing.errors import TrainingError
from indexing.types import Vectors
from retrieval.rerank import Head
from retrieval.training.config import HeadConfig
from retrieval.training.curve import TrainingCurve
from retrieval.training.loop import Schedule, learn
from retrieval.training.losses import sampled_softmax


def train_head(
    features: Vectors,
    relevant: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    config: HeadConfig,
    progress: Callable[[int], None] | None = None,
) -> tuple[Head, TrainingCurve]:
    """Learn to put relevant candidates first; the state that is best on a tenth of the queries is kept.

    Args:
        features: (B, K, F) float32; the first feature is the retrieval score.
        relevant: (B, K) bool.
        kept: (B, K) bool, False for padding.
        config: How to learn.
        progress: Called with 1 after each epoch.

    Raises:
        TrainingError: When fewer than ten queries have a relevant candidate, or the loss is not finite from the start.
    """
    useful = np.flatnonzero((relevant & kept).any(axis=1))
    if len(useful) < 10:
        raise TrainingError(f"only {len(useful)} users have a candidate they later took; at least 10 are needed")
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(useful)
    network = _Network((features, relevant, kept), order, config, rng)
    after = None if progress is None else lambda _: progress(1)
    curve = learn(network, rng, Schedule(config.epochs, config.patience), after)
    return network.head(), curve


Examples = tuple[Vectors, NDArray[np.bool_], NDArray[np.bool_]]


class _Network:
    """The torch side of `Head`; untrained, it keeps the order of retrieval."""

    def __init__(
        self, examples: Examples, queries: NDArray[np.int64], config: HeadConfig, rng: np.random.Generator
    ) -> None:
        features, _, kept = examples
        self.examples, self.config = tuple(map(torch.from_numpy, examples)), config
        held_out = max(1, len(queries) // 10)
        self.held_out, self.queries = queries[:held_out], queries[held_out:]
        hidden, width = config.hidden, features.shape[2]
        self.mean = torch.from_numpy(features[kept].mean(axis=0))
        self.scale = torch.from_numpy(np.maximum(features[kept].std(axis=0), np.float32(1e-3)))
        self.linear = torch.zeros(width)
        self.linear[0] = 1.0
        self.w1 = torch.from_numpy(rng.normal(0, width**-0.5, (width, hidden)).astype(np.float32))
        self.b1, self.w2 = torch.zeros(hidden), torch.zeros(hidden)
        self.trained = [part.requires_grad_() for part in (self.linear, self.w1, self.b1, self.w2)]
        self.optimizer = torch.optim.AdamW(self.trained, lr=config.learning_rate, weight_decay=1e-3)

    def losses(self, rng: np.random.Generator) -> Iterator[torch.Tensor]:
        shuffled = rng.permutation(self.queries)
        for begin in range(0, len(shuffled), self.config.batch_size):
            yield self.loss(shuffled[begin : begin + self.config.batch_size])

    def valid(self) -> float:
        with torch.no_grad():
            return self.loss(self.held_out).item()

    def loss(self, queries: NDArray[np.int64]) -> torch.Tensor:
        features, relevant, kept = (part[torch.from_numpy(queries)] for part in self.examples)
        x = (features - self.mean) / self.scale
        scores = x @ self.linear + torch.tanh(x @ self.w1 + self.b1) @ self.w2
        # Candidates are all there is: nothing was drawn, so nothing is corrected.
        return sampled_softmax(scores, (relevant & kept).float(), torch.zeros(scores.shape[1]), ~kept).mean()

    def head(self) -> Head:
        parts = (self.mean, self.scale, *self.trained)
        return Head(*(part.detach().numpy().copy() for part in parts))
