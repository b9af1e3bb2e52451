"""The exposure limit: an item in far more top-10 lists than its audience explains has its scores lowered.

An item that 1 % of the users interacted with may be in somewhat more than 1 % of the lists, but not in half of them.
Such an item is promoted by an error of training or by an attack. Its score is lowered until its share is in proportion.

Shares are of the lists of users whose visit continues. Users who return, and new users, are answered with more of what
is popular: the more popular, the more lists, and of new users all have the same. No share of these lists is in
proportion to an audience, so they are not counted. What is held back is held back in them too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import interaction_counts, item_counts
from retrieval.ranking.reranker import NO_ROWS
from retrieval.ranking.second_stage import score_spread

TOP_K = 10
GROWTH = 3.0  # an item's share of top-10 lists, as a multiple of its share of users
RECENT = 0.1  # the last part of all interactions: their users show what is trending
MIN_PENALTY = 0.01  # in standard deviations of the scores of a list
ROUNDS = 12  # of lowering scores; each computes all lists anew
Shares: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Exposure:
    """The item that most exceeds what its audience warrants.

    Attributes:
        item_id: The item.
        share: Its share of the top-10 lists.
        allowed: The share that its audience warrants.
    """

    item_id: str
    share: float
    allowed: float


def most_exposed(candidates: Candidates, allowed: Shares) -> Exposure:
    """Find the item whose share of top-10 lists is largest against what is allowed, (N,) float64."""
    shares = shares_of(candidates)
    row = int(np.argmax(shares / allowed))
    return Exposure(candidates.items[row], round(float(shares[row]), 4), round(float(min(allowed[row], 1.0)), 4))


def shares_of(candidates: Candidates) -> Shares:
    """Give the share of the top-10 lists that each item is in: (N,) float64."""
    top = candidates.rows[:, :TOP_K]
    return item_counts(top.ravel(), len(candidates.items)) / max(len(top), 1)


def allowed_exposure(histories: Sequence[History], count: int, floor: float, growth: float = GROWTH) -> Shares:
    """Give the share of top-10 lists that the audience of each of N items warrants: (N,) float64.

    For a new item the users in the last tenth of the log count: its share of lists may be as large as its share of
    these users, but no multiple of it, because a few attackers are a large share of them.

    Args:
        histories: The training histories of all users.
        count: N.
        floor: A share that any item may have.
        growth: An item's share of lists may be this multiple of its share of users, or of the uniform share where that
            is larger.
    """
    audience = interaction_counts(histories, count) / max(len(histories), 1)
    cutoff = np.quantile(np.concatenate([history.timestamps for history in histories]), 1 - RECENT)
    recent_rows = [recent for history in histories if len(recent := history.rows[history.timestamps > cutoff])]
    trending = item_counts(np.concatenate([NO_ROWS, *recent_rows]), count) / max(len(recent_rows), 1)
    uniform = TOP_K / count  # the share of each item if all had the same
    allowed: Shares = np.maximum(np.maximum(growth * np.maximum(audience, uniform), trending), floor)
    return allowed


def score_penalties(candidates: Candidates, allowed: Shares) -> Shares | None:
    """Return by how much to lower the scores of over-exposed items, so that their shares are in proportion.

    In a list that such an item must leave, its score is above that of the first item below the list by a margin. As
    many of the smallest margins are closed as there are lists too many. Margins are in standard deviations of the
    scores of a list, so that they hold for lists with scores of another kind.

    Args:
        candidates: Lists of more than ten items.
        allowed: (N,) float64.

    Returns:
        (N,) float64, 0 for most; None when no item is over-exposed.
    """
    shares, users = shares_of(candidates), len(candidates)
    over_exposed = np.flatnonzero(shares > allowed)
    if not len(over_exposed):
        return None
    top = candidates.rows[:, :TOP_K]
    spreads = np.maximum(score_spread(candidates.scores, candidates.rows)[:, 0], 1e-9)
    next_best = candidates.scores[:, min(TOP_K, candidates.scores.shape[1] - 1)]
    penalties = np.zeros(len(shares))
    for row in over_exposed.tolist():
        queries, positions = np.nonzero(top == row)
        own, below = candidates.scores[queries, positions], next_best[queries]
        margins = np.sort(np.where(np.isfinite(below), (own - below) / spreads[queries], 1))
        num_lists = min(len(margins), math.ceil((shares[row] - allowed[row]) * users - 1e-9))
        penalties[row] = max(float(margins[num_lists - 1]), 0.0) * 1.01 + MIN_PENALTY
    return penalties


def exposure_problem(exposure: Exposure) -> str:
    """Return why parts that expose an item so much must not be published, or ""."""
    if exposure.share <= exposure.allowed:
        return ""
    return (
        f"{exposure.item_id!r} would be in {exposure.share:.0%} of all top-10 lists, where its audience warrants "
        f"{exposure.allowed:.0%}; check whether it is promoted by an attack, or raise exposure_floor"
    )


class LimitedExposure(NamedTuple):
    """Parts with lowered scores of over-exposed items.

    Attributes:
        parts: To be served.
        exposure: The item that exceeds its allowed share most.
        rows: Rows of the items whose scores were lowered, ascending.
    """

    parts: FittedModel
    exposure: Exposure
    rows: list[int]


def limit_exposure(parts: FittedModel, serve: Callable[[FittedModel], Candidates], allowed: Shares) -> LimitedExposure:
    """Lower scores until no item is over-exposed, in at most 12 rounds.

    Args:
        parts: To be served.
        serve: Computes the lists of some users.
        allowed: (N,) float64; see `allowed_exposure`.
    """
    total, candidates = np.zeros(len(allowed)), serve(parts)
    for round_number in range(ROUNDS):
        penalties = score_penalties(candidates, allowed)
        if penalties is None or not parts.names:
            break
        total += penalties * 2 ** max(0, round_number - 3)  # where other items rise in turn
        parts = parts.holding_back(total, np.flatnonzero(penalties))
        candidates = serve(parts)
    return LimitedExposure(parts, most_exposed(candidates, allowed), np.flatnonzero(total).tolist())
