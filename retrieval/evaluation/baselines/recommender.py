"""The interface of recommenders, and ranking of the scores of all items."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError, ShapeError

# Histories per batch; the scores of all items are in memory.
_BATCH = 128


class Ranked(NamedTuple):
    """Rows (B, k) int64, best first, -1 pads; scores (B, k) float32, -inf where padded: as in `Candidates`."""

    rows: Rows
    scores: Vectors


class Recommender(Protocol):
    """Anything that ranks items for histories."""

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history.

        Args:
            histories: B arrays of rows, oldest first, each row at most once.
            k: Length of the lists.
            exclude: For each history the rows that must not be recommended; the history itself if None. Give empty
                arrays to exclude nothing.

        Returns:
            The ranked items; ties go to the lower row. Lists are shorter if all other items are excluded, and empty
            for an empty history if the recommender needs one.
        """
        ...


@dataclass(frozen=True)
class ForNewUsers:
    """A recommender for users with a history, and a fallback for users without.

    Attributes:
        usual: For users with a history.
        otherwise: For users without one, such as popularity.
    """

    usual: Recommender
    otherwise: Recommender

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""
        ranked = self.usual.recommend(histories, k, exclude=exclude)
        new = [position for position, history in enumerate(histories) if not len(history)]
        if new:
            excluded = None if exclude is None else [exclude[position] for position in new]
            fallback_ranked = self.otherwise.recommend([histories[position] for position in new], k, exclude=excluded)
            ranked.rows[new], ranked.scores[new] = fallback_ranked
        return ranked


def rank(
    score: Callable[[slice], NDArray[np.floating]],
    histories: Sequence[Rows],
    k: int,
    exclude: Sequence[Rows] | None,
    *,
    needs_history: bool = True,
) -> Ranked:
    """Rank the items by their scores, computed in batches.

    Args:
        score: Returns (b, N) scores of the histories in a slice; the array is modified.
        histories: B histories.
        k: Length of the lists.
        exclude: Rows to exclude for each history; the histories if None.
        needs_history: Leave the lists of empty histories empty.

    Raises:
        InputError: For a k below 1.
        ShapeError: If the number of lists to exclude differs from that of histories.
    """
    exclude = histories if exclude is None else exclude
    if k < 1:
        raise InputError(f"lists of {k} items cannot be made; ask for 1 and more")
    if len(exclude) != len(histories):
        raise ShapeError(f"{len(exclude)} lists to exclude for {len(histories)} histories; give one each")
    rows, scores = np.full((len(histories), k), -1, np.int64), np.full((len(histories), k), -np.inf, np.float32)
    for start in range(0, len(histories), _BATCH):
        batch = slice(start, min(start + _BATCH, len(histories)))
        batch_scores = score(batch)
        for position, row_scores in enumerate(batch_scores, start=start):
            row_scores[exclude[position]] = -np.inf
            if needs_history and not len(histories[position]):
                row_scores[:] = -np.inf
        order = _top_k(batch_scores, k)
        best = np.take_along_axis(batch_scores, order, axis=1).astype(np.float32)
        rows[batch, : order.shape[1]] = np.where(np.isneginf(best), -1, order)
        scores[batch, : order.shape[1]] = best
    return Ranked(rows, scores)


def _top_k(scores: NDArray[np.floating], k: int) -> Rows:
    """Return the columns of the k highest scores of each row (b, N), ties by column: (b, min(k, N)) int64."""
    count = scores.shape[1]
    if k >= count:
        return np.argsort(-scores, axis=1, kind="stable")
    top = np.empty((len(scores), k), np.int64)
    for row, row_scores in enumerate(scores):
        kth_score = np.partition(row_scores, count - k)[count - k]  # faster than sorting all scores
        at_least_kth = np.flatnonzero(row_scores >= kth_score)
        top[row] = at_least_kth[np.argsort(-row_scores[at_least_kth], kind="stable")[:k]]
    return top
