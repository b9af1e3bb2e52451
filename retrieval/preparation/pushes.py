"""Items that newcomers agree on as only those do who were told to."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.types import Mask, Rows
from retrieval.preparation.coded import DAY, CodedLog
from retrieval.preparation.config import PushLimits
from retrieval.preparation.report import Push

# Users of long standing count as if this many more of them behaved like everybody else: two say little.
_DOUBT = 10
_NAMED = 3

Shares = NDArray[np.float64]


class _Windows(NamedTuple):
    """A window for each newcomer's first touch of each item, by item and then in time, from that touch on.

    Attributes:
        rows: (T,) int64, the touches as rows of the log.
        counts: (T,) int64, touches of the item in the window; they follow each other in ``rows``.
        active: (T,) int64, newcomers at some time of the window, whatever they touched.
        shares: (2, T) float64, how many of the users outside the window touch the item: of those who were seen after
            its first touch, and of all.
    """

    rows: Rows
    counts: Rows
    active: Rows
    shares: Shares

    def at(self, window: int | Rows) -> "_Windows":
        """Give some windows."""
        chosen = np.atleast_1d(window)
        return _Windows(self.rows[chosen], self.counts[chosen], self.active[chosen], self.shares[:, chosen])


def pushed(log: CodedLog, limits: PushLimits) -> tuple[Mask, list[Push]]:
    """Find the newcomers who push an item, at most one window an item; call it again for others.

    Returns:
        (N,) bool, which interactions to leave out, and the groups.
    """
    young = log.times - _ends(log)[0][log.users] < limits.newcomer_days * DAY
    windows = _windows(log, young, limits)
    least = max(limits.least_users, limits.least_share * len(np.unique(log.users)))
    suspect = np.flatnonzero((windows.counts >= least) & (_expected(windows, limits) < np.inf))
    worst = _surprise(windows.at(suspect))[0]
    out, groups, done = np.zeros(len(log), np.bool_), [], set()
    for window in suspect[np.argsort(-worst, kind="stable")].tolist():
        row = int(windows.rows[window])
        if int(log.items[row]) in done:
            continue
        expected = float(_expected(_like_old(log, young, windows.at(window), limits), limits)[0])
        if expected == np.inf:
            continue
        done.add(int(log.items[row]))
        rows = windows.rows[window : window + windows.counts[window]]
        group = np.isin(log.users, log.users[rows])
        out |= group if limits.drop == "users" else group & (log.items == log.items[row])
        names = tuple(log.user_ids[user] for user in log.users[rows[:_NAMED]].tolist())
        groups.append(Push(log.item_ids[log.items[row]], len(rows), round(expected, 2), int(log.times[row]), names))
    return out, groups


def _ends(log: CodedLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When each user was first and last seen; beyond and before all times for users who are gone."""
    far = np.iinfo(np.int64).max // 2
    first, last = np.full(len(log.user_ids), far), np.full(len(log.user_ids), -far)
    np.minimum.at(first, log.users, log.times)
    np.maximum.at(last, log.users, log.times)
    return first, last


def _windows(log: CodedLog, young: Mask, limits: PushLimits) -> _Windows:
    rows = np.flatnonzero(young)
    rows = rows[np.unique(log.pairs[rows], return_index=True)[1]]
    rows = rows[np.lexsort((rows, log.items[rows]))]
    length, newcomer = int(limits.window_days * DAY), int(limits.newcomer_days * DAY)
    times, items = log.times[rows], log.items[rows]
    # Items one after the other on one axis, further apart than any window reaches.
    axis = items * (int(np.ptp(log.times)) + length + 1) + (times - log.times[0])
    counts = np.searchsorted(axis, axis + length, side="right") - np.arange(len(rows))
    first, last = map(np.sort, _ends(log))
    active = np.searchsorted(first, times + length, "right") - np.searchsorted(first, times - newcomer, "right")
    outside = log.users_of_items()[items] - counts
    appeared = np.zeros(len(log.item_ids), np.int64)
    touched, at = np.unique(log.items, return_index=True)  # in time order, the first is the earliest
    appeared[touched] = log.times[at]
    there = len(last) - np.searchsorted(last, appeared[items])
    everybody = len(np.unique(log.users))
    others = np.maximum(np.stack([there - active, np.full(len(rows), everybody) - active]), 0)
    return _Windows(rows, counts, active, np.minimum((outside + 1) / (others + 2), 1.0))


def _expected(windows: _Windows, limits: PushLimits) -> Shares:
    """Give how many touches were expected, by the first of the two shares that shows a push; inf where none does."""
    lifts = np.array([[limits.lift], [limits.lift_of_new]])
    expected = windows.active * windows.shares
    shown = (windows.counts >= lifts * expected) & (_surprise(windows) >= limits.surprise)
    told: Shares = np.where(shown[0], expected[0], np.where(shown[1], expected[1], np.inf))
    return told


def _surprise(windows: _Windows) -> Shares:
    """Chernoff's bound: a Poisson number of such a mean is so large with a chance of exp(-surprise) at most."""
    counts, expected = windows.counts, windows.active * windows.shares
    ratio = np.maximum(counts / expected, 1.0)
    surprise: Shares = np.where(ratio > 1, counts * np.log(ratio) - counts + expected, 0.0)
    return surprise


def _like_old(log: CodedLog, young: Mask, window: _Windows, limits: PushLimits) -> _Windows:
    """Raise the shares of one window to that of the users of long standing who touch the item while it is open."""
    row = window.rows[0]
    part = slice(*np.searchsorted(log.times, [log.times[row], log.times[row] + int(limits.window_days * DAY) + 1]))
    old = ~young[part]
    there = len(np.unique(log.users[part][old]))
    touched = len(np.unique(log.users[part][old & (log.items[part] == log.items[row])]))
    return window._replace(shares=np.maximum(window.shares, (touched + _DOUBT * window.shares) / (there + _DOUBT)))
