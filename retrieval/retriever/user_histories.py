"""Whom `recommend` answers: users by their histories, given as lists or taken from a log with ratings and times."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError, examples
from indexing.runtime.arguments import check_names, is_whole, plural, shown_number
from retrieval.interactions.histories import History, histories, least_liked
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.repeats import each_once
from retrieval.ranking.explain.explain import finite_weights
from retrieval.retriever.query_inputs import weighed

Histories: TypeAlias = Sequence[Sequence[str]] | Interactions | pa.Table | Path | Any
"""Item ids a user, oldest first; or a log: `Interactions`, the path of one, or a table or DataFrame of its columns."""

_DAY = 86_400


@dataclass(frozen=True, eq=False)
class UserHistories:
    """B users who ask for recommendations.

    Attributes:
        rows: For each the rows of the history, oldest first, each item once.
        weights: How much each of these was liked; all alike when None.
        times: (B,) int64, when each asks, in seconds since 1970; None is "after all that was learned from".
        last: (B,) int64, when each did the last, -1 for an empty history; None where that is not known.
        user_ids: Their names; none at all when they have none.
        least: What weighs less was disliked; None where the bundle says it.
    """

    rows: list[Rows]
    weights: list[Vectors] | None
    times: NDArray[np.int64] | None
    user_ids: tuple[str, ...]
    least: float | None = None
    last: NDArray[np.int64] | None = None

    @property
    def idle(self) -> Vectors | None:
        """(B,) float32, days between the last that each did and when they ask; None where a visit goes on."""
        if self.times is None or self.last is None:
            return None
        apart = np.where(self.last < 0, 0, np.maximum(self.times - self.last, 0))
        return (apart / _DAY).astype(np.float32)

    @classmethod
    def of_lists(
        cls,
        given: Any,  # noqa: ANN401 - checked here
        items: ItemIds,
        user_ids: Sequence[str] = (),
        weights: Sequence[Sequence[float]] | None = None,
    ) -> "UserHistories":
        """Take item ids, and weights where they are given.

        Raises:
            UnknownItemError: When an id is not in the bundle.
            InputError: When a history is no list, or weights are no numbers.
            ShapeError: When weights and histories do not fit.
        """
        names = tuple(check_names(user_ids, "user_ids"))
        plural(given, "histories")
        for user, history in enumerate(given):
            plural(history, f"histories[{user}]")
        weighed(weights, given)
        found = [items.rows(history) for history in given]
        rows, told = each_once(found, None if weights is None else finite_weights(weights, found))
        return cls(rows, told, None, names)

    @classmethod
    def of_log(cls, log: Interactions, items: ItemIds, user_ids: Sequence[str] = ()) -> "UserHistories":
        """Take what users did, with its weights.

        Args:
            log: What they did; items that the bundle lacks are left out.
            items: Of the bundle.
            user_ids: Who asks; all of the log when empty.

        Raises:
            InputError: When somebody is not in the log.
        """
        user_ids = check_names(user_ids, "user_ids")
        every = histories(log, items)
        found = {past.user_id: past for past in every}
        there = set(log.table["user_id"].unique().to_pylist())
        if missing := [user for user in user_ids if user not in there]:
            raise InputError(
                f"{len(missing)} of the users are not in the log, e.g. {examples(missing)}; leave them out, or ask for "
                "them with an empty history"
            )
        names = tuple(user_ids) or tuple(sorted(there))
        pasts = [found.get(user) or History.empty(user) for user in names]
        last = np.array([int(past.timestamps[-1]) if len(past) else -1 for past in pasts], np.int64)
        least = least_liked(every, log.repeats)
        return cls([past.rows for past in pasts], [past.weights for past in pasts], None, names, least, last)

    def asking_at(self, times: int | Sequence[int] | None) -> "UserHistories":
        """Let users ask at other times: one for all, or one for each.

        Raises:
            InputError: When one is no whole number.
            ShapeError: When there are more or fewer than users.
        """
        if times is None:
            return self
        if isinstance(times, Sequence | np.ndarray):
            plural(times, "times")
            given = list(times)
        else:
            given = [times] * len(self.rows)
        if wrong := [one for one in given if not is_whole(one, -(2**63)) or one >= 2**63]:
            raise InputError(
                f"times has {shown_number(wrong[0])}; give whole seconds since 1970, one for all or one for each"
            )
        if len(given) != len(self.rows):
            raise ShapeError(f"{len(given)} times for {len(self.rows)} users; give one for all or one for each")
        return replace(self, times=np.array(given, np.int64))


def as_log(given: Histories) -> Interactions | None:
    """Give a log as `Interactions`, and None where histories are lists.

    Raises:
        InteractionsError: When a table or file is no log.
    """
    if isinstance(given, Interactions):
        return given
    if isinstance(given, Path):
        return Interactions.open(given)
    if isinstance(given, pa.Table):
        return Interactions.from_arrow(given)
    if hasattr(given, "__arrow_c_stream__"):  # DataFrames of pandas and polars
        return Interactions.from_arrow(pa.table(given))
    return None
