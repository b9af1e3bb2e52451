"""What every baseline does, and how scores of all items become a ranked list."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError, ShapeError

# Histories whose scores of all items are in memory at a time.
_BLOCK = 128


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
            exclude: For each history the rows that must not come up; the history itself when not given. Give empty
                arrays to exclude nothing.

        Returns:
            Ties by row. A list is shorter where everything else is excluded, and empty where the history is and
            nothing can be said without one.
        """
        ...


@dataclass(frozen=True)
class ForNewUsers:
    """One recommender for users with a history, another for those without: no list stays empty.

    Attributes:
        usual: For histories.
        otherwise: For empty ones; such as popularity.
    """

    usual: Recommender
    otherwise: Recommender

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""
        found = self.usual.recommend(histories, k, exclude=exclude)
        new = [line for line, history in enumerate(histories) if not len(history)]
        if new:
            excluded = None if exclude is None else [exclude[line] for line in new]
            instead = self.otherwise.recommend([histories[line] for line in new], k, exclude=excluded)
            found.rows[new], found.scores[new] = instead
        return found


def rank(
    score: Callable[[slice], NDArray[np.floating]],
    histories: Sequence[Rows],
    k: int,
    exclude: Sequence[Rows] | None,
    *,
    needs_history: bool = True,
) -> Ranked:
    """Order the items by scores that are made block by block.

    Args:
        score: Gives (b, N) scores of the histories in a slice; the array may be written into.
        histories: B histories.
        k: Length of the lists.
        exclude: Rows for each history; the histories when None.
        needs_history: Leave the lists of empty histories empty.

    Raises:
        InputError: For a k below 1.
        ShapeError: When there are not as many lists to exclude as histories.
    """
    exclude = histories if exclude is None else exclude
    if k < 1:
        raise InputError(f"lists of {k} items cannot be made; ask for 1 and more")
    if len(exclude) != len(histories):
        raise ShapeError(f"{len(exclude)} lists to exclude for {len(histories)} histories; give one each")
    rows, scores = np.full((len(histories), k), -1, np.int64), np.full((len(histories), k), -np.inf, np.float32)
    for start in range(0, len(histories), _BLOCK):
        part = slice(start, min(start + _BLOCK, len(histories)))
        of_part = score(part)
        for line, of_line in enumerate(of_part, start=start):
            of_line[exclude[line]] = -np.inf
            if needs_history and not len(histories[line]):
                of_line[:] = -np.inf
        order = _best(of_part, k)
        best = np.take_along_axis(of_part, order, axis=1).astype(np.float32)
        rows[part, : order.shape[1]] = np.where(np.isneginf(best), -1, order)
        scores[part, : order.shape[1]] = best
    return Ranked(rows, scores)


def _best(scores: NDArray[np.floating], k: int) -> Rows:
    """Give the places of the k highest scores of each line (b, N), ties by place: (b, min(k, N)) int64."""
    count = scores.shape[1]
    if k >= count:
        return np.argsort(-scores, axis=1, kind="stable")
    best = np.empty((len(scores), k), np.int64)
    for line, of_line in enumerate(scores):
        some = np.flatnonzero(of_line >= np.partition(of_line, count - k)[count - k])  # sorting them all takes longer
        best[line] = some[np.argsort(-of_line[some], kind="stable")[:k]]
    return best
