"""Moments of the past at which users ask: what they had done by then, and what they did next."""

from collections.abc import Container, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from retrieval.interactions.cleaning.config import EARLIEST
from retrieval.interactions.histories import History
from retrieval.ranking.sources import UserBatch

MAX_DAYS, MIN_WINDOWS, MAX_WINDOWS = 14.0, 3, 5  # length of a window, and how many there are
WINDOWS_SHARE = 0.6  # windows take at most this fraction of the time of a log
ENOUGH = 100  # users of all windows, at least
_DAY = 86_400


class Cutoff(NamedTuple):
    """What users had done by then, and what they did next, line by line; and when they ask.

    Attributes:
        pasts: B histories.
        wanted: B histories that follow.
        times: (B,) int64, in seconds since 1970.
        visiting: Whether each asks in the visit in which they did the last. Then they ask as if now, after all that
            sources were learned from: that is what is served.
    """

    pasts: list[History]
    wanted: list[History]
    times: NDArray[np.int64]
    visiting: bool = False

    @classmethod
    def between(cls, histories: list[History], targets: list[History]) -> "Cutoff":
        """Let each user ask just after the last of what they did; one who did nothing, just before what comes first."""
        times = UserBatch.after(histories).times
        for row, (history, following) in enumerate(zip(histories, targets, strict=True)):
            if not len(history) and len(following):
                times[row] = following.timestamps[0] - 1
        return cls(histories, targets, times, visiting=True)

    def asking(self, *, new: bool = False) -> "Cutoff":
        """Give the users who did something afterwards, and before it too unless new ones are asked for."""
        rows = [
            row
            for row, (history, following) in enumerate(zip(self.pasts, self.wanted, strict=True))
            if len(following) and (new or len(history))
        ]
        return self.take(rows)

    @property
    def new(self) -> Mask:
        """(B,) bool: who had done nothing."""
        return np.array([not len(history) for history in self.pasts], np.bool_)

    def among(self, users: Container[str]) -> "Cutoff":
        """Give some users, by name."""
        return self.take([row for row, history in enumerate(self.pasts) if history.user_id in users])

    def take(self, rows: Sequence[int]) -> "Cutoff":
        """Give some users, by place."""
        histories, targets = [self.pasts[row] for row in rows], [self.wanted[row] for row in rows]
        return Cutoff(histories, targets, self.times[list(rows)], self.visiting)

    def asked(self, now: int) -> UserBatch:
        """Give the users as sources take them that have learned up to now."""
        if self.visiting:
            return UserBatch.visiting(self.pasts, now)
        last = [
            int(history.timestamps[-1]) if len(history) else int(time)
            for history, time in zip(self.pasts, self.times, strict=True)
        ]
        idle = np.maximum(self.times - np.array(last, np.int64), 0) / _DAY
        rows, weights = [history.rows for history in self.pasts], [history.weights for history in self.pasts]
        return UserBatch(rows, weights, self.times, idle=idle.astype(np.float32))


def cutoff_at(histories: Sequence[History], cut: int, end: int) -> Cutoff:
    """Cut all histories at the same second: what was before, and what came next up to an end."""
    edges = [np.searchsorted(history.timestamps, [cut, end]).tolist() for history in histories]
    before = [history[:start] for history, (start, _) in zip(histories, edges, strict=True)]
    after = [history[start:stop] for history, (start, stop) in zip(histories, edges, strict=True)]
    return Cutoff(before, after, np.full(len(histories), cut - 1, np.int64))


def rolling_cutoffs(histories: Sequence[History]) -> list[Cutoff]:
    """Cut all histories at the starts of windows that follow each other up to the end of the log; oldest first.

    A window is a fortnight, long enough that a visit has ended and its user returns. There are three to five of them,
    in the last 60 % of the time; of a log of less than 70 days three shorter ones. Each has what everybody had done
    before it, and what they did in it, new users included.

    Empty where that tells little: for a log without times, or where the windows have fewer than a hundred users.

    >>> days = np.arange(100) * 86_400 + 1_000_000_000
    >>> users = [History(f"u{n}", np.array([0, 1]), days[[n % 60, n]], np.ones(2, np.float32)) for n in range(100)]
    >>> [len(cutoff.asking(new=True).pasts) for cutoff in rolling_cutoffs(users * 3)]
    [42, 42, 42, 42]
    """
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    if not len(times) or times.max() <= EARLIEST:
        return []
    end, span = int(times.max()) + 1, WINDOWS_SHARE * float(np.ptp(times))
    length = min(MAX_DAYS * _DAY, span / MIN_WINDOWS)
    windows = max(MIN_WINDOWS, min(MAX_WINDOWS, int(span // max(length, 1))))
    starts = [end - round(length * left) for left in range(windows, 0, -1)]
    cutoffs = [cutoff_at(histories, *window) for window in pairwise([*starts, end])]
    return cutoffs if sum(len(cutoff.asking(new=True).pasts) for cutoff in cutoffs) >= ENOUGH else []
