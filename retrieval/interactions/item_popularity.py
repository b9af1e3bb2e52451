"""Popularity of items: counts of interactions, and the popular and trending counts that `fit` stores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays import Rows, Vectors
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.errors import DamagedFileError
from indexing.filesystem.checked_files import finite_tensors, read_as
from retrieval.interactions.histories import History
from retrieval.models.user_model import UserModel

POPULARITY = "popularity.safetensors"
TRENDING_HALF_LIFE = 7.0  # days before the end of the log
_HINT = "fit again, or go back"
Counts = NDArray[np.float64]


def item_counts(rows: Rows, num_items: int, weights: NDArray[np.floating] | None = None) -> Counts:
    """Count how often each item occurs.

    Args:
        rows: (n,) int64, an item each; negative rows belong to no item and are not counted.
        num_items: N.
        weights: (n,) what each occurrence counts; 1 when None.

    Returns:
        (N,) float64.

    >>> item_counts(np.array([0, 2, 2, -1]), 4).tolist()
    [1.0, 0.0, 2.0, 0.0]
    """
    known = rows >= 0
    counted = None if weights is None else weights[known]
    return np.bincount(rows[known], counted, minlength=num_items).astype(np.float64)


def interaction_counts(histories: Sequence[History], num_items: int) -> Counts:
    """Count the interactions of all users with each item: (N,) float64."""
    return item_counts(np.concatenate([np.empty(0, np.int64), *(history.rows for history in histories)]), num_items)


def recency_weights(timestamps: NDArray[np.int64], decay_days: float) -> NDArray[np.float64]:
    """Weigh interactions by their age: one that is ``decay_days`` older than the last one weighs 1/e.

    Args:
        timestamps: (n,) int64, seconds since 1970, in any order.
        decay_days: Above 0.

    Returns:
        (n,) float64, 1 for the last interaction.

    >>> recency_weights(np.array([0, SECONDS_PER_DAY]), decay_days=1).round(3).tolist()
    [0.368, 1.0]
    """
    if not len(timestamps):
        return np.empty(0, np.float64)
    weights: NDArray[np.float64] = np.exp((timestamps - timestamps.max()) / (SECONDS_PER_DAY * decay_days))
    return weights


@dataclass(frozen=True, eq=False)
class ItemPopularity:
    """How many users liked each of N items.

    Attributes:
        counts: (N,) float32, users who liked the item; 0 for items that were added later.
        trending: (N,) float32, the same with each counted by its age: half after `TRENDING_HALF_LIFE` days before the
            end of the log. None where the log had no times.
    """

    counts: Vectors
    trending: Vectors | None

    @classmethod
    def of(cls, histories: Sequence[History], num_items: int, users: UserModel) -> "ItemPopularity":
        """Count what users liked.

        >>> log = [History("ann", np.array([0, 2]), np.array([0, 604800]), np.ones(2, np.float32))]
        >>> found = ItemPopularity.of(log, 3, UserModel())
        >>> found.counts.tolist(), found.trending.tolist()
        ([1.0, 0.0, 1.0], [0.5, 0.0, 1.0])
        """
        liked = [users.is_liked(history.weights) for history in histories]
        rows = np.concatenate([np.empty(0, np.int64), *(h.rows[m] for h, m in zip(histories, liked, strict=True))])
        times = np.concatenate(
            [np.empty(0, np.int64), *(h.timestamps[m] for h, m in zip(histories, liked, strict=True))]
        )
        counts = item_counts(rows, num_items).astype(np.float32)
        if not len(times) or times.min() == times.max():
            return cls(counts, None)
        age = (times.max() - times) / (SECONDS_PER_DAY * TRENDING_HALF_LIFE)
        return cls(counts, item_counts(rows, num_items, 0.5**age).astype(np.float32))

    def scores(self, order: Literal["trending", "popular"]) -> Vectors | None:
        """Return what items are ordered by, (N,) float32; None where that is not known."""
        return self.counts if order == "popular" else self.trending

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "ItemPopularity":
        """Give that of other rows: N items and M new ones, of which some are kept.

        Args:
            origins: (M,) int64, for each new row the old row of the same item, or -1.
            keep: (N + M,) bool, the rows to keep.
        """
        old_rows = np.concatenate([np.arange(len(self.counts)), origins])[keep]

        def moved(values: Vectors) -> Vectors:
            found: Vectors = np.where(old_rows >= 0, values[old_rows], np.float32(0))
            return found

        return ItemPopularity(moved(self.counts), None if self.trending is None else moved(self.trending))

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        tensors = {"counts": self.counts} | ({} if self.trending is None else {"trending": self.trending})
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, num_items: int) -> "ItemPopularity":
        """Read what `to_bytes` gave for so many items.

        Raises:
            DamagedFileError: When the bytes are something else, or of other items.
        """
        with read_as(POPULARITY, _HINT):
            tensors = finite_tensors(data)
            found = cls(tensors["counts"], tensors.get("trending"))
            if any(len(values) != num_items for values in tensors.values()):
                raise DamagedFileError(f"it counts {len(found.counts)} items, the bundle has {num_items}: {_HINT}")
            return found
