"""Moments of the past at which users ask: what they had done by then, and what they did next."""

from collections.abc import Container, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from retrieval.interactions.cleaning.config import EARLIEST
from retrieval.interactions.histories import History
from retrieval.ranking.sources import UserBatch

BEFORE = 0.85  # of all interactions come before the moment that all histories are cut at
_DAY = 86_400
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
    def between(cls, pasts: list[History], wanted: list[History]) -> "Cutoff":
        """Let each user ask just after the last of what they did; one who did nothing, just before what comes first."""
        times = UserBatch.after(pasts).times
        for line, (past, later) in enumerate(zip(pasts, wanted, strict=True)):
            if not len(past) and len(later):
                times[line] = later.timestamps[0] - 1
        return cls(pasts, wanted, times, visiting=True)

    def asking(self, *, new: bool = False) -> "Cutoff":
        """Give the users who did something afterwards, and before it too unless new ones are asked for."""
        lines = [
            line
            for line, (past, later) in enumerate(zip(self.pasts, self.wanted, strict=True))
            if len(later) and (new or len(past))
        ]
        return self.take(lines)

    def every_other(self, start: int) -> "Cutoff":
        """Give every other user, from the first or the second on."""
        return self.take(list(range(start, len(self.pasts), 2)))

    @property
    def new(self) -> Mask:
        """(B,) bool: who had done nothing."""
        return np.array([not len(past) for past in self.pasts], np.bool_)

    def among(self, users: Container[str]) -> "Cutoff":
        """Give some users, by name."""
        return self.take([line for line, past in enumerate(self.pasts) if past.user_id in users])

    def take(self, lines: Sequence[int]) -> "Cutoff":
        """Give some users, by place."""
        pasts, wanted = [self.pasts[line] for line in lines], [self.wanted[line] for line in lines]
        return Cutoff(pasts, wanted, self.times[list(lines)], self.visiting)

    def asked(self, now: int) -> UserBatch:
        """Give the users as sources take them that have learned up to now."""
        if self.visiting:
            return UserBatch.visiting(self.pasts, now)
        last = [
            int(past.timestamps[-1]) if len(past) else int(at) for past, at in zip(self.pasts, self.times, strict=True)
        ]
        idle = np.maximum(self.times - np.array(last, np.int64), 0) / _DAY
        rows, weights = [past.rows for past in self.pasts], [past.weights for past in self.pasts]
        return UserBatch(rows, weights, self.times, idle=idle.astype(np.float32))


def cutoff_at(pasts: Sequence[History], cut: int, end: int) -> Cutoff:
    """Cut all histories at the same second: what was before, and what came next up to an end."""
    edges = [np.searchsorted(past.timestamps, [cut, end]).tolist() for past in pasts]
    before = [past[:start] for past, (start, _) in zip(pasts, edges, strict=True)]
    after = [past[start:stop] for past, (start, stop) in zip(pasts, edges, strict=True)]
    return Cutoff(before, after, np.full(len(pasts), cut - 1, np.int64))


def global_cutoff(pasts: Sequence[History]) -> Cutoff | None:
    """Cut all histories at the moment after which 15 % of all interactions came; of everybody, whether they came back.

    None where that tells little: for a log without a clock, or where fewer than a hundred users did something then.
    """
    times = np.concatenate([np.empty(0, np.int64), *(past.timestamps for past in pasts)])
    if not len(times) or times.max() <= EARLIEST:
        return None
    found = cutoff_at(pasts, int(np.quantile(times, BEFORE)), int(times.max()) + 1)
    return found if len(found.asking(new=True).pasts) >= ENOUGH else None
