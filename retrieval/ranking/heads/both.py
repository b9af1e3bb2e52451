"""The mean of a network and trees: read from bundles of earlier versions and served, but learned no more."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors
from retrieval.ranking.heads.neural import NeuralHead
from retrieval.ranking.heads.trees import TreesHead

Tensors = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class BothHead:
    """A network and trees, the scores of each divided by a standard deviation, so that both have an equal say.

    Attributes:
        neural: The network.
        trees: The trees.
        spreads: (2,) float32, above 0: the standard deviations.
        stored: The tensors that it was read from.
    """

    neural: NeuralHead
    trees: TreesHead
    spreads: Vectors
    stored: Tensors

    kind: ClassVar[str] = "both"

    @property
    def width(self) -> int:
        """F, how many features it reads."""
        return self.neural.width

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) float32 to (…) float32, higher is better."""
        neural_std, trees_std = self.spreads
        scores: Vectors = self.neural.score(features) / neural_std + self.trees.score(features) / trees_std
        return scores

    def tensors(self) -> Tensors:
        """Give what it was read from."""
        return self.stored

    @classmethod
    def read(cls, tensors: Tensors) -> "BothHead":
        """Read what an earlier version stored."""
        neural, trees = (
            {name.removeprefix(part): tensor for name, tensor in tensors.items() if name.startswith(part)}
            for part in ("neural.", "trees.")
        )
        spreads = np.asarray(tensors["spreads"], np.float32)
        if spreads.shape != (2,) or not (spreads > 0).all():
            raise ValueError(f"spreads of two heads are {spreads.tolist()!r:.60}")
        return cls(NeuralHead.read(neural), TreesHead.read(trees), spreads, tensors)
