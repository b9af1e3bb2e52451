"""The candidates of several sources in one list, in the order of their best reciprocal rank."""

from collections.abc import Iterator, Sequence

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.ranking.sources.base import Source, UserBatch
from retrieval.ranking.sources.inner_product import users_of_space
from retrieval.ranking.sources.item_neighbours import Neighbours

CHUNK = 128  # scores of a line whose maximum is looked at first
BLOCK, AT_ONCE = 256, 2**24  # users whose scores of all items are in memory at once, and at most so many scores


def pooled(
    sources: Sequence[Source],
    asked: UserBatch,
    items: ItemIds,
    each: int,
    *,
    exclude: Sequence[Rows] | None = None,
    allow: Mask | None = None,
    names: Sequence[str] = (),
) -> Candidates:
    """Give each user the best of every source, each item once, in the order of its best rank; ties by source.

    The score of a candidate is one over its best rank.

    Args:
        sources: One or more; scores that are NaN bring nothing up, nor do neighbours that nothing speaks for.
        asked: B users.
        items: The catalogue.
        each: Candidates that a source may give.
        exclude: Rows that must not come up; the history of each when None.
        allow: (N,) bool, the rows that may come up; all when None.
        names: Of the queries.

    Raises:
        InputError: Without a source, or for less than one candidate each.
    """
    if not sources or each < 1:
        raise InputError(f"{len(sources)} sources with {each} candidates each bring nothing up; give one and more")
    exclude = asked.histories if exclude is None else exclude
    liking = asked.liking(users_of_space(sources))
    lists = [np.empty((0, 0), np.int64)] * len(asked)
    for part, found in tops(sources, liking, exclude, each, len(items), allow):
        for line, top in enumerate(found, start=part.start):
            lists[line] = _first_seen(top)
    rows = np.full((len(asked), max((len(one) for one in lists), default=0)), -1, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    for line, one in enumerate(lists):
        rows[line, : len(one)], scores[line, : len(one)] = one[:, 0], 1 / (one[:, 1] + 1)
    return Candidates(
        np.zeros((len(asked), 0), np.float32),
        rows,
        scores,
        items,
        "pool",
        tuple(names),
        tuple(asked.histories),
        tuple(asked.weights),
        asked.times,
        asked.new,
        idle=asked.idle,
    )


def tops(
    sources: Sequence[Source],
    asked: UserBatch,
    exclude: Sequence[Rows],
    each: int,
    items: int,
    allow: Mask | None = None,
) -> Iterator[tuple[slice, Rows]]:
    """Give what every source would show, some users at a time: which of them, and rows (b, k, S); see `top_of`."""
    many = min(BLOCK, max(1, AT_ONCE // max(1, items)))
    for start in range(0, len(asked), many):
        part = slice(start, min(start + many, len(asked)))
        users = asked[part]
        yield part, np.stack([_best(source, users, exclude[part], each, allow) for source in sources], axis=2)


def _best(source: Source, users: UserBatch, exclude: Sequence[Rows], most: int, allow: Mask | None) -> Rows:
    if isinstance(source, Neighbours):
        return source.best(users, exclude, most, allow)
    return top_of(source.scores(users), exclude, most, allow)


def top_of(scores: Vectors, exclude: Sequence[Rows], most: int, allow: Mask | None = None) -> Rows:
    """Give the best rows of each line, ties by row: (B, min(most, N)) int64, -1 pads.

    Args:
        scores: (B, N), NaN where nothing is known.
        exclude: B arrays of rows that must not come up.
        most: How many.
        allow: (N,) bool, the rows that may come up; all when None.
    """
    allowed = np.where(np.isnan(scores), -np.inf, scores)
    if allow is not None:
        allowed[:, ~allow] = -np.inf
    for line, rows in enumerate(exclude):
        allowed[line, rows] = -np.inf
    best = np.sort(_largest(allowed, most), axis=1)
    values = np.take_along_axis(allowed, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    rows_of = np.take_along_axis(best, order, axis=1)
    found: Rows = np.where(np.isneginf(np.take_along_axis(values, order, axis=1)), -1, rows_of)
    return found


def _largest(scores: Vectors, most: int) -> Rows:
    """Give the places of the largest of each line, in any order: (B, min(most, N)).

    They lie in as many chunks as they are, those with the largest maxima: of a long line few are looked at twice.
    """
    lines, count = scores.shape
    chunks = count // CHUNK
    if chunks <= 2 * most:
        found: Rows = np.argpartition(-scores, min(most, count) - 1, axis=1)[:, :most]
        return found
    whole = scores[:, : chunks * CHUNK].reshape(lines, chunks, CHUNK)
    chosen = np.argpartition(-whole.max(axis=2), most - 1, axis=1)[:, :most]
    places = (chosen[:, :, None] * CHUNK + np.arange(CHUNK)).reshape(lines, -1)
    rest = np.broadcast_to(np.arange(chunks * CHUNK, count), (lines, count - chunks * CHUNK))
    places = np.concatenate([places, rest], axis=1)
    among = np.argpartition(-np.take_along_axis(scores, places, axis=1), most - 1, axis=1)[:, :most]
    return np.take_along_axis(places, among, axis=1)


def _first_seen(top: Rows) -> Rows:
    """Give (n, 2) rows and the rank at which each is first seen, of (k, S) rows: by rank, then by source."""
    ranks = np.repeat(np.arange(len(top)), top.shape[1])
    rows, first = np.unique(top.ravel(), return_index=True)
    order = np.argsort(first[rows >= 0])
    places = first[rows >= 0][order]
    return np.stack([rows[rows >= 0][order], ranks[places]], axis=1)
