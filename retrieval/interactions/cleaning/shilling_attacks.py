"""Detection of push attacks: items that newcomers agree on as only paid or fake users do."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.interactions.cleaning.bots import CodedLog
from retrieval.interactions.cleaning.config import PushLimits
from retrieval.interactions.cleaning.report import Push

# Users of long standing count as if this many more of them behaved like everybody else: two say little.
_DOUBT = 10
_NAMED = 3

Shares = NDArray[np.float64]


class _Windows(NamedTuple):
    """A window for each newcomer's first touch of each item, by item and then in time, from that touch on.

    Attributes:
        rows: (T,) int64, the touches as rows of the log.
        counts: (T,) int64, touches of the item in the window; they follow each other in ``rows``.
        active: (T,) int64, newcomers who were there while it was open, whatever they touched.
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


def pushed(log: CodedLog, limits: PushLimits, days: float) -> tuple[Mask, list[Push]]:
    """Find the newcomers who push an item within so many days, at most one window an item; call it again for others.

    Returns:
        (N,) bool, which interactions to leave out, and the groups.
    """
    young = log.times - _ends(log)[0][log.users] < limits.newcomer_days * SECONDS_PER_DAY
    length = int(days * SECONDS_PER_DAY)
    windows = _windows(log, young, length)
    doubt = max(math.log(len(windows.rows) / limits.false_alarms), 0.0)
    min_count = max(limits.min_users, limits.min_share * len(np.unique(log.users)))
    suspect = np.flatnonzero((windows.counts >= min_count) & (_expected(windows, limits, doubt) < np.inf))
    worst = _surprise(windows.at(suspect))[0]
    out, groups, done = np.zeros(len(log), np.bool_), [], set()
    for window in suspect[np.argsort(-worst, kind="stable")].tolist():
        row = int(windows.rows[window])
        if int(log.items[row]) in done:
            continue
        expected = float(_expected(_like_old(log, young, windows.at(window), length), limits, doubt)[0])
        if expected == np.inf:
            continue
        done.add(int(log.items[row]))
        users = log.users[windows.rows[window : window + windows.counts[window]]]
        if limits.drop == "users":
            out |= np.isin(log.users, users)
        else:
            genuine = _genuine(len(users), int(windows.active[window]), expected)
            too_many = np.isin(log.users, _shortest_first(log, users)[: len(users) - genuine])
            out |= too_many & (log.items == log.items[row])
        names = tuple(log.user_ids[user] for user in users[:_NAMED].tolist())
        groups.append(Push(log.item_ids[log.items[row]], len(users), round(expected, 2), int(log.times[row]), names))
    return out, groups


def _genuine(users: int, active: int, expected: float) -> int:
    """Guess how many of a group are no fakes: as many as the newcomers outside it lead to expect.

    With g of them genuine, ``g = share * (active - users + g)``.

    >>> _genuine(users=50, active=70, expected=14.0)  # a fifth of 20 + 5
    5
    """
    share = min(expected / active, 0.99)
    return min(round(share * (active - users) / (1 - share)), users)


def _shortest_first(log: CodedLog, users: Rows) -> Rows:
    """Order users by how long they were seen: who comes and goes within minutes is the first to be doubted."""
    first, last = _ends(log)
    order: Rows = users[np.lexsort((users, (last - first)[users]))]
    return order


def _ends(log: CodedLog) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When each user was first and last seen: two of (users,) int64; without meaning for users who are gone."""
    far = np.iinfo(np.int64).max // 2
    first, last = np.full(len(log.user_ids), far), np.full(len(log.user_ids), -far)
    np.minimum.at(first, log.users, log.times)
    np.maximum.at(last, log.users, log.times)
    return first, last


def _windows(log: CodedLog, young: Mask, length: int) -> _Windows:
    rows = np.flatnonzero(young)
    rows = rows[np.unique(log.pairs[rows], return_index=True)[1]]
    rows = rows[np.lexsort((rows, log.items[rows]))]
    times, items = log.times[rows], log.items[rows]
    # Items one after the other on one axis, further apart than any window reaches.
    axis = items * (int(np.ptp(log.times)) + length + 1) + (times - log.times[0])
    counts = np.searchsorted(axis, axis + length, side="right") - np.arange(len(rows))
    here = np.unique(log.users)  # each of them was a newcomer once
    first, last = (np.sort(ends[here]) for ends in _ends(log))
    gone = np.sort(_ends(log.where(young))[1][here])  # when each was last seen as one
    active = np.searchsorted(first, times + length, "right") - np.searchsorted(gone, times, "left")
    outside = log.users_of_items()[items] - counts
    appeared = np.zeros(len(log.item_ids), np.int64)
    touched, at = np.unique(log.items, return_index=True)  # in time order, the first is the earliest
    appeared[touched] = log.times[at]
    there = len(last) - np.searchsorted(last, appeared[items])
    others = np.maximum(np.stack([there, np.full(len(rows), len(here))]) - active, 0)
    return _Windows(rows, counts, active, np.minimum((outside + 1) / (others + 2), 1.0))


def _expected(windows: _Windows, limits: PushLimits, doubt: float) -> Shares:
    """Give how many touches were expected, by the first of the two shares that shows a push; inf where none does."""
    lifts = np.array([[limits.lift], [limits.lift_of_new]])
    expected = windows.active * windows.shares
    shown = (windows.counts >= lifts * expected) & (_surprise(windows) >= doubt)
    shares: Shares = np.where(shown[0], expected[0], np.where(shown[1], expected[1], np.inf))
    return shares


def _surprise(windows: _Windows) -> Shares:
    """Chernoff's bound: a Poisson number of such a mean is so large with a chance of exp(-surprise) at most.

    The touch that opens a window is no surprise in it.
    """
    counts, expected = windows.counts - 1, windows.active * windows.shares
    ratio = np.maximum(counts / expected, 1.0)
    surprise: Shares = np.where(counts > expected, counts * np.log(ratio) - counts + expected, 0.0)
    return surprise


def _like_old(log: CodedLog, young: Mask, window: _Windows, length: int) -> _Windows:
    """Raise the shares of one window to that of the users of long standing who touch the item while it is open."""
    row = window.rows[0]
    part = slice(*np.searchsorted(log.times, [log.times[row], log.times[row] + length + 1]))
    old = ~young[part]
    there = len(np.unique(log.users[part][old]))
    touched = len(np.unique(log.users[part][old & (log.items[part] == log.items[row])]))
    return window._replace(shares=np.maximum(window.shares, (touched + _DOUBT * window.shares) / (there + _DOUBT)))
