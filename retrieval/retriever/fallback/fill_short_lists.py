"""Lists of fewer than k hits are filled: with content, then with what is trending, popular and newest."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from indexing.arrays import Rows, Vectors
from indexing.errors import CommonspaceWarning
from indexing.index.base import check_k
from indexing.runtime.warn import warn
from retrieval.candidates import Candidates
from retrieval.candidates.continued import continued_scores
from retrieval.candidates.lists import with_lists
from retrieval.candidates.sources import Source
from retrieval.filters import Where
from retrieval.retriever.fallback.top_items import by_user_counts, in_order_of_adding
from retrieval.retriever.loaded_bundle import LoadedBundle

Tastes = Callable[[Rows], Vectors]


class FallbackWarning(CommonspaceWarning):
    """Users get the items that were added last, as neither their taste nor popularity is known."""


def fill_short_lists(
    state: LoadedBundle, found: Candidates, k: int, *, tastes: Tastes, where: Where, exclude: list[Rows]
) -> Candidates:
    """Fill lists of fewer than k hits, as far as there are items that the filter leaves and that are not excluded.

    Args:
        state: Of the bundle.
        found: What both stages, or the index, found.
        k: Hits a query.
        tastes: Gives for some queries, (n,) int64, the mean content of what each user liked: (n, D) float32, zero
            where nothing is known.
        where: What every hit satisfies.
        exclude: For each query the rows that are no hits.

    Returns:
        The lists. Scores of the hits that were found stay; those of the others are just below, see `continued_scores`.
    """
    num_found, k = (found.rows >= 0).sum(axis=1), check_k(k)
    if (num_found >= k).all():  # as almost always: the filter need not be evaluated again
        return found
    allow = state.allowed_rows(where)
    k = min(k, len(state.items) if allow is None else int(np.count_nonzero(allow)))
    short = np.flatnonzero(num_found < k)
    if not len(short):
        return found
    lists = found.take(short)
    barred = [exclude[line] for line in short.tolist()]
    if state.behaviour is not None:  # else the index has content alone, and was asked
        queries = tastes(short)
        known = np.flatnonzero(queries.any(axis=1))  # a taste of zero has no direction to search in
        if len(known):
            near = state.search_content(queries[known], k, where, [barred[line] for line in known.tolist()])
            lists = lists.followed_by(_at(near, known, lists))
    for source, order in _orders(state):
        order = order if allow is None else order[allow[order]]
        lists = _followed_by_order(lists, order, source, k, barred)
    lists = lists.top(max(k, found.rows.shape[1]))
    scores = continued_scores(lists.rows, found.scores[short], num_found[short])  # of all that was appended at once
    return with_lists(found, short, replace(lists, scores=scores))


def note_unknown(state: LoadedBundle, histories: list[Rows]) -> None:
    """Warn when users did nothing, and the bundle has learned nothing that they could be answered with."""
    empty = sum(1 for rows in histories if not len(rows))
    if empty and state.behaviour is None and state.popularity is None:
        warn(
            f"{empty} of {len(histories)} users have an empty history, and this bundle has not learned what is "
            "popular: they are answered with what was added last; learn from a log with `fit`",
            FallbackWarning,
        )


def _orders(state: LoadedBundle) -> Iterator[tuple[Source, Rows]]:
    """Give the orders of the chain that the bundle knows, the last of them with all rows."""
    learned: tuple[Literal["trending", "popular"], ...] = ("trending", "popular")
    for source in learned:
        if state.popularity is not None and state.popularity.scores(source) is not None:
            yield source, by_user_counts(state, source).rows
    yield "newest", in_order_of_adding(state)


def _at(found: Candidates, lines: Rows, lists: Candidates) -> Candidates:
    """Give what was found for some lines of so many lists, and nothing for the others."""
    rows = np.full((len(lists), found.rows.shape[1]), -1, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    rows[lines], scores[lines] = found.rows, found.scores
    return Candidates(np.zeros((len(lists), 0), np.float32), rows, scores, lists.items, lists.stage).coming_from(
        "content"
    )


def _followed_by_order(lists: Candidates, order: Rows, source: Source, k: int, exclude: list[Rows]) -> Candidates:
    """Append the first rows of an order that are neither in a list nor excluded, to those with fewer than k hits."""
    more = np.full((len(lists), k), -1, np.int64)
    for line, (present, excluded) in enumerate(zip(lists.rows, exclude, strict=True)):
        missing = k - int((present >= 0).sum())
        if missing <= 0:
            continue
        barred = np.union1d(present[present >= 0], excluded)
        first = order[: missing + len(barred)]  # as many as are barred may be among the first
        chosen = first[~np.isin(first, barred)][:missing]
        more[line, : len(chosen)] = chosen
    scores = np.where(more >= 0, np.float32(0), np.float32(-np.inf))
    queries = np.zeros((len(lists), 0), np.float32)
    return lists.followed_by(Candidates(queries, more, scores, lists.items, lists.stage).coming_from(source))
