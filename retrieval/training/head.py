"""Train the reranking head: softmax over the candidates of each query, the positives sharing the mass."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from indexing.errors import TrainingError
from indexing.types import Vectors
from retrieval.rerank import Head
from retrieval.training.config import HeadConfig


def train_head(
    features: Vectors,
    relevant: NDArray[np.bool_],
    kept: NDArray[np.bool_],
    config: HeadConfig,
    progress: Callable[[int], None] | None = None,
) -> Head:
    """Learn to put relevant candidates first.

    Args:
        features: (B, K, F) float32; the first feature is the retrieval score.
        relevant: (B, K) bool.
        kept: (B, K) bool, False for padding.
        config: How to learn.
        progress: Called with 1 after each epoch.

    Raises:
        TrainingError: When fewer than ten queries have a relevant candidate.
    """
    useful = np.flatnonzero((relevant & kept).any(axis=1))
    if len(useful) < 10:
        raise TrainingError(f"only {len(useful)} users have a candidate they later took; at least 10 are needed")
    rng = np.random.default_rng(config.seed)
    order = rng.permutation(useful)
    valid, train = order[: max(1, len(order) // 10)], order[max(1, len(order) // 10) :]
    network = _Network(features[kept], config.hidden, rng)
    tensors = tuple(torch.from_numpy(part) for part in (features, relevant, kept))
    optimizer = torch.optim.AdamW(network.trained, lr=config.learning_rate, weight_decay=1e-3)
    best, best_loss, waited = network.head(), network.loss(tensors, valid).item(), 0
    for _ in range(config.epochs):
        shuffled = rng.permutation(train)
        for begin in range(0, len(shuffled), config.batch_size):
            loss = network.loss(tensors, shuffled[begin : begin + config.batch_size])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            now = network.loss(tensors, valid).item()
        if not np.isfinite(now):
            break  # the last good state is kept
        best, best_loss, waited = (network.head(), now, 0) if now < best_loss else (best, best_loss, waited + 1)
        if progress is not None:
            progress(1)
        if waited >= config.patience:
            break
    return best


class _Network:
    """The torch side of `Head`; untrained, it keeps the order of retrieval."""

    def __init__(self, examples: Vectors, hidden: int, rng: np.random.Generator) -> None:
        width = examples.shape[1]
        self.mean = torch.from_numpy(examples.mean(axis=0))
        self.scale = torch.from_numpy(np.maximum(examples.std(axis=0), np.float32(1e-3)))
        self.linear = torch.zeros(width)
        self.linear[0] = 1.0
        self.w1 = torch.from_numpy(rng.normal(0, width**-0.5, (width, hidden)).astype(np.float32))
        self.b1, self.w2 = torch.zeros(hidden), torch.zeros(hidden)
        self.trained = [part.requires_grad_() for part in (self.linear, self.w1, self.b1, self.w2)]

    def loss(self, tensors: tuple[torch.Tensor, ...], queries: NDArray[np.int64]) -> torch.Tensor:
        features, relevant, kept = (part[torch.from_numpy(queries)] for part in tensors)
        x = (features - self.mean) / self.scale
        scores = x @ self.linear + torch.tanh(x @ self.w1 + self.b1) @ self.w2
        likely = F.log_softmax(scores.masked_fill(~kept, -torch.inf), dim=1).masked_fill(~kept, 0)
        share = (relevant & kept).float()
        return -(likely * share / share.sum(dim=1, keepdim=True)).sum(dim=1).mean()

    def head(self) -> Head:
        parts = (self.mean, self.scale, *self.trained)
        return Head(*(part.detach().numpy().copy() for part in parts))
