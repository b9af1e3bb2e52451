"""Baselines that learn no model: popularity, and the items whose content is nearest to a history."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_counts import item_counts, recency_weights
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class Popularity:
    """Items by how often they were touched, lately more than long ago when wished.

    Attributes:
        counts: (N,) float64, interactions an item.

    Example:
        >>> log = pa.table({"user": ["a", "b", "a"], "item": ["mug", "cup", "cup"]})
        >>> popularity = Popularity.fit(Interactions.from_arrow(log), ItemIds(["mug", "cup"]))
        >>> popularity.recommend([np.array([], np.int64), np.array([1])], k=2).rows.tolist()
        [[1, 0], [0, -1]]
    """

    counts: NDArray[np.float64]

    @classmethod
    def fit(cls, past: Interactions, items: ItemIds, *, decay_days: float | None = None) -> "Popularity":
        """Count interactions, whatever their weight.

        Args:
            past: What users did.
            items: The catalogue; other items are left out.
            decay_days: An interaction so many days before the last of the past counts 1/e; all count 1 when None.

        Raises:
            InputError: For a decay that is not positive.
        """
        if decay_days is not None and not decay_days > 0:
            raise InputError(f"a decay over {decay_days} days has no meaning; give a positive number")
        rows = pc.fill_null(pc.index_in(past.table["item_id"], value_set=pa.array(items, pa.string())), -1).to_numpy()
        weights = None if decay_days is None else recency_weights(past.table["timestamp"].to_numpy(), decay_days)
        return cls(item_counts(rows, len(items), weights))

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`. New users get the same as everybody."""

        def score(part: slice) -> NDArray[np.float64]:
            return np.tile(self.counts, (part.stop - part.start, 1))

        return rank(score, histories, k, exclude, needs_history=False)


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
