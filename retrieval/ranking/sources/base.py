"""The protocol of candidate sources, their queries, and the log that a source was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import ShapeError
from retrieval.candidates import Candidates
from retrieval.interactions.context import Context
from retrieval.interactions.histories import History
from retrieval.interactions.user_profiles import Profiles
from retrieval.models.item_space import ItemSpace, QueryParts
from retrieval.models.profile_model import ProfileModel
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class UserBatch:
    """A batch of users to recommend to.

    Attributes:
        histories: B arrays of item rows, oldest first.
        weights: For each history the weight of each item.
        times: (B,) int64, the time of each request, in seconds since 1970.
        new: (B, R) float32, the behaviour query of each user without a history; that of popularity when None.
        idle: (B,) float32, days since the last interaction; None while the visit continues.
        context: Of each request; None where nothing is known of it.
    """

    histories: Sequence[Rows]
    weights: Sequence[Vectors]
    times: NDArray[np.int64]
    new: Vectors | None = None
    idle: Vectors | None = None
    context: Context | None = None
    _queries: dict[ItemSpace, QueryParts] = field(init=False, repr=False, default_factory=dict)
    _liked: dict[UserModel, "UserBatch"] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        if list(map(len, self.weights)) != list(map(len, self.histories)) or len(self.times) != len(self.histories):
            raise ShapeError(
                "weights, times and histories differ in length; give one weight for each row of each history, and "
                "one time for each history"
            )

    def __len__(self) -> int:
        return len(self.histories)

    def __getitem__(self, rows: slice) -> "UserBatch":
        if rows.indices(len(self)) == (0, len(self), 1):  # all of them, with the queries computed until now
            return self
        new, idle = (None if array is None else array[rows] for array in (self.new, self.idle))
        context = None if self.context is None else self.context[rows]
        return UserBatch(self.histories[rows], self.weights[rows], self.times[rows], new, idle, context)

    def query_parts(self, space: ItemSpace) -> QueryParts:
        """Give `ItemSpace.query_parts` of these users, computed once for all sources of a space."""
        if space not in self._queries:
            queried = space if self.idle is None else space.for_returning
            self._queries[space] = queried.query_parts(self.histories, self.weights, self.new)
        return self._queries[space]

    @classmethod
    def after(cls, histories: Sequence[History]) -> "UserBatch":
        """Put each request at the time of the last interaction."""
        times = [int(history.timestamps[-1]) if len(history) else 0 for history in histories]
        return cls(
            [history.rows for history in histories],
            [history.weights for history in histories],
            np.array(times, np.int64),
        )

    @classmethod
    def visiting(cls, histories: Sequence[History], now: int) -> "UserBatch":
        """Put all requests at one time, in the visit of the last interaction."""
        times = np.full(len(histories), now, np.int64)
        return cls([history.rows for history in histories], [history.weights for history in histories], times)

    @classmethod
    def of(cls, candidates: Candidates, default_weight: float, now: int) -> "UserBatch":
        """Give the users whom candidates were made for.

        Args:
            candidates: Candidates for histories.
            default_weight: Weight of the items where there are no weights.
            now: Time of the requests where there are no times.
        """
        weights = candidates.weights or tuple(
            np.full(len(rows), default_weight, np.float32) for rows in candidates.histories
        )
        times = np.full(len(candidates), now, np.int64) if candidates.times is None else candidates.times
        return cls(candidates.histories, weights, times, candidates.new, candidates.idle, candidates.context)

    def liking(self, users: UserModel | None) -> "UserBatch":
        """Keep the liked items of each user, with their interaction weights; whenever asked for, the same batch."""
        if users is None:
            return self
        if users not in self._liked:
            histories, weights = users.liked_items(self.histories, self.weights)
            self._liked[users] = replace(self, histories=histories, weights=weights or [])
        return self._liked[users]

    def with_profiles(
        self, taste: ProfileModel | None, profiles: Profiles | None, user_ids: Sequence[str]
    ) -> "UserBatch":
        """Add the queries of the users' profiles, if there are profiles and a model of them."""
        if taste is None or profiles is None:
            return self
        return replace(self, new=taste.queries(taste.table(profiles.of(user_ids))))


class TrainingLog(NamedTuple):
    """The interactions that a source was trained on, by user and item.

    Attributes:
        users: User ids, each once.
        pairs: Ascending int64, ``number of the user * N + row``.
        items: N.
    """

    users: tuple[str, ...]
    pairs: NDArray[np.int64]
    items: int

    @classmethod
    def of(cls, histories: Sequence[History], count: int) -> "TrainingLog":
        """Record the interactions of histories."""
        users = tuple(history.user_id for history in histories)
        pairs = [number * count + history.rows for number, history in enumerate(histories)]
        return cls(users, np.sort(np.concatenate([np.empty(0, np.int64), *pairs])), count)

    def holds(self, histories: Sequence[History]) -> list[tuple[str, int]]:
        """Give the (user id, row) of the interactions of some histories that were trained on."""
        numbers = {user: number for number, user in enumerate(self.users)}
        pairs_found = []
        for history in histories:
            if len(self.pairs) and history.user_id in numbers:
                pairs = numbers[history.user_id] * self.items + history.rows
                positions = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
                pairs_found += [(history.user_id, row) for row in history.rows[self.pairs[positions] == pairs].tolist()]
        return pairs_found


class Source(Protocol):
    """Scores all items for a history."""

    @property
    def name(self) -> str:
        """Prefix of its features' names."""
        ...

    @property
    def training_log(self) -> TrainingLog | None:
        """What it was trained on; None where that is no longer known, as of a stored source."""
        ...

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, higher is better; NaN for items that it does not know.

        Args:
            batch: B users.
            rows: (B, K) int64, from 0 to N - 1: only these are scored, (B, K) float32.
        """
        ...

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Source":
        """Give the source for other rows.

        Args:
            origins: (M,) int64, for each new row the old row of the same item, or -1 for a new item.
            keep: (N + M,) bool, the rows to keep.
        """
        ...

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give its arrays by their names in files."""
        ...


def renumber_rows(origins: Rows, keep: NDArray[np.bool_]) -> tuple[Rows, Rows]:
    """Map old rows to new ones, and new ones to old, when rows are added and removed.

    Returns:
        (N,) int64, the new row of each old one, that of its successor for an item that was replaced, -1 for one that is
        gone; and for each new row the old one, or -1.
    """
    count = len(keep) - len(origins)
    old_rows = np.concatenate([np.arange(count), origins])[keep]
    new_rows = np.full(len(keep), -1, np.int64)
    new_rows[keep] = np.arange(int(keep.sum()))
    successors = new_rows[:count].copy()
    carried = np.flatnonzero(old_rows >= 0)
    successors[old_rows[carried]] = carried
    return successors, old_rows
