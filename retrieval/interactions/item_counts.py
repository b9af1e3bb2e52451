"""How often items were taken: the counts from which every kind of popularity is made."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.interactions.histories import History

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
