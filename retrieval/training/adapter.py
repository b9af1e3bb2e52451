"""Train the adapter: in-batch softmax of each user's next item, with logQ correction and masked accidental hits.

The sampled softmax over the targets of a batch prefers rare items, because popular ones appear as negatives more
often; subtracting the log of the sampling probability from each logit takes that back (Yi et al., RecSys 2019).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from indexing.errors import TrainingError
from indexing.types import Rows, Vectors
from retrieval.adapter import Adapter
from retrieval.training.config import AdapterConfig
from retrieval.users import UserModel


def train_adapter(
    fused: Vectors,
    histories: Sequence[Rows],
    users: UserModel,
    config: AdapterConfig,
    progress: Callable[[int], None] | None = None,
) -> Adapter:
    """Learn an adapter from what users did next.

    Args:
        fused: (N, D) float32, the frozen item vectors.
        histories: For each user the rows of their items, oldest first; those shorter than 2 teach nothing.
        users: Makes the query vectors.
        config: How to learn.
        progress: Called with 1 after each epoch.

    Raises:
        TrainingError: When no history has two items, or the loss is no longer finite.
    """
    usable = [history for history in histories if len(history) >= 2]
    if not usable:
        raise TrainingError("no user has two or more known items: there is nothing to learn a next item from")
    rng = np.random.default_rng(config.seed)
    start = Adapter.identity(fused.shape[1], config.hidden, rng)
    weights = [torch.from_numpy(part.copy()).requires_grad_() for part in (start.w1, start.b1, start.w2)]
    optimizer = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=1e-4)
    frozen = torch.from_numpy(fused)
    log_q = torch.from_numpy(_log_target_share(usable, len(fused)))
    for _ in range(config.epochs):
        samples = [(history, int(t)) for history in usable for t in rng.integers(1, len(history), config.targets)]
        rng.shuffle(samples)
        for begin in range(0, len(samples), config.batch_size):
            batch = samples[begin : begin + config.batch_size]
            loss = _loss(weights, frozen, batch, users, log_q, config)
            if not torch.isfinite(loss):
                raise TrainingError("the loss is no longer finite; lower the learning rate or look for broken vectors")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if progress is not None:
            progress(1)
    return Adapter(*(weight.detach().numpy() for weight in weights))


def _loss(
    weights: Sequence[torch.Tensor],
    frozen: torch.Tensor,
    batch: Sequence[tuple[Rows, int]],
    users: UserModel,
    log_q: torch.Tensor,
    config: AdapterConfig,
) -> torch.Tensor:
    pasts = [history[max(0, t - users.longest) : t] for history, t in batch]
    targets = np.array([history[t] for history, t in batch])
    rows, places = np.unique(np.concatenate([*pasts, targets]), return_inverse=True)
    w1, b1, w2 = weights
    fused = frozen[torch.from_numpy(rows)]
    vectors = F.normalize(fused + torch.tanh(fused @ w1 + b1) @ w2, dim=1)

    mixing = np.zeros((len(batch), len(rows)), np.float32)
    begin = 0
    for line, past in enumerate(pasts):
        np.add.at(mixing[line], places[begin : begin + len(past)], users.weights(len(past)))
        begin += len(past)
    tastes = F.normalize(torch.from_numpy(mixing) @ vectors - frozen.mean(dim=0), dim=1)
    wanted = torch.from_numpy(places[begin:])
    return (
        next_item_loss(
            tastes @ vectors[wanted].T / config.temperature,
            torch.from_numpy(targets),
            log_q[torch.from_numpy(targets)],
            seen=torch.from_numpy(mixing[:, places[begin:]] > 0),
        )
        + config.stay * (1 - (vectors * fused).sum(dim=1)).mean()
    )


def next_item_loss(
    logits: torch.Tensor, targets: torch.Tensor, log_q: torch.Tensor, seen: torch.Tensor
) -> torch.Tensor:
    """In-batch softmax loss with logQ correction.

    Args:
        logits: (B, B) float32, score of query i for the target of query j.
        targets: (B,) int64, which item each target is.
        log_q: (B,) float32, log of the probability with which each target is drawn into a batch.
        seen: (B, B) bool, whether the target of query j is in the history of query i: no negative for it.
    """
    same = targets[:, None] == targets[None, :]
    itself = torch.eye(len(targets), dtype=torch.bool)
    corrected = (logits - log_q[None, :]).masked_fill((same | seen) & ~itself, -torch.inf)
    return F.cross_entropy(corrected, torch.arange(len(targets)))


def _log_target_share(histories: Sequence[Rows], count: int) -> Vectors:
    """Log of the share of drawn targets that each of N items has: every position but the first is drawn alike."""
    share = np.zeros(count)
    for history in histories:
        np.add.at(share, history[1:], 1 / (len(history) - 1))
    return np.log(np.maximum(share / len(histories), 1e-12)).astype(np.float32)
