"""Baselines without a trained model: popularity and content-based nearest neighbours."""

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
from retrieval.interactions.event_types import aged_from
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_popularity import item_counts, recency_weights
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class Popularity:
    """Items by their number of interactions, optionally with exponential decay over time.

    Attributes:
        counts: (N,) float64, (decayed) number of interactions of each item.

    Example:
        >>> log = pa.table({"user": ["a", "b", "a"], "item": ["mug", "cup", "cup"]})
        >>> popularity = Popularity.fit(Interactions.from_arrow(log), ItemIds(["mug", "cup"]))
        >>> popularity.recommend([np.array([], np.int64), np.array([1])], k=2).rows.tolist()
        [[1, 0], [0, -1]]
    """

    counts: NDArray[np.float64]

    @classmethod
    def fit(cls, interactions: Interactions, items: ItemIds, *, decay_days: float | None = None) -> "Popularity":
        """Count interactions, whatever their weight.

        Args:
            interactions: The interactions.
            items: The catalogue; other items are left out.
            decay_days: An interaction this many days before the end of the log counts 1/e; all count 1 if None.
                The end is that of all but a few late users; see `late_tail`.

        Raises:
            InputError: If the decay is not positive.
        """
        if decay_days is not None and not decay_days > 0:
            raise InputError(f"a decay over {decay_days} days has no meaning; give a positive number")
        rows = pc.fill_null(
            pc.index_in(interactions.table["item_id"], value_set=pa.array(items, pa.string())), -1
        ).to_numpy()
        if decay_days is None:
            return cls(item_counts(rows, len(items)))
        times = aged_from(interactions.table["timestamp"].to_numpy(), interactions.table["user_id"])
        return cls(item_counts(rows, len(items), recency_weights(times, decay_days)))

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`. The same for users without a history."""

        def score(batch: slice) -> NDArray[np.float64]:
            return np.tile(self.counts, (batch.stop - batch.start, 1))

        return rank(score, histories, k, exclude, needs_history=False)


@dataclass(frozen=True, eq=False)
class ContentKNN:
    """The items nearest to the mean of a history's vectors.

    Attributes:
        vectors: (N, D) float32, unit vectors; zero for items without one.
        users: Computes a user vector from a history, minus the mean vector of the catalogue.
        centred: Whether the mean is subtracted; without it results are worse.
    """

    vectors: Vectors
    users: UserModel = field(default_factory=lambda: UserModel(half_life=1e9, longest=1_000_000))
    centred: bool = True

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""

        def score(batch: slice) -> Vectors:
            tastes = np.zeros((batch.stop - batch.start, self.vectors.shape[1]), np.float32)
            with_history = [position for position in range(batch.start, batch.stop) if len(histories[position])]
            if with_history:
                tastes[np.array(with_history) - batch.start] = self._tastes(
                    [histories[position] for position in with_history]
                )
            return tastes @ self.vectors.T

        return rank(score, histories, k, exclude)

    def _tastes(self, histories: Sequence[Rows]) -> Vectors:
        if self.centred:
            return self.users.taste(self.vectors, histories)
        longest = self.users.longest
        means = [self.users.weights(len(history)) @ self.vectors[history[-longest:]] for history in histories]
        return unit(np.stack(means))
