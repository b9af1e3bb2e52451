"""What is like the history, by content alone: learns nothing from users."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from indexing.arrays.types import Rows, Vectors
from indexing.arrays.vectors import unit
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class ContentKNN:
    """The items nearest to the mean of a history's vectors.

    Attributes:
        vectors: (N, D) float32, unit length; zero where an item has none.
        users: How a history becomes a taste, the catalogue's mean vector taken from it.
        centred: Leave the mean in when False: worse, and how it is often done.
    """

    vectors: Vectors
    users: UserModel = field(default_factory=lambda: UserModel(half_life=1e9, longest=1_000_000))
    centred: bool = True

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""

        def score(part: slice) -> Vectors:
            tastes = np.zeros((part.stop - part.start, self.vectors.shape[1]), np.float32)
            there = [line for line in range(part.start, part.stop) if len(histories[line])]
            if there:
                tastes[np.array(there) - part.start] = self._tastes([histories[line] for line in there])
            return tastes @ self.vectors.T

        return rank(score, histories, k, exclude)

    def _tastes(self, histories: Sequence[Rows]) -> Vectors:
        if self.centred:
            return self.users.taste(self.vectors, histories)
        longest = self.users.longest
        means = [self.users.weights(len(history)) @ self.vectors[history[-longest:]] for history in histories]
        return unit(np.stack(means))
