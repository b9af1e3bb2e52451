"""Split a log into a past for training and a future for testing.

| split | guarantee |
|---|---|
| `at_time`, `rolling_windows` | all of the past is before the cut, all of the future at or after it |
| `by_user`, `leave_last_out` | each user's past is not later than the same user's future |
| `cold_items`, `cold_users` | no item, or no user, is in both parts; no guarantee about time |

Events that age, expire or are taken back (`retrieval.interactions.event_types`) count in each part by its own end: what
came later changes nothing of the past.

Only a cut in time is like production. In a split by user the past of one user may be later than the future of another,
so metrics are higher than they will be in production.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.arrays import Mask
from indexing.errors import InputError, examples
from retrieval.interactions.histories import hold_out_last
from retrieval.interactions.interactions import Interactions

_MAX_WINDOWS = 1000


@dataclass(frozen=True, eq=False)
class Split:
    """A log split in two.

    Attributes:
        name: Name of the split; windows have the form ``"window-03"``.
        past: Interactions for training and histories, oldest first.
        future: Interactions for testing, oldest first.
        cut: The first second of the future, if it is the same for all users; else None.
        in_time: Whether each user's past is before the same user's future.
        left_out: Number of interactions in neither part, by reason.
    """

    name: str
    past: Interactions
    future: Interactions
    cut: int | None = None
    in_time: bool = True
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def new_users(self) -> frozenset[str]:
        """Users of the future without a past; they have no history."""
        return self._only_in_future("user_id")

    @property
    def new_items(self) -> frozenset[str]:
        """Items of the future without past interactions."""
        return self._only_in_future("item_id")

    def query_id(self, user_id: str) -> str:
        """Return the id of a user's query, which is unique over windows: ``"ann@window-03"``."""
        return f"{user_id}@{self.name}"

    def to_json(self) -> dict[str, Any]:
        """Return counts of both parts."""
        past, future = (set(part.table["user_id"].to_pylist()) for part in (self.past, self.future))
        return {
            "name": self.name,
            "cut": self.cut,
            "past": len(self.past),
            "future": len(self.future),
            "left_out": dict(self.left_out),
            "users": {"past": len(past), "future": len(future), "new": len(future - past)},
            "new_items": len(self.new_items),
        }

    def __repr__(self) -> str:
        return f"<Split {self.name}: past {len(self.past)}, future {len(self.future)}, left out {self.left_out}>"

    def _only_in_future(self, column: str) -> frozenset[str]:
        before, after = (set(part.table[column].to_pylist()) for part in (self.past, self.future))
        return frozenset(after - before)


def by_user(interactions: Interactions, share: float = 0.1) -> Split:
    """Hold out the last ``ceil(share * n)`` of each user's n interactions; single ones are in the past.

    Raises:
        InputError: If the share is not between 0 and 1.

    >>> log = pa.table({"user": ["a", "a", "b"], "item": ["mug", "cup", "jar"], "time": [1, 9, 5]})
    >>> by_user(Interactions.from_arrow(log), share=0.5)
    <Split by_user: past 2, future 1, left out {}>
    """
    return Split("by_user", *hold_out_last(interactions, share))


def leave_last_out(interactions: Interactions) -> Split:
    """Hold out the last interaction of each user with at least two; ties in time go by the order of the log."""
    lengths = pc.value_counts(interactions.rows["user_id"]).field("counts")
    # A share so small that it rounds up to one interaction, also for the longest history.
    return Split("leave_last_out", *hold_out_last(interactions, 1 / (2 + (pc.max(lengths).as_py() or 0))))


def at_time(interactions: Interactions, cut: int | None = None, *, share: float | None = None) -> Split:
    """Cut the log at the same second for all users. Users without a past are kept; see ``Split.new_users``.

    Args:
        interactions: The log.
        cut: The first second of the future; or give ``share``.
        share: Minimum fraction of the log in the future; interactions of one second stay together.

    Raises:
        InputError: If not exactly one of the two is given, or a part is empty.

    >>> log = pa.table({"user": ["a", "b", "c", "c"], "item": ["mug"] * 4, "time": [1, 2, 2, 3]})
    >>> at_time(Interactions.from_arrow(log), share=0.5).cut
    2
    """
    times = interactions.rows["timestamp"].to_numpy()
    if (cut is None) == (share is None):
        raise InputError(f"a cut of {cut} and a share of {share}: give one of the two")
    if share is not None:
        if not 0 < share < 1:
            raise InputError(f"a share of {share} cannot be held out; give a number between 0 and 1")
        # 0.07 * 100 is slightly above 7 in floating point, and must not be rounded up to 8.
        cut = int(times[len(times) - int(np.ceil(share * len(times) - 1e-9))]) if len(times) else 0
    late = times >= cut
    if late.all() or not late.any():
        span = f"its times reach from {times[0]} to {times[-1]}" if len(times) else "it is empty"
        raise InputError(f"the log has nothing {'before' if late.all() else 'at and after'} second {cut}; {span}")
    return Split("at_time", interactions.part(~late), interactions.part(late), cut)


