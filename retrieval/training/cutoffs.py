"""Cutoffs in time: the history of each user before one, and the interactions after it as targets."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.interactions.cleaning.config import EARLIEST
from retrieval.interactions.context import Context, joined_context
from retrieval.interactions.histories import History
from retrieval.ranking.sources import UserBatch

MAX_DAYS, MIN_WINDOWS, MAX_WINDOWS = 14.0, 3, 5  # length of a window, and number of windows
WINDOWS_FRACTION = 0.6  # of the time of a log that the windows cover at most
MIN_WINDOW_USERS = 100  # of all windows together
OUTLIER_QUANTILE = 0.999  # of the interactions
MAX_CONTEXTS = 3  # of a user, the first ones, of which each is a query


class Cutoff(NamedTuple):
    """B users with their histories before a cutoff, their interactions after it, and the times of their queries.

    Attributes:
        histories: B histories that end before the cutoff.
        targets: B histories that start at it.
        times: (B,) int64, time of each query in seconds since 1970.
        visiting: Whether each query belongs to the visit of the last interaction. Such a query is answered as of now,
            after all interactions that the sources were learned from, as in serving.
    """

    histories: list[History]
    targets: list[History]
    times: NDArray[np.int64]
    visiting: bool = False

    @classmethod
    def between(cls, histories: list[History], targets: list[History]) -> "Cutoff":
        """Put each query right after the last item of its history; without one, right before the first target."""
        times = UserBatch.after(histories).times
        for row, (history, following) in enumerate(zip(histories, targets, strict=True)):
            if not len(history) and len(following):
                times[row] = following.timestamps[0] - 1
        return cls(histories, targets, times, visiting=True)

    def active(self, *, new: bool = False) -> "Cutoff":
        """Give the users with targets and a history; with ``new`` also those without a history."""
        rows = [
            row
            for row, (history, following) in enumerate(zip(self.histories, self.targets, strict=True))
            if len(following) and (new or len(history))
        ]
        return self.take(rows)

    @property
    def new(self) -> Mask:
        """(B,) bool: users without a history."""
        return np.array([not len(history) for history in self.histories], np.bool_)

    def take(self, rows: Sequence[int]) -> "Cutoff":
        """Give the users of these rows."""
        histories, targets = [self.histories[row] for row in rows], [self.targets[row] for row in rows]
        return Cutoff(histories, targets, self.times[list(rows)], self.visiting)

    @property
    def context(self) -> Context | None:
        """The context of each query: that of its first target; None where no target has one."""
        return joined_context([(one[:1].context if len(one) else None, 1) for one in self.targets])

    def by_context(self) -> tuple["Cutoff", list[int]]:
        """Make a query of each context of a user's targets, the first three, with the targets of that context.

        Returns:
            The queries, and for each the position of its user.
        """
        parts = [(row, part) for row, one in enumerate(self.targets) for part in _contexts_of(one)[:MAX_CONTEXTS]]
        rows = [row for row, _ in parts]
        return self.take(rows)._replace(targets=[part for _, part in parts]), rows

    def in_first_context(self, min_relevance: float) -> "Cutoff":
        """Keep of each user's targets those in the context of the first that was liked."""
        targets = []
        for one in self.targets:
            parts = _contexts_of(one)
            targets.append(next((part for part in parts if len(part.liked(min_relevance))), one))
        return self._replace(targets=targets)

    def user_batch(self, now: int) -> UserBatch:
        """Give the users as a batch of queries, for sources that were learned up to ``now``, in seconds since 1970."""
        if self.visiting:
            return replace(UserBatch.visiting(self.histories, now), context=self.context)
        last = [
            int(history.timestamps[-1]) if len(history) else int(time)
            for history, time in zip(self.histories, self.times, strict=True)
        ]
        idle = np.maximum(self.times - np.array(last, np.int64), 0) / SECONDS_PER_DAY
        rows, weights = [history.rows for history in self.histories], [history.weights for history in self.histories]
        return UserBatch(rows, weights, self.times, idle=idle.astype(np.float32), context=self.context)


def _contexts_of(history: History) -> list[History]:
    """Split a history by the context of its interactions, in the order of their first; whole where it has none."""
    if history.context is None or not len(history):
        return [history]
    _, first, group = np.unique(history.context.codes, axis=0, return_index=True, return_inverse=True)
    return [history.at(np.flatnonzero(group.ravel() == number)) for number in np.argsort(first).tolist()]


def cutoff_at(histories: Sequence[History], cut: int, end: int) -> Cutoff:
    """Split all histories at the same second: earlier interactions, and later ones before ``end``."""
    edges = [np.searchsorted(history.timestamps, [cut, end]).tolist() for history in histories]
    before = [history[:start] for history, (start, _) in zip(histories, edges, strict=True)]
    after = [history[start:stop] for history, (start, stop) in zip(histories, edges, strict=True)]
    return Cutoff(before, after, np.full(len(histories), cut - 1, np.int64))


def rolling_cutoffs(histories: Sequence[History]) -> list[Cutoff]:
    """Split all histories at the starts of consecutive windows that end with the log; oldest first.

    A window is 14 days long, so that a visit has ended and its user returns. There are three to five windows, in the
    last 60 % of the time; a log of less than 70 days has three shorter ones. Each cutoff has the histories of all users
    before its window, and their interactions in it, new users included.

    Where the windows have fewer than 100 users together, they end with the first 99.9 % of the interactions: a single
    one, years later than all others, is in no window. The list is empty where these are too few too, and for a log
    without times.

    >>> days = np.arange(100) * 86_400 + 1_000_000_000
    >>> users = [History(f"u{n}", np.array([0, 1]), days[[n % 60, n]], np.ones(2, np.float32)) for n in range(100)]
    >>> [len(cutoff.active(new=True).histories) for cutoff in rolling_cutoffs(users * 3)]
    [42, 42, 42, 42]
    """
    times = np.concatenate([np.empty(0, np.int64), *(history.timestamps for history in histories)])
    if not len(times) or times.max() <= EARLIEST:
        return []
    for end in (int(times.max()), int(np.quantile(times, OUTLIER_QUANTILE, method="lower"))):
        span = WINDOWS_FRACTION * (end - int(times.min()))
        length = min(MAX_DAYS * SECONDS_PER_DAY, span / MIN_WINDOWS)
        windows = max(MIN_WINDOWS, min(MAX_WINDOWS, int(span // max(length, 1))))
        edges = [end + 1 - round(length * left) for left in range(windows, -1, -1)]
        cutoffs = [cutoff_at(histories, *window) for window in pairwise(edges)]
        if sum(len(cutoff.active(new=True).histories) for cutoff in cutoffs) >= MIN_WINDOW_USERS:
            return cutoffs
    return []
