"""Moments of the past at which users ask: what they had done by then, and what they did next."""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.interactions.cleaning.config import EARLIEST
from retrieval.interactions.histories import History
from retrieval.ranking.sources import UserBatch

BEFORE = 0.85  # of all interactions come before the moment that all histories are cut at
ENOUGH = 100  # users who did something after it


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

    def every_other(self, start: int) -> "Cutoff":
        """Give every other user, from the first or the second on."""
        return self.take(list(range(start, len(self.pasts), 2)))

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
        idle = np.maximum(self.times - np.array(last, np.int64), 0) / SECONDS_PER_DAY
        rows, weights = [history.rows for history in self.pasts], [history.weights for history in self.pasts]
        return UserBatch(rows, weights, self.times, idle=idle.astype(np.float32))


def cutoff_at(histories: Sequence[History], cut: int, end: int) -> Cutoff:
    """Cut all histories at the same second: what was before, and what came next up to an end."""
    edges = [np.searchsorted(history.timestamps, [cut, end]).tolist() for history in histories]
    before = [history[:start] for history, (start, _) in zip(histories, edges, strict=True)]
    after = [history[start:stop] for history, (start, stop) in zip(histories, edges, strict=True)]
    return Cutoff(before, after, np.full(len(histories), cut - 1, np.int64))


def global_cutoff(histories: Sequence[History]) -> Cutoff | None:
    """Cut all histories at the moment after which 15 % of all interactions came; of everybody, whether they came back.

    None where that tells little: for a log without a clock, or where fewer than a hundred users did something then.
    """
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    if not len(times) or times.max() <= EARLIEST:
        return None
    cutoff = cutoff_at(histories, int(np.quantile(times, BEFORE)), int(times.max()) + 1)
    return cutoff if len(cutoff.asking(new=True).pasts) >= ENOUGH else None
