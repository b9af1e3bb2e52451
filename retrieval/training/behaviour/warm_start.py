"""Warm start: a served tower gives the initial weights of a tower to train."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour, QueryTower
from retrieval.training.behaviour.next_items import TowerTraining

ITEM_RMS, CONTEXT_RMS = 0.1, 0.085  # root mean squares, about as after a training from random weights
MAX_ROWS = 4_000  # that the linear prediction is fitted to
_RIDGE = 1.0


class TowerStart(NamedTuple):
    """A trained tower of N items as it is served, and the histories that training continues with.

    Attributes:
        tower: The tower.
        items: (N, r) float32, its part of the item vectors of a block; r is one more than its dimensions.
        context: (N, S r) float32, its part of the context vectors.
        weight_bins: (V,) float32, bins of its weights.
        histories: The histories.
    """

    tower: QueryTower
    items: Vectors
    context: Vectors
    weight_bins: Vectors
    histories: Sequence[History]

    @classmethod
    def of(cls, block: Behaviour, histories: Sequence[History]) -> "TowerStart | None":
        """Give the trained tower of a block; None when it has none."""
        if len(block.towers) < 2:
            return None
        ease_tower, tower = block.towers[:2]
        offset, width = len(ease_tower.start), len(tower.start)
        items, context = block.items[:, offset : offset + width], block.context_factors[:, ease_tower.width :]
        return cls(tower, items, context, block.weight_bins, histories)

    def arrays(self) -> list[Vectors]:
        """Give the arrays that a training from here depends on, beside its histories."""
        return [
            self.tower.half_lives,
            self.tower.bin_weights,
            self.tower.start,
            self.items,
            self.context,
            self.weight_bins,
        ]

    def initialise(self, state: TowerTraining) -> None:
        """Set the weights of a tower to train, so that it scores as this one.

        A served tower is rotated, scaled and blended with predictions of its items. Only the scores of items for a
        history are restored, up to one factor.

        Raises:
            InputError: When the two differ in dimensions or items.
        """
        dims, channels = state.config.dims, len(state.context)
        if self.items.shape != (state.count, dims + 1) or len(self.tower.half_lives) != channels:
            raise InputError(
                f"the published tower is of shape {self.items.shape}, but {(state.count, dims + 1)} was set: leave the "
                "settings as they are, or fit without refresh"
            )
        items, context, bias, scale = self._rotated(dims, state.warm)
        features, targets = state.features.cpu().numpy(), np.concatenate([items, bias], axis=1)
        feature_weights = _linear(features, targets, state.warm)
        residual = targets - features @ feature_weights
        bin_weights = np.interp(state.weight_bins, self.weight_bins, self.tower.bin_weights[0])
        with torch.no_grad():
            state.feature_weights.copy_(torch.as_tensor(feature_weights))
            state.items.copy_(torch.as_tensor(residual[:, :-1]))
            state.bias.copy_(torch.as_tensor(residual[:, -1:]))
            for table, channel in zip(state.context, context, strict=True):
                table.copy_(torch.as_tensor(channel))
            state.scale.fill_(scale)
            state.half_lives.copy_(torch.as_tensor(np.log(self.tower.half_lives)))
            state.bin_weights[0].copy_(torch.as_tensor(bin_weights))

    def _rotated(self, dims: int, warm: Rows) -> tuple[Vectors, list[Vectors], Vectors, float]:
        """Give items (N, dims), context (N, dims) of each channel, bias (N, 1), and the log of the scale.

        Context vectors span as many dimensions as were trained; the score of an item outside of them is its bias.
        """
        white: Vectors = self.items / np.float32(max(float(self.items[warm].std(axis=0).mean()), 1e-9))
        channels = np.split(self.context, len(self.tower.half_lives), axis=1)
        gram = sum(channel.T.astype(np.float64) @ channel for channel in channels)
        basis: Vectors = np.linalg.eigh(gram)[1][:, ::-1][:, :dims].astype(np.float32)
        items, context = white @ basis, [channel @ basis for channel in channels]
        item_scale, context_scale = ITEM_RMS / _rms(items[warm]), CONTEXT_RMS / _rms(context[0][warm])
        bias = white @ self.tower.start
        return (
            items * item_scale,
            [channel * context_scale for channel in context],
            bias[:, None],
            -float(np.log(item_scale * context_scale)),
        )


def _rms(numbers: Vectors) -> np.float32:
    return np.float32(max(float(np.sqrt(np.mean(numbers**2, dtype=np.float64))), 1e-9))


def _linear(features: Vectors, targets: Vectors, warm: Rows) -> Vectors:
    """Fit item vectors, (N, r), by item features, (N, F), with ridge regression: (F, r) float32."""
    rows = warm[:: -(-len(warm) // MAX_ROWS)]
    sample = features[rows].astype(np.float64)
    gram = sample.T @ sample + _RIDGE * np.eye(sample.shape[1])
    weights: Vectors = np.linalg.solve(gram, sample.T @ targets[rows]).astype(np.float32)
    return weights
