"""Penalties on scores, so that no item is in more of the top-10 lists than is allowed.

Lists are those of users whose scores differ. A penalty on an item is the same in all of them, so that it leaves the
lists of those first who like it least against what follows.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from retrieval.candidates import Candidates
from retrieval.interactions.item_popularity import item_counts
from retrieval.ranking.second_stage import score_spread

TOP_K = 10
MIN_PENALTY = 0.01  # in standard deviations of the scores of a list
MIN_EFFECT = 0.05  # of a penalty on the scores of a list, in their standard deviations, by which a margin is divided
ROUNDING = 2e-5  # in standard deviations; an index adds up float32 scores in another order
MARGIN_ROUNDS = 8  # of closing margins; where items rise in turn, more of them do not help
# Of the bound, at what the soft shares aim. A lower aim is reached where many users have nearly the same scores.
AIMS = (0.9, 0.7, 0.5)
# Of the soft shares: the first temperature, in standard deviations, the factor to the next, and rounds at each.
TEMPERATURE, COOLING, TEMPERATURES, ROUNDS_EACH = 0.3, 0.7, 30, 8
Shares = NDArray[np.float64]


def shares_of(candidates: Candidates) -> Shares:
    """Give the share of the top-10 lists that each item is in: (N,) float64."""
    top = candidates.rows[:, :TOP_K]
    return item_counts(top.ravel(), len(candidates.items)) / max(len(top), 1)


def score_penalties(
    candidates: Candidates, allowed: Shares, effects: NDArray[np.floating] | None = None
) -> Shares | None:
    """Return by how much to lower the scores of over-exposed items, so that all shares are within what is allowed.

    First margins are closed: in a list that such an item must leave, its score is above that of the first item below
    the list by a margin, and as many of the smallest are closed as there are lists too many. Where others rise in its
    place, again and again, penalties are balanced at once: an item is in a list with a probability, a logistic function
    of its margin, and its penalty changes by the logarithm of its share over the bound, at ever lower temperatures.

    Args:
        candidates: Lists of more than ten items.
        allowed: (N,) float64.
        effects: (B,), by how much a penalty of 1 lowers the scores of each list; their standard deviation when None.

    Returns:
        (N,) float64, 0 for most; None when no item is over-exposed. Where no penalties are enough, those with the
        smallest excess that were found.
    """
    if not (shares_of(candidates) > allowed).any():
        return None
    spreads = np.maximum(score_spread(candidates.scores, candidates.rows)[:, 0].astype(np.float64), 1e-9)
    ratios = np.ones(len(spreads)) if effects is None else effects / spreads
    valid = candidates.rows >= 0
    scores = np.where(valid, candidates.scores / spreads[:, None], -np.inf)
    lists = _Lists(np.maximum(candidates.rows, 0), valid, scores, ratios, allowed)
    best = lists.close_margins()
    for aim in AIMS:
        if best.excess > 0:
            best = min(best, lists.balance(best.penalties, aim), key=lambda found: found.excess)
    return best.penalties


@dataclass(frozen=True)
class _Found:
    """Penalties, (N,) float64, and by how much the most over-exposed item is above its bound with them."""

    penalties: Shares
    excess: float


@dataclass(frozen=True, eq=False)
class _Lists:
    """Scored candidates, whose order is that of their scores minus penalties.

    Attributes:
        rows: (B, W) int64, 0 pads.
        valid: (B, W) bool, what is no padding.
        scores: (B, W) float64 in standard deviations of the list, -inf pads.
        effects: (B,) float64, by how much a penalty of 1 lowers them.
        allowed: (N,) float64.
    """

    rows: Rows
    valid: Mask
    scores: Shares
    effects: Shares
    allowed: Shares

    def close_margins(self) -> _Found:
        """Raise penalties by the margins to the first item below each list, in a few rounds."""
        penalties, users = np.zeros(len(self.allowed)), len(self.rows)
        best = _Found(penalties, math.inf)
        for _ in range(MARGIN_ROUNDS):
            lowered = self._lowered(penalties)
            order, ranked = self._ranked(lowered)
            top = self._top(order)
            shares = self._shares(lowered, ranked)
            best = min(best, _Found(penalties, self._excess(shares)), key=lambda found: found.excess)
            if best.excess <= 0 or self.rows.shape[1] <= TOP_K:
                break
            penalties = penalties.copy()
            for row in np.flatnonzero(shares > self.allowed).tolist():
                queries, positions = np.nonzero(top == row)
                below = ranked[queries, TOP_K]
                own = ranked[queries, positions] - np.where(np.isfinite(below), below, 0)
                margins = np.sort(np.where(np.isfinite(below), own, 1) / np.maximum(self.effects[queries], MIN_EFFECT))
                penalties[row] += _closing(margins, math.ceil((shares[row] - self.allowed[row]) * users - 1e-9))
        return best

    def balance(self, penalties: Shares, aim: float) -> _Found:
        """Change penalties by soft shares, at ever lower temperatures, until the shares are within the bound."""
        best, active, temperature = _Found(penalties, math.inf), penalties > 0, TEMPERATURE
        if self.rows.shape[1] <= TOP_K:
            return best
        for _ in range(TEMPERATURES):
            for _ in range(ROUNDS_EACH):
                lowered = self._lowered(penalties)
                _, ranked = self._ranked(lowered)
                shares = self._shares(lowered, ranked)
                best = min(best, _Found(penalties, self._excess(shares)), key=lambda found: found.excess)
                if best.excess <= 0:
                    return best
                active |= shares > self.allowed
                soft = self._soft_shares(lowered, ranked[:, TOP_K - 1 :], temperature)
                steps = temperature * np.log(np.maximum(soft, 1e-12) / np.maximum(aim * self.allowed, 1e-9))
                penalties = np.where(active, np.maximum(penalties + steps, 0), 0)
            temperature *= COOLING
        return best

    def _lowered(self, penalties: Shares) -> Shares:
        lowered: Shares = self.scores - penalties[self.rows] * self.effects[:, None]
        return lowered

    def _ranked(self, lowered: Shares) -> tuple[Rows, Shares]:
        """Give the positions of the eleven best of each list, best first, and their scores."""
        last = min(TOP_K, lowered.shape[1] - 1)
        best = np.argpartition(-lowered, last, axis=1)[:, : last + 1]
        values = np.take_along_axis(lowered, best, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        return np.take_along_axis(best, order, axis=1), np.take_along_axis(values, order, axis=1)

    def _top(self, order: Rows) -> Rows:
        """Give the rows of the ten best of each list, -1 pads."""
        order = order[:, :TOP_K]
        rows = np.take_along_axis(self.rows, order, axis=1)
        top: Rows = np.where(np.take_along_axis(self.valid, order, axis=1), rows, -1)
        return top

    def _shares(self, lowered: Shares, ranked: Shares) -> Shares:
        """Give the share of lists that each item is in, or so near to that rounding decides."""
        tenth = ranked[:, min(TOP_K, ranked.shape[1]) - 1]
        near = self.valid & (lowered >= (tenth - ROUNDING)[:, None])
        return item_counts(self.rows[near], len(self.allowed)) / max(len(self.rows), 1)

    def _excess(self, shares: Shares) -> float:
        return float((shares - self.allowed).max())

    def _soft_shares(self, lowered: Shares, around: Shares, temperature: float) -> Shares:
        """Give the share of lists that each item is in, where chance decides near the end of a list."""
        last, below = around[:, 0], around[:, 1]
        ends = np.where(np.isfinite(below), (last + np.where(np.isfinite(below), below, 0)) / 2, -np.inf)
        is_open = np.isfinite(ends)  # else all that there is stays in the list
        with np.errstate(invalid="ignore"):
            distances = np.where(is_open[:, None], (ends[:, None] - lowered) / temperature, -50)
        chances = np.where(self.valid, 1 / (1 + np.exp(np.clip(distances, -50, 50))), 0)
        return item_counts(self.rows.ravel(), len(self.allowed), chances.ravel()) / max(len(self.rows), 1)


def _closing(margins: Shares, num_lists: int) -> float:
    """Give a penalty that closes the first of the margins, ascending, and no more of them where they differ."""
    if not len(margins):  # only near the end of lists
        return MIN_PENALTY
    last = min(len(margins), num_lists) - 1
    penalty = max(float(margins[last]), 0.0)
    enough = penalty * 1.01 + MIN_PENALTY
    if last + 1 < len(margins) and margins[last + 1] > penalty:
        return min(enough, (penalty + float(margins[last + 1])) / 2)
    return enough
