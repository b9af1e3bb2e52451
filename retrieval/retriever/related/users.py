"""The other side of `recommend`: for each item the users of a log whom it suits best."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows, Vectors, lengths_of
from indexing.errors import InputError
from indexing.index.backends.flat import top_k
from indexing.index.base import check_k, merged, no_answers
from indexing.index.search import check_scores
from indexing.runtime.arguments import check_list
from retrieval.interactions.histories import LoggedHistories
from retrieval.interactions.parse_values import Moment, request_seconds
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.query_inputs import (
    Histories,
    UserHistories,
    as_log,
    check_has_times,
    warn_of_later_interactions,
)
from retrieval.retriever.recommend import Request, note_returning, queries_of

_USERS = 4096  # scored at once
_MAX_SCORES = 2**24  # and at most so many scores: fewer users where there are many items


class UserHit(NamedTuple):
    """A user whom an item suits.

    Attributes:
        user_id: Who.
        score: As `Retriever.recommend` gives the item to this user by the index; higher is better.
        rank: From 1.
    """

    user_id: str
    score: float
    rank: int


@dataclass(frozen=True, eq=False)
class RankedUsers:
    """For each of B items some users, the best first.

    Attributes:
        item_ids: The B items.
        rows: (B, K) int64, positions among ``users``, -1 where there are no more.
        scores: (B, K) float32, -inf where there are no more.
        users: The user_ids of the log, in order.
    """

    item_ids: tuple[str, ...]
    rows: Rows
    scores: Vectors
    users: pa.Array

    def __len__(self) -> int:
        return len(self.item_ids)

    def __getitem__(self, item: int) -> list[UserHit]:
        """Give the users of one item, best first, without padding."""
        return [
            UserHit(self.users[row].as_py(), float(score), rank)
            for rank, (row, score) in enumerate(
                zip(self.rows[item].tolist(), self.scores[item].tolist(), strict=True), start=1
            )
            if row >= 0
        ]

    def __iter__(self) -> Iterator[list[UserHit]]:
        return (self[item] for item in range(len(self)))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self)} items, {np.count_nonzero(self.rows >= 0)} users>"

    def to_arrow(self) -> pa.Table:
        """Give a table with one row for each user of an item: ``item_id, user_id, rank, score``."""
        item, position = np.nonzero(self.rows >= 0)
        return pa.table(
            {
                "item_id": pa.array(self.item_ids, pa.string()).take(pa.array(item)),
                "user_id": self.users.take(pa.array(self.rows[item, position])),
                "rank": pa.array(position + 1, pa.int64()),
                "score": pa.array(self.scores[item, position], pa.float32()),
            }
        )


def users_for(
    state: LoadedBundle, item_ids: Sequence[str], interactions: Histories, k: int, times: Moment | None = None
) -> RankedUsers:
    """Rank the users of a log for each item; see `Retriever.users_for`."""
    check_list(item_ids, "item_ids")
    rows, k = state.items.rows(item_ids), check_k(k)
    log = as_log(interactions, state.learned.events)
    if log is None:
        raise InputError(
            f"interactions is of type {type(interactions).__name__}; give a log: Interactions, the path of one, a "
            "table or a DataFrame"
        )
    logged = LoggedHistories.of(log, state.items)
    asked = None if times is None else request_seconds([times], "times", "one for all")
    if asked is not None:
        check_has_times(logged)
        last = logged.last_times(np.arange(len(logged)))
        warn_of_later_interactions(int((last > asked).sum()), len(logged))
        note_returning(state, [logged.rows], returning=True, stages="retrieval")
    found_scores, found_rows = no_answers(len(rows))
    size = max(1, min(_USERS, _MAX_SCORES // max(1, len(rows))))
    for start in range(0, len(logged), size):
        numbers = np.arange(start, min(start + size, len(logged)))
        users = UserHistories.of_logged(logged, numbers)
        users = users if asked is None else replace(users, times=np.repeat(asked, len(numbers)))
        scores = _scores(state, rows, Request.of(state, users))
        best = top_k(scores, numbers, min(k, len(numbers)))
        found_scores, found_rows = merged((found_scores, found_rows), best, k)
    found_rows = np.where(np.isneginf(found_scores), -1, found_rows)
    check_scores(found_scores, found_rows)
    return RankedUsers(tuple(item_ids), found_rows, found_scores, logged.names)


def _scores(state: LoadedBundle, rows: Rows, request: Request) -> Vectors:
    """Score B items for some users: (B, U) float32, -inf for who has the item, or has no taste.

    Items without interactions are scored as `recommend` scores them if a filter leaves no others.
    """
    scores = np.empty((len(rows), len(request.users.rows)), np.float32)
    new = state.space.is_new(rows)
    for new_items in (False, True):
        if not (chosen := new == new_items).any():
            continue
        queries = queries_of(state, request, new_items=new_items)
        scores[chosen] = state.indexed[rows[chosen]] @ queries.T
        scores[np.ix_(chosen, ~queries.any(axis=1))] = -np.inf
    scores[_owned(rows, request.users.rows)] = -np.inf
    return scores


def _owned(rows: Rows, histories: Sequence[Rows]) -> tuple[Rows, Rows]:
    """Give which of B items, and which users, belong together: two arrays of positions."""
    order = np.argsort(rows, kind="stable")
    user = np.repeat(np.arange(len(histories)), lengths_of(histories))
    history_rows = np.concatenate([np.empty(0, np.int64), *histories])
    first, last = (np.searchsorted(rows[order], history_rows, side) for side in ("left", "right"))
    counts = last - first  # an item that was named twice has two lists
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.repeat(first, counts) + offsets], np.repeat(user, counts)