def rolling_windows(interactions: Interactions, windows: int, length: int) -> list[Split]:
    """Cut the log at several seconds; each future is the window of that length after its cut.

    The windows are consecutive, and the last ends with the log. Pooled over windows (see ``Split.query_id``) there are
    more queries than after a single cut. Interactions after a window are left out of its split.

    Args:
        interactions: The log.
        windows: Number of windows.
        length: Length of a window in seconds.

    Returns:
        One split per window, oldest first.

    Raises:
        InputError: If nothing is before the first window, or a window is empty.

    >>> log = pa.table({"user": ["a", "b", "a", "b"], "item": ["mug"] * 4, "time": [10, 21, 30, 35]})
    >>> for split in rolling_windows(Interactions.from_arrow(log), windows=2, length=8):
    ...     print(split)
    <Split window-1: past 1, future 1, left out {'after the window': 2}>
    <Split window-2: past 2, future 2, left out {}>
    """
    if not 1 <= windows <= _MAX_WINDOWS or length < 1:
        raise InputError(f"{windows} windows of {length} seconds; give 1 to {_MAX_WINDOWS} of one second and more")
    times = interactions.rows["timestamp"].to_numpy()
    end = int(times[-1]) + 1 if len(times) else 0
    edges = [end - (windows - number) * length for number in range(windows + 1)]
    offsets = np.searchsorted(times, edges).tolist()
    if not offsets[0]:
        raise InputError(f"nothing is before the first window at {edges[0]}; take fewer or shorter windows")
    if empty := [number for number in range(1, windows + 1) if offsets[number - 1] == offsets[number]]:
        raise InputError(f"{len(empty)} of {windows} windows are empty, e.g. {examples(empty)}; take longer ones")
    splits = []
    for number, (start, stop) in enumerate(pairwise(offsets), start=1):
        place = np.arange(len(times))
        past, future = interactions.part(place < start), interactions.part((place >= start) & (place < stop))
        left_out = {"after the window": len(times) - stop} if stop < len(times) else {}
        name = f"window-{number:0{len(str(windows))}d}"
        splits.append(Split(name, past, future, cut=edges[number - 1], left_out=left_out))
    return splits


def cold_items(interactions: Interactions, item_ids: Collection[str]) -> Split:
    """Hold out all interactions of some items.

    Raises:
        InputError: If one of the two parts would be empty.
    """
    return _cold("cold_items", interactions, "item_id", sorted(item_ids))


def cold_users(interactions: Interactions, share: float = 0.1, *, seed: int = 0) -> Split:
    """Hold out all interactions of ``round(share * n)`` of n users, at least one.

    The drawn users depend on the user_ids and the seed, not on the order of the log.

    Raises:
        InputError: If the share is not between 0 and 1, or there is only one user.
    """
    if not 0 < share < 1:
        raise InputError(f"a share of {share} cannot be held out; give a number between 0 and 1")
    user_ids = sorted(pc.unique(interactions.table["user_id"]).to_pylist())
    drawn = np.random.default_rng(seed).permutation(len(user_ids))[: max(1, round(share * len(user_ids)))]
    return _cold("cold_users", interactions, "user_id", [user_ids[number] for number in sorted(drawn)])


def _cold(name: str, interactions: Interactions, column: str, cold: list[str]) -> Split:
    is_cold = pc.is_in(interactions.table[column], value_set=pa.array(cold, pa.string())).to_numpy()
    if is_cold.all() or not is_cold.any():
        raise InputError(
            f"{int(is_cold.sum())} of {len(is_cold)} interactions are with {len(cold)} cold {column}s, "
            f"e.g. {examples(cold)}; both parts need some"
        )
    return Split(name, _where(interactions, ~is_cold), _where(interactions, is_cold), in_time=False)


def _where(interactions: Interactions, mask: Mask) -> Interactions:
    return replace(interactions, table=interactions.table.filter(pa.array(mask)))
