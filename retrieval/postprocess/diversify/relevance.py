"""Scores made comparable: what a score of 7.3 is worth beside variety depends on the other scores of its list."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.runtime.arguments import is_number, shown_number
from retrieval.candidates import Candidates


def relevance(candidates: Candidates, sharpness: float = 1.0) -> NDArray[np.float64]:
    """Give scores as relevance from 0, the last of its list, to 1, the first: (B, K) float64; 0 for padding.

    Scores are inner products or what a head gives, without bounds and on another scale for every query. Shifting all
    scores of a list, or multiplying them, changes nothing here. A list whose scores are all the same is relevant: 1.

    Args:
        candidates: B queries.
        sharpness: To which power it is taken. Above 1 the first hits are worth more, and the others more alike: variety
            then comes from the end of a list.

    >>> from indexing import ItemIds
    >>> scores = np.array([[9.0, 8.0, 5.0, -np.inf]], np.float32)
    >>> rows, items = np.array([[2, 0, 1, -1]]), ItemIds(["a", "b", "c"])
    >>> found = Candidates(np.zeros((1, 2), np.float32), rows, scores, items, "retrieve")
    >>> relevance(found).tolist()
    [[1.0, 0.75, 0.0, 0.0]]
    """
    there = candidates.rows >= 0
    scores = np.where(there, candidates.scores, 0.0).astype(np.float64)
    low = np.where(there, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    span = np.where(there, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf) - low
    shares = np.divide(scores - np.where(there, low, 0.0), span, out=np.ones_like(scores), where=span > 0)
    return np.where(there, shares if sharpness == 1 else shares**sharpness, 0.0)


def check(strength: float, sharpness: float) -> None:
    """Refuse what cannot weigh relevance against variety.

    Raises:
        InputError: When strength is not between 0 and 1, or sharpness not above 0.
    """
    if not is_number(strength, 0, 1):
        raise InputError(
            f"a strength of {shown_number(strength)}; give a number from 0, relevance alone, to 1, variety alone"
        )
    if not is_number(sharpness) or sharpness <= 0:
        raise InputError(f"a sharpness of {shown_number(sharpness)}; give a number above 0, as 1")


@dataclass(frozen=True)
class Relevant:
    """Relevance alone: the order stays, but for caps."""

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return 1

    def begin(self, candidates: Candidates, k: int) -> "_Kept":  # noqa: ARG002
        """Begin lists."""
        return _Kept(relevance(candidates))


class _Kept:
    def __init__(self, relevant: NDArray[np.float64]) -> None:
        self._relevant = relevant

    def values(self) -> NDArray[np.float64]:
        return self._relevant

    def pick(self, places: NDArray[np.int64]) -> None:
        pass
