"""Going on from what is in force: a learned tower as it is served becomes the start of one that learns."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour, QueryTower
from retrieval.training.behaviour.next_items import NextItems

ITEMS, SAID = 0.1, 0.085  # root mean square of their numbers: about what learning from random ones ends with
MOST_ROWS = 4_000  # that the linear prediction is fitted to
_RIDGE = 1.0


class TowerStart(NamedTuple):
    """A learned tower of N items as it is served, and what it goes on with.

    Attributes:
        tower: It.
        items: (N, r) float32, its part of a block's items; r is one more than its dimensions.
        said: (N, S r) float32, what items say to it.
        levels: (V,) float32, at which its worth is given.
        pasts: The histories that it goes on with.
    """

    tower: QueryTower
    items: Vectors
    said: Vectors
    levels: Vectors
    pasts: Sequence[History]

    @classmethod
    def of(cls, block: Behaviour, histories: Sequence[History]) -> "TowerStart | None":
        """Find the learned tower of a block; None when it has none."""
        if len(block.towers) < 2:
            return None
        closed, tower = block.towers[:2]
        offset, width = len(closed.start), len(tower.start)
        items, context = block.items[:, offset : offset + width], block.context_factors[:, closed.width :]
        return cls(tower, items, context, block.weight_bins, histories)

    def arrays(self) -> list[Vectors]:
        """Give what a training that starts here depends on, beside its histories."""
        return [self.tower.half_lives, self.tower.bin_weights, self.tower.start, self.items, self.said, self.levels]

    def begin(self, state: NextItems) -> None:
        """Let a tower that is to learn answer as this one does.

        A served tower has been turned, scaled and blended with what is predicted of its items. What an item scores for
        a history is left of it, up to one factor, and all that learning starts from.

        Raises:
            InputError: When the two differ in dimensions or items.
        """
        dims, channels = state.config.dims, len(state.said)
        if self.items.shape != (state.count, dims + 1) or len(self.tower.half_lives) != channels:
            raise InputError(
                f"the learned tower in force is of shape {self.items.shape}, one of {(state.count, dims + 1)} is asked "
                "for: leave the settings as they are, or learn anew, without refresh"
            )
        items, context, bias, scale = self._turned(dims, state.warm)
        features, targets = state.described.numpy(), np.concatenate([items, bias], axis=1)
        predicting = _linear(features, targets, state.warm)
        residual = targets - features @ predicting
        bin_weights = np.interp(state.levels, self.levels, self.tower.bin_weights[0])
        with torch.no_grad():
            state.predicting.copy_(torch.from_numpy(predicting))
            state.items.copy_(torch.from_numpy(residual[:, :-1]))
            state.bias.copy_(torch.from_numpy(residual[:, -1:]))
            for table, channel in zip(state.said, context, strict=True):
                table.copy_(torch.from_numpy(channel))
            state.scale.fill_(scale)
            state.half_lives.copy_(torch.from_numpy(np.log(self.tower.half_lives)))
            state.worth[0].copy_(torch.from_numpy(bin_weights))

    def _turned(self, dims: int, warm: Rows) -> tuple[Vectors, list[Vectors], Vectors, float]:
        """Give items (N, dims), what they say (N, dims) in each channel, bias (N, 1), and the log of the scale.

        What is said lies in as many dimensions as were learned; what an item scores outside of them is its bias.
        """
        white: Vectors = self.items / np.float32(max(float(self.items[warm].std(axis=0).mean()), 1e-9))
        channels = np.split(self.said, len(self.tower.half_lives), axis=1)
        gram = sum(channel.T.astype(np.float64) @ channel for channel in channels)
        basis: Vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :dims].astype(np.float32)
        items, context = white @ basis, [channel @ basis for channel in channels]
        item_scale, context_scale = ITEMS / _size(items[warm]), SAID / _size(context[0][warm])
        bias = white @ self.tower.start
        return (
            items * item_scale,
            [channel * context_scale for channel in context],
            bias[:, None],
            -float(np.log(item_scale * context_scale)),
        )


def _size(numbers: Vectors) -> np.float32:
    return np.float32(max(float(np.sqrt(np.mean(numbers**2, dtype=np.float64))), 1e-9))


def _linear(features: Vectors, targets: Vectors, warm: Rows) -> Vectors:
    """Predict what items are, (N, r), from how they are described, (N, F), by ridge regression: (F, r) float32."""
    rows = warm[:: -(-len(warm) // MOST_ROWS)]
    sample = features[rows].astype(np.float64)
    regular = sample.T @ sample + _RIDGE * np.eye(sample.shape[1])
    weights: Vectors = np.linalg.solve(regular, sample.T @ targets[rows]).astype(np.float32)
    return weights
