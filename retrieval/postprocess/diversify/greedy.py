"""Greedy selection, one item after the other, for many queries at once; all methods of diversity share it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.errors import InputError
from indexing.runtime.arguments import is_number, is_whole, shown_number
from retrieval.candidates import Candidates

STAGE = "diversify"
_AT_ONCE = 8_000_000  # numbers held at a time


class Gains(Protocol):
    """The gain of each candidate of b queries, given those that were picked so far."""

    def values(self) -> NDArray[np.float64]:
        """Give (b, K) float64, finite; values of picked candidates and of padding are not read."""
        ...

    def pick(self, positions: NDArray[np.int64]) -> None:
        """Pick one candidate of each query: (b,) int64, its position among the K."""
        ...


class LimitState(Protocol):
    """Which of the candidates of b queries may still be picked."""

    def within(self) -> Mask:
        """Say which, (b, K) bool."""
        ...

    def pick(self, positions: NDArray[np.int64]) -> None:
        """Pick one candidate of each query: (b,) int64, its position among the K."""
        ...


class Limit(Protocol):
    """A limit on a list, as a `Cap` or `MaxSimilarity`."""

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        ...

    def begin(self, candidates: Candidates) -> LimitState:
        """Begin lists."""
        ...


class Objective(Protocol):
    """What a list is optimised for: relevance, and something else."""

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        ...

    def begin(self, candidates: Candidates, k: int) -> Gains:
        """Begin lists of which k items will be picked."""
        ...


def diversified(
    candidates: Candidates,
    objective: Objective,
    k: int | None = None,
    *,
    caps: Sequence[Limit] = (),
    page: int | None = None,
) -> Candidates:
    """Pick the first k of each query one by one, each time the candidate that gains most; the earlier one when equal.

    No candidate is dropped and none added: those that were not picked follow in the order they had, padding stays last.
    Scores of a list stay in place: the hit that is now first has the score of the one that was first. They never rise
    and are on the same scale as before, but say no more of a hit than its position.

    Items that are seen at once may be ordered by relevance: with ``page``, each page of picked items has the order that
    the items had before. The items of a page stay the same, and with them all variety that does not depend on order.

    Args:
        candidates: B queries, best first.
        objective: What a list is optimised for.
        k: How many are picked; all when None.
        caps: Limits, as on the number of items of one value of an attribute. Candidates over a cap are picked when no
            others are left.
        page: How many are seen at once; in the order in which they were picked when None.

    Returns:
        The candidates in another order, with stage ``"diversify"``.

    Raises:
        InputError: When k or page is below 1, or the score of a candidate is no number.
    """
    if k is not None and not is_whole(k):
        raise InputError(
            f"k is {shown_number(k)}",
            python="give a whole number of at least 1, or None for all candidates",
            cli="give -k a whole number of at least 1",
            http="give a whole number of at least 1",
        )
    if page is not None and not is_whole(page):
        raise InputError(
            f"a page of {shown_number(page)} shows nothing",
            python="give a whole number of at least 1, or None for no pages",
            cli="give diversify.page in the file of --postprocess a whole number of at least 1, or leave it out",
            http="give a whole number of at least 1, or leave it out",
        )
    if not np.isfinite(candidates.scores[candidates.rows >= 0]).all():
        raise InputError("some scores are NaN or infinite, and cannot be weighed against variety; score these anew")
    length = candidates.rows.shape[1]
    k = length if k is None else min(k, length)
    order = np.empty(candidates.rows.shape, np.int64)
    width = objective.width + sum(cap.width for cap in caps)
    block = max(1, _AT_ONCE // max(1, length * width))
    for start in range(0, len(candidates), block):
        part = candidates.take(np.arange(start, min(start + block, len(candidates))))
        counted = [cap.begin(part) for cap in caps]
        order[start : start + block] = _order(part.rows, objective.begin(part, k), (k, page or 1), counted)
    return candidates.placed(order, candidates.scores, STAGE)


def _order(rows: Rows, gains: Gains, sizes: tuple[int, int], caps: Sequence[LimitState]) -> NDArray[np.int64]:
    """Give the positions of (b, K) candidates in their new order; k are picked, in pages of a given size."""
    k, page = sizes
    queries, length = np.arange(len(rows)), rows.shape[1]
    free = rows >= 0
    rank = np.broadcast_to(k * length + np.arange(length), rows.shape).copy()  # behind all that is picked
    for turn in range(k):
        within = free
        for cap in caps:
            within = within & cap.within()
        pool = np.where(within.any(axis=1, keepdims=True), within, free)
        positions = np.where(pool, gains.values(), -np.inf).argmax(axis=1)  # the first of equals
        positions = np.where(pool.any(axis=1), positions, 0)
        is_open = free[queries, positions]
        rank[queries[is_open], positions[is_open]] = turn // page * length + positions[is_open]
        free[queries, positions] = False
        gains.pick(positions)
        for cap in caps:
            cap.pick(positions)
    return np.argsort(rank, axis=1, kind="stable")


def relevance(candidates: Candidates, sharpness: float = 1.0) -> NDArray[np.float64]:
    """Give scores as relevance from 0, the last of its list, to 1, the first: (B, K) float64; 0 for padding.

    Scores are inner products or what a head gives, without bounds and on another scale for every query. Shifting all
    scores of a list, or multiplying them, changes nothing here. A list whose scores are all the same is relevant: 1.

    Args:
        candidates: B queries.
        sharpness: The exponent of relevance. Above 1, the first hits count more and the others differ less: variety
            then comes from the end of a list.

    >>> from indexing import ItemIds
    >>> scores = np.array([[9.0, 8.0, 5.0, -np.inf]], np.float32)
    >>> rows, items = np.array([[2, 0, 1, -1]]), ItemIds(["a", "b", "c"])
    >>> found = Candidates(np.zeros((1, 2), np.float32), rows, scores, items, "retrieve")
    >>> relevance(found).tolist()
    [[1.0, 0.75, 0.0, 0.0]]
    """
    is_hit = candidates.rows >= 0
    scores = np.where(is_hit, candidates.scores, 0.0).astype(np.float64)
    low = np.where(is_hit, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    span = np.where(is_hit, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf) - low
    shares = np.divide(scores - np.where(is_hit, low, 0.0), span, out=np.ones_like(scores), where=span > 0)
    return np.where(is_hit, shares if sharpness == 1 else shares**sharpness, 0.0)


def check(strength: float, sharpness: float) -> None:
    """Check strength and sharpness.

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

    def begin(self, candidates: Candidates, k: int) -> "_RelevanceGains":  # noqa: ARG002
        """Begin lists."""
        return _RelevanceGains(relevance(candidates))


class _RelevanceGains:
    def __init__(self, relevant: NDArray[np.float64]) -> None:
        self._relevant = relevant

    def values(self) -> NDArray[np.float64]:
        return self._relevant

    def pick(self, positions: NDArray[np.int64]) -> None:
        pass
