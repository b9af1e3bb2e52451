"""Cutting what users did in time: what teaches first, what teaches next, and what decides."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from indexing.errors import InputError
from retrieval.interactions.histories import History

SplitMethod = Literal["both", "user", "time"]
MIDDLE, LAST = 0.7, 0.9
FEWEST = 5


@dataclass(frozen=True)
class TemporalSplit:
    """One user's history cut in time, oldest first.

    Attributes:
        early: Teaches what retrieves.
        middle: Teaches what orders, and how much each part of a query counts.
        last: Decides.
    """

    early: History
    middle: History
    last: History

    @property
    def past(self) -> History:
        """What came before the last part."""
        return self.early.joined(self.middle)


def temporal_split(pasts: Sequence[History], split: SplitMethod) -> list[TemporalSplit]:
    """Cut histories.

    Args:
        pasts: Of all users.
        split: ``"user"``: the last tenth of each history decides and the tenth before it is the middle; of fewer than
            five all are early. What decides then often goes on with a sitting that was learned from. ``"time"``: the
            same two moments for everybody, after 70 % and 90 % of all interactions: harder, and what use is like.
            ``"both"`` cuts by user here; see `retrieval.fit` for the moment that it adds.

    >>> days = np.arange(10)
    >>> (one,) = temporal_split([History("ann", days, days, np.ones(10, np.float32))], "user")
    >>> one.early.rows.tolist(), one.middle.rows.tolist(), one.last.rows.tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [8], [9])
    """
    if split not in get_args(SplitMethod):
        raise InputError(f"split={split!r} is none of {', '.join(map(repr, get_args(SplitMethod)))}")
    if split != "time":
        return [_by_place(past) for past in pasts]
    times = np.concatenate([past.timestamps for past in pasts])
    middle, last = np.quantile(times, [MIDDLE, LAST])
    return [_by_time(past, float(middle), float(last)) for past in pasts]


def split_at(past: History, time: int) -> TemporalSplit:
    """Cut one history after a time in seconds since 1970: what came later decides, nothing is in the middle."""
    first = len(past) - len(past.after(time))
    return TemporalSplit(past[:first], past[first:first], past[first:])


def split_since(pasts: Sequence[History], time: int) -> list[TemporalSplit]:
    """Cut histories at a time in seconds since 1970, and again in the middle of all that came later.

    What came later is cut at the same moment for everybody, so that half of it, or a little less, is in the middle.

    >>> days = np.arange(10)
    >>> (one,) = split_since([History("ann", days, days, np.ones(10, np.float32))], 5)
    >>> one.early.rows.tolist(), one.middle.rows.tolist(), one.last.rows.tolist()
    ([0, 1, 2, 3, 4, 5], [6, 7], [8, 9])
    """
    later = np.concatenate([np.empty(0, np.int64), *(past.after(time).timestamps for past in pasts)])
    moment = float(np.quantile(later, 0.5)) if len(later) else float(time + 1)
    return [_by_time(past, time + 1, moment) for past in pasts]


def _by_place(past: History) -> TemporalSplit:
    length = len(past)
    if length < FEWEST:
        return TemporalSplit(past, past[length:], past[length:])
    last = -(-length // 10)
    return TemporalSplit(past[: length - 2 * last], past[length - 2 * last : length - last], past[length - last :])


def _by_time(past: History, middle: float, last: float) -> TemporalSplit:
    first, second = np.searchsorted(past.timestamps, [middle, last], side="left").tolist()
    return TemporalSplit(past[:first], past[first:second], past[second:])
