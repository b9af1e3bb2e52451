"""The exposure limit: an item in far more top-10 lists than its audience explains has its scores lowered.

An item that 1 % of the users interacted with may be in somewhat more than 1 % of the lists, but not in half of them.
Such an item is promoted by an error of training or by an attack. Its score is lowered until its share is in proportion.
Where that is not enough the parts are softened, and only where nothing is left to soften they are not published.

Shares are of the lists of users whose visit continues. Users who return, and new users, are answered with more of what
is popular: the more popular, the more lists, and of new users all have the same. No share of these lists is in
proportion to an audience, so they are not counted. What is held back is held back in them too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from retrieval.candidates import Candidates
from retrieval.fitting.fitted_model import FittedModel
from retrieval.fitting.selection.score_penalties import TOP_K, Shares, score_penalties, shares_of
from retrieval.fitting.selection.softening import Change, Serve, Softening
from retrieval.fitting.selection.validation import Gain
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import interaction_counts, item_counts
from retrieval.ranking.reranker import NO_ROWS

GROWTH = 3.0  # an item's share of top-10 lists, as a multiple of its share of users
RECENT = 0.1  # the last part of all interactions: their users show what is trending
ROUNDS = 4  # of lowering scores; each computes all lists anew


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


def exposure_problem(exposure: Exposure) -> str:
    """Return why parts that expose an item so much must not be published, or ""."""
    if exposure.share <= exposure.allowed:
        return ""
    return (
        f"{exposure.item_id!r} would be in {exposure.share:.0%} of all top-10 lists, where its audience warrants "
        f"{exposure.allowed:.0%}; check whether it is promoted by an attack, or raise exposure_floor"
    )


class LimitedExposure(NamedTuple):
    """Parts that keep the bound, or the reason why none do.

    Attributes:
        parts: To be served.
        exposure: The item that exceeds its allowed share most.
        rows: Rows of the items whose scores were lowered, ascending.
        gain: Of what is served over the lists without it, on later interactions; None where nothing was changed.
        softened: What was changed beside the scores of items, or "".
        problem: Why the parts must not be published, or "".
    """

    parts: FittedModel
    exposure: Exposure
    rows: list[int]
    gain: Gain | None = None
    softened: str = ""
    problem: str = ""


class Judge(Protocol):
    """Judges what is changed in parts, on users whose later interactions the parts have not seen."""

    def shares_without(self) -> Shares:
        """Give the shares of the lists without any learned part: (N,) float64."""
        ...

    def judge(self, change: Change) -> tuple[Gain, str]:
        """Give the gain of changed parts, and why they do not help, or ""."""
        ...


def limit_exposure(
    parts: FittedModel, serve: Serve, allowed: Shares, judge: Judge, softer: Sequence[Softening] = ()
) -> LimitedExposure:
    """Lower scores until no item is over-exposed, and soften parts where that is not enough.

    Parts where no item is over-exposed stay as they are. Those that were changed must still help. Where scores cannot
    be lowered enough, an item may also have the share that it has without any learned part: to publish nothing would
    not show it less.

    Args:
        parts: To be served.
        serve: Computes the lists of some users.
        allowed: (N,) float64; see `allowed_exposure`.
        judge: Of what was changed.
        softer: What else can be changed, the least first.
    """
    lists = serve(parts)
    if not parts.names or not (shares_of(lists) > allowed).any():
        rows = np.flatnonzero(parts.penalties(len(allowed))).tolist()  # of the published parts, in a refresh
        return LimitedExposure(parts, most_exposed(lists, allowed), rows)
    first = _limited(parts, serve, allowed, judge, Softening(), lists)
    if not first.problem:
        return first
    relaxed = np.maximum(allowed, judge.shares_without())
    again = [] if np.array_equal(relaxed, allowed) else [Softening()]
    for softening in (*again, *softer):
        limited = _limited(parts, serve, relaxed, judge, softening, lists if softening.soften is None else None)
        if not limited.problem:
            return limited
    return first


def _limited(
    parts: FittedModel,
    serve: Serve,
    allowed: Shares,
    judge: Judge,
    softening: Softening,
    served: Candidates | None,
) -> LimitedExposure:
    """Soften parts, and lower scores until no item is over-exposed; ``served`` are the lists of these, where known."""
    softened = softening.of(parts)
    lists = found = serve(softened) if served is None else served
    limited, effects = softened, softened.penalty_effects(lists)
    total = softened.penalties(len(allowed))
    for _ in range(ROUNDS if effects is not None else 0):
        if (penalties := score_penalties(found, allowed, effects)) is None:
            break
        total += penalties
        limited = softened.holding_back(total, lists)
        found = serve(limited)
    exposure, rows = most_exposed(found, allowed), np.flatnonzero(total).tolist()
    if (shares_of(found) > allowed).any():
        return LimitedExposure(limited, exposure, rows, None, softening.name, exposure_problem(exposure))
    gain, problem = judge.judge(lambda model, answer: _changed(softening.of(model), total, answer))
    return LimitedExposure(limited, exposure, rows, gain, softening.name, problem)


def _changed(softened: FittedModel, penalties: Shares, serve: Serve) -> FittedModel:
    return softened.holding_back(penalties, serve(softened)) if penalties.any() else softened
