"""How items are described, as numbers."""

from dataclasses import dataclass, replace

import numpy as np

from indexing.arrays.types import Mask, Rows, Vectors
from retrieval.features.tfidf import Lines


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """N items by what is known of them without users.

    Attributes:
        lines: (N, F) float32, zero where nothing is known.
        additive: How many of the last columns say something by themselves, which is added to what the others say
            together.
        words: Words of their texts, which do so too; None where there are none.
        further: (F,) bool, columns that the learned tower is not shown, for it orders known items worse with them;
            None shows it all.
    """

    lines: Vectors
    additive: int = 0
    words: Lines | None = None
    further: Mask | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def take(self, rows: Rows | slice) -> "FeatureMatrix":
        """Keep some of the items."""
        return replace(self, lines=self.lines[rows], words=self.words.take(rows) if self.words else None)

    @property
    def shown(self) -> Vectors:
        """The columns that the learned tower is shown."""
        return self.lines if self.further is None or not self.further.any() else self.lines[:, ~self.further]

    @property
    def together(self) -> Vectors:
        """The columns that count together: (N, F - additive) float32."""
        return self.lines[:, : self.lines.shape[1] - self.additive]

    @property
    def alone(self) -> Vectors:
        """The columns that count by themselves: (N, additive) float32."""
        return self.lines[:, self.lines.shape[1] - self.additive :]

    def resemblance(self, others: "FeatureMatrix", nearness: float) -> Vectors:
        """Say how alike these and M others are, but for words: (N, M) float32.

        ``exp(-nearness * squared distance)``, 1 where they are the same and near 0 where they are far; and of what
        counts by itself the inner product beside it.
        """
        mine, theirs = self.together, others.together
        alike: Vectors = mine @ theirs.T  # what follows is done in its place: it is large
        alike *= -2
        alike += np.sum(mine**2, axis=1)[:, None]
        alike += np.sum(theirs**2, axis=1)
        np.maximum(alike, 0, out=alike)
        alike *= -np.float32(nearness)
        np.exp(alike, out=alike)
        if self.additive:
            alike += self.alone @ others.alone.T
        return alike
