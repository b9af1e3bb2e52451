"""A small network, applied in numpy."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors, matmul_into
from retrieval.ranking.heads.base import HeadKind

BLOCK = 3072  # candidates at once: as many as fit into the cache
MAX_DEVIATIONS = 6.0  # features are clipped at this many standard deviations from the mean


@dataclass(frozen=True, eq=False)
class NeuralHead:
    """``x v + max(x w1 + b1, 0) w2`` with x the standardised features.

    Attributes:
        mean: (F,) float32, of the features in training.
        scale: (F,) float32, their standard deviations.
        linear: (F,) float32, ``v``.
        w1: (F, H) float32.
        b1: (H,) float32.
        w2: (H,) float32.
    """

    mean: Vectors
    scale: Vectors
    linear: Vectors
    w1: Vectors
    b1: Vectors
    w2: Vectors

    kind: ClassVar[HeadKind] = "neural"

    @property
    def width(self) -> int:
        """F, the number of features."""
        return len(self.mean)

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) float32 to (…) float32, higher is better; fastest where the values of a feature are contiguous."""
        columns = np.moveaxis(features, -1, 0).reshape(self.width, -1)
        scores = np.empty(columns.shape[1], np.float32)
        block_width = min(BLOCK, len(scores))
        x, hidden = (np.ones((width, block_width), np.float32) for width in self._first.shape[::-1])
        for start in range(0, len(scores), BLOCK):
            block = scores[start : start + BLOCK]
            columns_of_block = slice(0, len(block))
            self._score(columns[:, start : start + BLOCK], x[:, columns_of_block], hidden[:, columns_of_block], block)
        return scores.reshape(features.shape[:-1])

    def _score(self, columns: Vectors, x: Vectors, hidden: Vectors, scores: Vectors) -> None:
        """Map (F, P) float32 to (P,) float32 by way of (F + 1, P), with a last row of 1, and (H + 1, P)."""
        standardised = np.subtract(columns, self.mean[:, None], out=x[:-1])
        standardised *= self._unscale
        np.clip(standardised, -MAX_DEVIATIONS, MAX_DEVIATIONS, out=standardised)
        activations = matmul_into(self._first, x, hidden)[:-1]
        np.maximum(activations, 0, out=activations)
        np.matmul(self._second, hidden, out=scores)

    @cached_property
    def _unscale(self) -> Vectors:
        inverse: Vectors = np.reciprocal(self.scale)[:, None]
        return inverse

    @cached_property
    def _first(self) -> Vectors:
        """(H + 1, F + 1), the first layer with its bias, and below it the linear weights ``v``."""
        layer = np.zeros((len(self.b1) + 1, self.width + 1), np.float32)
        layer[:-1, :-1], layer[:-1, -1], layer[-1, :-1] = self.w1.T, self.b1, self.linear
        return layer

    @cached_property
    def _second(self) -> Vectors:
        return np.append(self.w2, np.float32(1))

    @classmethod
    def averaged(cls, heads: Sequence["NeuralHead"]) -> "NeuralHead":
        """Average heads with the same standardisation: one wider network."""
        weight = np.float32(1 / len(heads))
        return cls(
            heads[0].mean,
            heads[0].scale,
            weight * np.stack([head.linear for head in heads]).sum(axis=0),
            np.concatenate([head.w1 for head in heads], axis=1),
            np.concatenate([head.b1 for head in heads]),
            weight * np.concatenate([head.w2 for head in heads]),
        )

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give its arrays by their names in files."""
        return {array.name: getattr(self, array.name) for array in fields(self)}

    @classmethod
    def read(cls, tensors: dict[str, NDArray[np.generic]]) -> "NeuralHead":
        """Read what `tensors` gave.

        Raises:
            ValueError: When shapes do not fit, or a deviation is not above 0.
        """
        head = cls(**tensors)  # type: ignore[arg-type]
        width, hidden = head.w1.shape
        shapes = {"mean": (width,), "scale": (width,), "linear": (width,), "b1": (hidden,), "w2": (hidden,)}
        if wrong := [name for name, shape in shapes.items() if getattr(head, name).shape != shape]:
            raise ValueError(f"{wrong[0]} of the head has shape {getattr(head, wrong[0]).shape}")
        if not (head.scale > 0).all():
            raise ValueError("a deviation of the head is not above 0")
        return head
