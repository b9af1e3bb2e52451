"""Exposure penalty: items that are in many lists are ranked below others of similar relevance."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from indexing.runtime.arguments import is_number, shown_number
from retrieval.candidates import Candidates
from retrieval.postprocess.diversify.greedy import Gains, Objective


def exposures(lists: Candidates, k: int, items: ItemIds | None = None) -> NDArray[np.int64]:
    """Count in how many of the lists each item is among the first k: (N,) int64.

    Args:
        lists: The lists that are shown.
        k: The first so many of each.
        items: In whose rows to count, where the lists are of another state or bundle: what is not among them counts
            for nothing. Those of the lists when None.

    Raises:
        InputError: For a k below 1.

    >>> from indexing import ItemIds
    >>> rows, scores = np.array([[2, 0], [2, -1]]), np.array([[2, 1], [2, -np.inf]], np.float32)
    >>> exposures(Candidates(np.zeros((2, 2), np.float32), rows, scores, ItemIds([*"abc"]), "retrieve"), k=2).tolist()
    [1, 0, 2]
    """
    if k < 1:
        raise InputError(f"the first {k} of a list show nothing; give a whole number of at least 1")
    top = lists.rows[:, :k]
    counts = np.bincount(top[top >= 0], minlength=len(lists.items)).astype(np.int64)
    if items is None or items is lists.items:
        return counts
    moved = np.zeros(len(items), np.int64)
    for row in np.flatnonzero(counts).tolist():
        if (new_row := items.row(lists.items[row])) is not None:
            moved[new_row] += counts[row]
    return moved


def check_exposure_weight(weight: object) -> None:
    """Refuse what cannot be weighed against relevance.

    Raises:
        InputError: When it is no number of at least 0.
    """
    if not is_number(weight, 0):
        raise InputError(f"an exposure weight of {shown_number(weight)}; give 0, which changes nothing, or more")


@dataclass(frozen=True, eq=False)
class ExposurePenalty:
    """Gain: that of an objective + weight * (1 - ln(1 + n) / ln(1 + n_max)), for an item that n lists have shown.

    The counts are of lists that were shown before, or are about to be, so that the answer to one user does not depend
    on who else asks at the same time. Without any lists the objective is as it was.

    Attributes:
        objective: What a list should be beside.
        list_counts: (N,) int64, how many lists show each row; see `exposures`.
        weight: From 0, which changes nothing; 1 counts as much as relevance of 1 for an item that was never shown.
    """

    objective: Objective
    list_counts: NDArray[np.int64]
    weight: float = 0.1

    def __post_init__(self) -> None:
        check_exposure_weight(self.weight)

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return self.objective.width + 1

    def begin(self, candidates: Candidates, k: int) -> "_WithBonus":
        """Begin lists.

        Raises:
            ShapeError: When the counts are not of the candidates' items.
        """
        if self.list_counts.shape != (len(candidates.items),):
            raise ShapeError(
                f"{self.list_counts.shape} counts of what was shown, but candidates of {len(candidates.items)} items; "
                "count lists over the same items"
            )
        largest = np.log1p(self.list_counts.max(initial=0))
        exposure = np.log1p(self.list_counts[candidates.rows]) / largest if largest else np.ones(candidates.rows.shape)
        return _WithBonus(self.objective.begin(candidates, k), self.weight * (1 - exposure))


class _WithBonus:
    """Gains with something added to each candidate, (b, K) float64."""

    def __init__(self, gains: Gains, added: NDArray[np.float64]) -> None:
        self._gains, self._added = gains, added

    def values(self) -> NDArray[np.float64]:
        return self._gains.values() + self._added

    def pick(self, positions: NDArray[np.int64]) -> None:
        self._gains.pick(positions)
