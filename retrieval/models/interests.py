"""Several interests of one user: the history in groups of items that go together, each asked for by itself.

The mean of two tastes is near to what neither wants (PinnerSage, Pal et al. 2020, clusters histories for that reason).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from indexing.arrays.vectors import unit

FEWEST = 3  # items that make an interest
ROUNDS = 10


def split_history(vectors: Vectors, history: Rows, most: int) -> list[NDArray[np.int64]]:
    """Split a history into groups that go together, by spherical k-means from seeds that are far apart.

    Args:
        vectors: (N, E) float32, item vectors; lengths do not matter.
        history: (H,) int64 rows, oldest first.
        most: So many groups at most; no more than one for every three items.

    Returns:
        For each group the places of its items in the history, oldest first. The group with the most items comes first.
    """
    count = min(most, len(history) // FEWEST)
    places = np.arange(len(history))
    if count < 2:
        return [places]
    of_history = unit(vectors[history])
    centres = of_history[_far_apart(of_history, count)]
    group = np.zeros(len(history), np.int64)
    for _ in range(ROUNDS):
        before, group = group, (of_history @ centres.T).argmax(axis=1)
        if np.array_equal(before, group):
            break
        sums = np.stack([of_history[group == number].sum(axis=0) for number in range(count)])
        centres = np.where(sums.any(axis=1, keepdims=True), unit(sums), centres)
    groups = [places[group == number] for number in range(count)]
    return sorted((one for one in groups if len(one)), key=lambda one: (-len(one), one[0]))


def parts_of(
    weights: Sequence[Sequence[float] | Vectors], split: Sequence[Sequence[NDArray[np.int64]]]
) -> list[list[float]]:
    """Give the weights of each group of each history, one user after the other."""
    return [
        [liked[place] for place in places] for liked, groups in zip(weights, split, strict=True) for places in groups
    ]


def best_of(scores: Vectors, rows: Rows, groups: Sequence[int], k: int) -> tuple[Vectors, Rows]:
    """Merge the answers to several queries of each user: every item once, by its best score.

    Args:
        scores: (Q, j) float32, the best first in each line.
        rows: (Q, j) int64, -1 for padding.
        groups: How many of the queries are of each user, one user after the other.
        k: Answers a user.

    Returns:
        Scores (B, k) float32 and rows (B, k) int64.
    """
    found_scores = np.full((len(groups), k), -np.inf, np.float32)
    found_rows = np.full((len(groups), k), -1, np.int64)
    ends = np.cumsum(groups)
    for user, (start, end) in enumerate(zip(ends - groups, ends, strict=True)):
        all_rows, all_scores = rows[start:end].ravel(), scores[start:end].ravel()
        order = np.lexsort((all_rows, -all_scores))
        order = order[all_rows[order] >= 0]
        _, first = np.unique(all_rows[order], return_index=True)
        kept = order[np.sort(first)][:k]
        found_scores[user, : len(kept)], found_rows[user, : len(kept)] = all_scores[kept], all_rows[kept]
    return found_scores, found_rows


def _far_apart(vectors: Vectors, count: int) -> list[int]:
    """Choose vectors: the last, then always the one that is least like those chosen."""
    chosen = [len(vectors) - 1]
    likeness = vectors @ vectors[-1]
    while len(chosen) < count:
        chosen.append(int(likeness.argmin()))
        likeness = np.maximum(likeness, vectors @ vectors[chosen[-1]])
    return chosen
