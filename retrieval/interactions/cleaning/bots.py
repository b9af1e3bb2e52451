"""Users who are none: too fast, of one item only, or copies of each other."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.interactions.cleaning.config import BotLimits


@dataclass(frozen=True, eq=False)
class CodedLog:
    """N interactions in time order.

    Attributes:
        positions: (N,) int64, their rows in the log that was handed in.
        users: (N,) int64, positions in ``user_ids``.
        items: (N,) int64, positions in ``item_ids``.
        times: (N,) int64, seconds since 1970 (UTC).
        weights: (N,) float32.
        user_ids: Of all users of the log that was handed in.
        item_ids: Of all its items.
    """

    positions: Rows
    users: Rows
    items: Rows
    times: NDArray[np.int64]
    weights: Vectors
    user_ids: list[str]
    item_ids: list[str]

    @classmethod
    def of(cls, table: pa.Table) -> "CodedLog":
        """Number the users and items of a table of interactions, in the order in which they appear."""
        users, items = (table[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
        return cls(
            np.arange(len(table)),
            users.indices.to_numpy().astype(np.int64),
            items.indices.to_numpy().astype(np.int64),
            table["timestamp"].to_numpy(),
            table["weight"].to_numpy(),
            users.dictionary.to_pylist(),
            items.dictionary.to_pylist(),
        )

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def pairs(self) -> Rows:
        """(N,) int64, one number for each user and item."""
        pairs: Rows = self.users * max(len(self.item_ids), 1) + self.items
        return pairs

    def where(self, kept: Mask) -> "CodedLog":
        """Keep some interactions; users and items keep their numbers."""
        columns = ("positions", "users", "items", "times", "weights")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def once(self) -> tuple[Rows, Rows]:
        """Give users and items of all different pairs, sorted by user: two (P,) int64."""
        users, items = np.divmod(np.unique(self.pairs), max(len(self.item_ids), 1))
        return users, items

    def users_of_items(self) -> Rows:
        """Count the different users of each item: (items,) int64."""
        counts: Rows = np.bincount(self.once()[1], minlength=len(self.item_ids))
        return counts


# Groups that a history is compared with for one of its items: a bound on time, not on what a shop will meet.
_MOST_COMPARED = 64


def too_fast(log: CodedLog, limits: BotLimits) -> Mask:
    """Say which interactions are of users beyond the limits an hour or a day: (N,) bool."""
    order = np.argsort(log.users, kind="stable")
    users, times = log.users[order], log.times[order]
    is_bot = np.zeros(len(log.user_ids), np.bool_)
    for seconds, most in ((3600, limits.per_hour), (SECONDS_PER_DAY, limits.per_day)):
        first, beyond = slice(0, max(len(log) - most, 0)), slice(most, None)
        fast = (users[first] == users[beyond]) & (times[beyond] - times[first] < seconds)
        is_bot[users[first][fast]] = True
    return is_bot[log.users]


def of_one_item(log: CodedLog, limits: BotLimits) -> Mask:
    """Say which interactions are of users who did much, and all of it with one item: (N,) bool."""
    many = np.bincount(log.users, minlength=len(log.user_ids)) >= limits.of_one_item
    different = np.bincount(log.once()[0], minlength=len(log.user_ids))
    out: Mask = (many & (different == 1))[log.users]
    return out


def copied(log: CodedLog, limits: BotLimits) -> Mask:
    """Say which interactions are of users whose histories are nearly those of several others: (N,) bool.

    Two sets that share a part ``alike`` of their union share one of the first ``n - ceil(alike * n) + 1`` items of
    each, in any fixed order; here the rarest come first. So only users who share such an item are compared, each with
    the first of every group that was found before.
    """
    groups: list[list[int]] = []
    found: dict[int, list[tuple[int, frozenset[int]]]] = {}  # by rare item: the groups, with the first one's items
    for user, items in _histories(log, limits):
        mine = frozenset(items)
        rare = items[: len(items) - math.ceil(limits.alike * len(items)) + 1]
        near = (found.get(item, ())[:_MOST_COMPARED] for item in rare)
        match = next((g for of_item in near for g, other in of_item if _alike(mine, other) >= limits.alike), None)
        if match is not None:
            groups[match].append(user)
            continue
        for item in rare:
            found.setdefault(item, []).append((len(groups), mine))
        groups.append([user])
    is_copy = np.zeros(len(log.user_ids), np.bool_)
    for group in groups:
        if len(group) >= limits.copies:
            is_copy[group] = True
    return is_copy[log.users]


def _histories(log: CodedLog, limits: BotLimits) -> list[tuple[int, list[int]]]:
    """Users whose histories can be judged, each with the items from the rarest to the most common."""
    users, items = log.once()
    popularity = np.bincount(items, minlength=len(log.item_ids))
    order = np.lexsort((items, popularity[items], users))
    users, items = users[order], items[order]
    sizes: Rows = np.bincount(users, minlength=len(log.user_ids))
    ends = np.cumsum(sizes)
    judged = (sizes >= limits.copied_items) & (sizes * 20 <= np.count_nonzero(popularity))
    return [(user, items[ends[user] - sizes[user] : ends[user]].tolist()) for user in np.flatnonzero(judged).tolist()]


def _alike(one: frozenset[int], other: frozenset[int]) -> float:
    common = len(one & other)
    return common / (len(one) + len(other) - common)
