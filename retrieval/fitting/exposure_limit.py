"""Limits the exposure of items: one that is shown far more often than its audience explains is held back.

An item that 1 % of the users have touched may be in somewhat more than 1 % of the lists, but not in half of them. Such
an item is pushed, by an error of training or by somebody. Its score is lowered until its share is in proportion.
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
from retrieval.interactions.item_counts import interaction_counts, item_counts
from retrieval.ranking.reranker import NO_ROWS

LISTED = 10
GROWTH = 3.0  # an item's share of top-10 lists, as a multiple of its share of users
LATELY = 0.1  # of all interactions, the last: those who did them say what is trending
LEAST_TAKEN = 0.01  # of a score
ROUNDS = 12  # of holding back, each of which asks for all lists again
Shares: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class Exposure:
    """The item that most exceeds what its audience warrants.

    Attributes:
        item_id: Which.
        share: Of the top-10 lists that it is in.
        allowed: As large a share as its audience warrants.
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
    top = candidates.rows[:, :LISTED]
    return item_counts(top.ravel(), len(candidates.items)) / max(len(top), 1)


def allowed_exposure(pasts: Sequence[History], count: int, floor: float, growth: float = GROWTH) -> Shares:
    """Give the share of top-10 lists that the audience of each of N items warrants: (N,) float64.

    What is new is judged by those who were there lately: the share of the users of the last tenth of the log who took
    it then warrants as large a share of lists, and no more, for a few who came to push it are many among these.

    Args:
        pasts: The histories that were learned from, of all users.
        count: N.
        floor: A share that any item may have.
        growth: So many times its share of users may an item's share of lists be; or the share that each would have if
            all were shown equally, where that is more.
    """
    audience = interaction_counts(pasts, count) / max(len(pasts), 1)
    moment = np.quantile(np.concatenate([past.timestamps for past in pasts]), 1 - LATELY)
    lately = [late for past in pasts if len(late := past.rows[past.timestamps > moment])]
    trending = item_counts(np.concatenate([NO_ROWS, *lately]), count) / max(len(lately), 1)
    even = LISTED / count  # what each would have if all were shown alike
    allowed: Shares = np.maximum(np.maximum(growth * np.maximum(audience, even), trending), floor)
    return allowed


def held_back(candidates: Candidates, allowed: Shares) -> Shares | None:
    """Say how much must be taken from the scores of items that are shown out of proportion, for lists to be in it.

    Where each stands in a list that it must leave, its score is above that of the first that is not in the list by a
    margin; the smallest margins are taken, as many as there are lists too many.

    Args:
        candidates: Whole lists, longer than ten.
        allowed: (N,) float64.

    Returns:
        (N,) float64, 0 for most; None when all are in proportion.
    """
    shares, users = shares_of(candidates), len(candidates)
    over = np.flatnonzero(shares > allowed)
    if not len(over):
        return None
    top = candidates.rows[:, :LISTED]
    next_best = candidates.scores[:, min(LISTED, candidates.scores.shape[1] - 1)]
    taken = np.zeros(len(shares))
    for row in over.tolist():
        lines, places = np.nonzero(top == row)
        rest = np.where(np.isfinite(next_best[lines]), next_best[lines], candidates.scores[lines, places] - 1)
        margins = np.sort(candidates.scores[lines, places] - rest)
        many = min(len(margins), math.ceil((shares[row] - allowed[row]) * users - 1e-9))
        taken[row] = max(float(margins[many - 1]), 0.0) * 1.01 + LEAST_TAKEN
    return taken


def why_over_exposed(shown: Exposure) -> str:
    """Say why what shows an item so much must not be published, if so."""
    if shown.share <= shown.allowed:
        return ""
    return (
        f"{shown.item_id!r} would be in {shown.share:.0%} of all top-10 lists, where its audience warrants "
        f"{shown.allowed:.0%}; see whether somebody is pushing it, or raise exposure_floor"
    )


class LimitedExposure(NamedTuple):
    """Parts that show no item out of proportion, as far as that goes.

    Attributes:
        parts: What is served.
        exposure: The item that is shown most against its audience.
        rows: What was held back, rising.
    """

    parts: FittedModel
    exposure: Exposure
    rows: list[int]


def limit_exposure(parts: FittedModel, serve: Callable[[FittedModel], Candidates], allowed: Shares) -> LimitedExposure:
    """Hold items back until what is served is in proportion.

    Args:
        parts: What would be served.
        serve: Gives the whole lists of some users.
        allowed: (N,) float64; see `allowed_exposure`.
    """
    total, shown = np.zeros(len(allowed)), serve(parts)
    for again in range(ROUNDS):
        taken = held_back(shown, allowed)
        if taken is None or not parts.names:
            break
        total += taken * 2 ** max(0, again - 3)  # where others come in and push it up again
        parts = parts.holding_back(total, np.flatnonzero(taken))
        shown = serve(parts)
    return LimitedExposure(parts, most_exposed(shown, allowed), np.flatnonzero(total).tolist())
