"""What every source of candidates does, and the book it keeps of what it has learned from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import ShapeError
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.item_space import ItemSpace, QueryParts
from retrieval.models.profile_model import ProfileModel
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class UserBatch:
    """Users who ask.

    Attributes:
        histories: B arrays of rows, oldest first.
        weights: For each how much each of its items was liked.
        times: (B,) int64, when each asks, in seconds since 1970.
        new: (B, R) float32, what each would ask behaviour with, had they done nothing; for what is popular when None.
        idle: (B,) float32, days since the last that each did; none, for a visit goes on, when None.
    """

    histories: Sequence[Rows]
    weights: Sequence[Vectors]
    times: NDArray[np.int64]
    new: Vectors | None = None
    idle: Vectors | None = None
    _queries: dict[ItemSpace, QueryParts] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if list(map(len, self.weights)) != list(map(len, self.histories)) or len(self.times) != len(self.histories):
            raise ShapeError(
                "weights, times and histories differ in length; give one weight for each row of each history, and "
                "one time for each history"
            )

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, part: slice) -> "UserBatch":
        new, idle = (None if one is None else one[part] for one in (self.new, self.idle))
        return UserBatch(self.histories[part], self.weights[part], self.times[part], new, idle)

    def of_space(self, space: ItemSpace) -> QueryParts:
        """Give what `ItemSpace.asked_apart` does; all sources of one space ask alike, so once is enough."""
        if space not in self._queries:
            asked = space if self.idle is None else space.for_returning
            self._queries[space] = asked.asked_apart(self.histories, self.weights, self.new)
        return self._queries[space]

    @classmethod
    def after(cls, pasts: Sequence[History]) -> "UserBatch":
        """Ask just after the last of what each user did."""
        times = [int(past.timestamps[-1]) if len(past) else 0 for past in pasts]
        return cls([past.rows for past in pasts], [past.weights for past in pasts], np.array(times, np.int64))

    @classmethod
    def visiting(cls, pasts: Sequence[History], now: int) -> "UserBatch":
        """Ask at one time, in the visit in which each did the last."""
        times = np.full(len(pasts), now, np.int64)
        return cls([past.rows for past in pasts], [past.weights for past in pasts], times)

    @classmethod
    def of(cls, candidates: Candidates, usual: float, now: int) -> "UserBatch":
        """Ask what candidates were made for.

        Args:
            candidates: Made of histories.
            usual: Weight of what has none.
            now: When those ask that do not say.
        """
        weights = candidates.weights or tuple(np.full(len(rows), usual, np.float32) for rows in candidates.histories)
        times = np.full(len(candidates), now, np.int64) if candidates.times is None else candidates.times
        return cls(candidates.histories, weights, times, candidates.new, candidates.idle)

    def liking(self, users: UserModel | None) -> "UserBatch":
        """Give what each liked, with how much each counts in place of its weight."""
        if users is None:
            return self
        histories, weights = users.liked_of(self.histories, self.weights)
        return replace(self, histories=histories, weights=weights or [])

    def knowing(self, taste: ProfileModel | None, profiles: Profiles | None, user_ids: Sequence[str]) -> "UserBatch":
        """Let each, by name, ask with their profile, if there are profiles and what reads them."""
        if taste is None or profiles is None:
            return self
        return replace(self, new=taste.queries(taste.table(profiles.of(user_ids))))


class TrainingLog(NamedTuple):
    """What was learned from: which interactions, told apart by user and item.

    Attributes:
        users: Names of users, each once.
        pairs: Rising int64, ``place of the user * N + row``.
        items: N.
    """

    users: tuple[str, ...]
    pairs: NDArray[np.int64]
    items: int

    @classmethod
    def of(cls, pasts: Sequence[History], count: int) -> "TrainingLog":
        """Enter all that users did."""
        users = tuple(past.user_id for past in pasts)
        pairs = [place * count + past.rows for place, past in enumerate(pasts)]
        return cls(users, np.sort(np.concatenate([np.empty(0, np.int64), *pairs])), count)

    def holds(self, wanted: Sequence[History]) -> list[tuple[str, int]]:
        """Give the (user, row) of what users did that was learned from."""
        place = {user: number for number, user in enumerate(self.users)}
        found = []
        for history in wanted:
            if len(self.pairs) and history.user_id in place:
                pairs = place[history.user_id] * self.items + history.rows
                nearest = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
                found += [(history.user_id, row) for row in history.rows[self.pairs[nearest] == pairs].tolist()]
        return found


class Source(Protocol):
    """Says of every item how well it suits a history."""

    @property
    def name(self) -> str:
        """What its features are called."""
        ...

    @property
    def book(self) -> TrainingLog | None:
        """What it was learned from; None where that is no longer known, as of one that was stored."""
        ...

    def scores(self, asked: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, higher is better; NaN for items that it does not know.

        Args:
            asked: B users.
            rows: (B, K) int64, from 0 to N - 1: only these are wanted, (B, K) float32.
        """
        ...

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "Source":
        """Give the source for other rows.

        Args:
            origins: (M,) int64, for each row after those it knows the one that had the same item before, or -1: then
                nothing is known of it.
            kept: (N + M,) bool, the rows to keep.
        """
        ...

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what it is made of, for a file."""
        ...


def renumbered(origins: Rows, kept: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Say where rows go and come from when some are added and some taken away.

    Returns:
        (N + M,) int64, the new row of each old one, -1 where it is gone, an old item's being that of its successor; and
        for each new row the one of the first N that it was, or -1.
    """
    count = len(kept) - len(origins)
    came = np.concatenate([np.arange(count), origins])[kept]
    places = np.full(len(kept), -1, np.int64)
    places[kept] = np.arange(int(kept.sum()))
    back = places[:count].copy()
    live = np.flatnonzero(came >= 0)
    back[came[live]] = live
    return back, came
