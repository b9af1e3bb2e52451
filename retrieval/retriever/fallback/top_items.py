"""Trending, popular and new items: orders that do not depend on the user; see `Retriever.top_items`."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import FilterError, InputError
from indexing.index.base import check_k
from indexing.runtime.arguments import check_choice
from retrieval.candidates import Candidates
from retrieval.filters import Where
from retrieval.filters.values import attribute_type
from retrieval.models.features.column_encoders import is_measured, numbers
from retrieval.retriever.loaded_bundle import LoadedBundle

Order = Literal["trending", "popular", "newest"]
STAGE = "top"
MOST_VALUES = 1000  # lists at once
_FIT = "learn from a log with `fit`"


class ItemOrder(NamedTuple):
    """Some rows, best first.

    Attributes:
        rows: (n,) int64.
        scores: (n,) float64, never rising.
    """

    rows: Rows
    scores: NDArray[np.float64]

    @classmethod
    def of(cls, scores: NDArray[np.floating], keep: NDArray[np.bool_]) -> "ItemOrder":
        """Order the rows of a mask by their scores, the highest first; of equal ones the first row."""
        rows = np.flatnonzero(keep)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        return cls(rows, scores[rows].astype(np.float64))


def top_items(state: LoadedBundle, order: Order, k: int, where: Where, by: str | None, date: str | None) -> Candidates:
    """Give the k items that come first, or those of each value of an attribute; see `Retriever.top_items`."""
    check_choice(order, "order", get_args(Order))
    state.refuse_damage()
    k = check_k(k)
    if date is not None and order != "newest":
        raise InputError(f"date says what is newest, but the order is {order!r}; leave it out, or ask for 'newest'")
    first = newest(state, date) if order == "newest" else by_user_counts(state, order)
    if (allow := state.allowed_rows(where)) is not None:
        first = ItemOrder(first.rows[allow[first.rows]], first.scores[allow[first.rows]])
    names: tuple[str, ...] = (order,)
    lists = [first.rows[:k]]
    if by is not None:
        names, lists = _by_value(state, by, first.rows, k)
    score = np.zeros(len(state.items), np.float64)
    score[first.rows] = first.scores
    return _as_candidates(state, names, lists, score.astype(np.float32), order)


def by_user_counts(state: LoadedBundle, order: Literal["trending", "popular"]) -> ItemOrder:
    """Order items by the number of users who liked them, over all time or with recent ones counting more.

    Raises:
        InputError: When the bundle has no such counts.
    """
    popularity = state.popularity
    if popularity is None:
        known = "was learned by an earlier version" if state.learned.learned_from else "has learned nothing of users"
        raise InputError(f"what is {order} is not in this bundle, which {known}; {_FIT}")
    scores = popularity.scores(order)
    if scores is None:
        raise InputError(
            "what is trending is not known, as all of the log that was learned from is of one second, or it has no "
            "times; ask for 'popular', or `fit` with a column of times"
        )
    return ItemOrder.of(scores, scores > 0)


def newest(state: LoadedBundle, date: str | None = None) -> ItemOrder:
    """Order items by a column of dates, times or numbers, the highest first; or by when they were added.

    Without a column only items that were added since the build are ordered, as the bundle does not know more.

    Raises:
        InputError: When the column holds something else, or nothing was added since the build.
        FilterError: When there is no such column.
    """
    if date is not None:
        attributes = state.bundle.attributes
        if not is_measured(kind := attribute_type(attributes, date)):
            raise InputError(f"the column {date!r} holds {kind}; name one of dates, times or numbers")
        values = numbers(attributes.column(date))
        return ItemOrder.of(values, np.isfinite(values))
    added = added_in(state)
    if not added.any():
        raise InputError(
            "nothing was added since the bundle was built, so that it does not know what is newest",
            python="name a column of dates, as date='released'",
            cli="name a column of dates, as --date released",
            http='name a column of dates, as "date": "released"',
        )
    order = in_order_of_adding(state, added)
    order = order[added[order] > 0]
    return ItemOrder(order, added[order].astype(np.float64))


def added_in(state: LoadedBundle) -> NDArray[np.int64]:
    """Give for each row the number of the change that added the item, from 1; 0 where the build had it."""
    bundle = state.bundle
    added = np.zeros(len(bundle.items), np.int64)
    start = len(bundle.generation.items)
    for number, batch in enumerate(bundle.batches, start=1):
        added[start : start + len(batch.item_ids)] = number
        start += len(batch.item_ids)
    if bundle.batches:  # an item that was put in again is not new
        added[len(bundle.generation.items) :][bundle.origins >= 0] = 0
    return added


def in_order_of_adding(state: LoadedBundle, added: NDArray[np.int64] | None = None) -> Rows:
    """Give all rows, those added last first; rows of one build from the last to the first."""
    added = added_in(state) if added is None else added
    row = np.arange(len(added))
    if state.bundle.batches:
        known = len(state.bundle.generation.items)
        row[known:] = np.where(state.bundle.origins >= 0, state.bundle.origins, row[known:])
    order: Rows = np.lexsort((-row, -added))
    return order


def _by_value(state: LoadedBundle, by: str, rows: Rows, k: int) -> tuple[tuple[str, ...], list[Rows]]:
    """Give the first rows of each value of an attribute, and the values."""
    attribute = state.attribute(by)
    if len(attribute.values) > MOST_VALUES:
        raise FilterError(
            f"{by!r} has {len(attribute.values)} values, and each would have a list of its own; name an attribute of "
            f"at most {MOST_VALUES}"
        )
    lengths, codes = attribute.among(rows)
    owner = np.repeat(rows, lengths)
    order = np.argsort(codes, kind="stable")
    parts = np.split(owner[order], np.searchsorted(codes[order], np.arange(1, len(attribute.values))))
    lists = [part[:k] for part in parts[: len(attribute.values)]]
    names = [(f"{value}", found) for value, found in zip(attribute.values, lists, strict=True) if len(found)]
    return tuple(name for name, _ in names), [found for _, found in names]


def _as_candidates(
    state: LoadedBundle, names: tuple[str, ...], lists: list[Rows], scores: Vectors, order: Order
) -> Candidates:
    rows = np.full((len(lists), max(map(len, lists), default=0)), -1, np.int64)
    for line, found in enumerate(lists):
        rows[line, : len(found)] = found
    score = np.where(rows >= 0, scores[rows], np.float32(-np.inf))
    queries = np.zeros((len(lists), 0), np.float32)
    return Candidates(queries, rows, score, state.items, STAGE, names).coming_from(order)
