"""Two heads of different kinds, whose scores add up."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Mask, Vectors
from retrieval.ranking.heads.base import HeadKind
from retrieval.ranking.heads.neural import NeuralHead
from retrieval.ranking.heads.trees import TreesHead


@dataclass(frozen=True, eq=False)
class BothHead:
    """A network and trees, each divided by how far its scores lie apart, so that both have an equal say.

    Attributes:
        neural: The network.
        trees: The trees.
        spreads: (2,) float32, above 0: the standard deviation of the scores of each among the candidates of a query, in
            the mean over those that it learned from.
    """

    neural: NeuralHead
    trees: TreesHead
    spreads: Vectors

    kind: ClassVar[HeadKind] = "both"

    @classmethod
    def of(cls, neural: NeuralHead, trees: TreesHead, features: Vectors, kept: Mask) -> "BothHead":
        """Weigh two heads by what they say of features (B, K, F) float32; ``kept`` (B, K) is False for padding."""
        scored = [np.where(kept, head.score(features), np.nan) for head in (neural, trees)]
        spreads = [max(float(np.nanstd(scores, axis=1).mean()), 1e-9) for scores in scored]
        return cls(neural, trees, np.array(spreads, np.float32))

    @property
    def width(self) -> int:
        """F, how many features it reads."""
        return self.neural.width

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) float32 to (…) float32, higher is better."""
        first, second = self.spreads
        scores: Vectors = self.neural.score(features) / first + self.trees.score(features) / second
        return scores

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what both are made of."""
        of_heads = {"neural": self.neural.tensors(), "trees": self.trees.tensors()}
        found = {f"{part}.{name}": tensor for part, tensors in of_heads.items() for name, tensor in tensors.items()}
        return found | {"spreads": self.spreads}

    @classmethod
    def read(cls, tensors: dict[str, NDArray[np.generic]]) -> "BothHead":
        """Read what `tensors` gave."""
        parts: dict[str, dict[str, NDArray[np.generic]]] = {"neural": {}, "trees": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part in parts:
                parts[part][rest] = tensor
        spreads = np.asarray(tensors["spreads"], np.float32)
        if spreads.shape != (2,) or not (spreads > 0).all():
            raise ValueError(f"spreads of two heads are {spreads.tolist()!r:.60}")
        return cls(NeuralHead.read(parts["neural"]), TreesHead.read(parts["trees"]), spreads)
