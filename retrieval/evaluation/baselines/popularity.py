"""What everybody takes: the baseline that needs to know nothing of the user."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays.types import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.interactions.interactions import Interactions

_DAY = 86_400


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
        found = pc.index_in(past.table["item_id"], value_set=pa.array(items, pa.string()))
        known = pc.is_valid(found).to_numpy()
        times = past.table["timestamp"].to_numpy()
        ages = (times[-1:].max(initial=0) - times) / _DAY
        counted = np.ones(len(times)) if decay_days is None else np.exp(-ages / decay_days)
        rows = pc.fill_null(found, 0).to_numpy()[known]
        return cls(np.bincount(rows, counted[known], minlength=len(items)).astype(np.float64))

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`. New users get the same as everybody."""

        def score(part: slice) -> NDArray[np.float64]:
            return np.tile(self.counts, (part.stop - part.start, 1))

        return rank(score, histories, k, exclude, needs_history=False)
