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

CHUNK = 128  # scores in a chunk, whose maximum is compared first
BLOCK, MAX_SCORES = 256, 2**23  # maximum number of users, and of scores, in memory at once


def pool_candidates(
    sources: Sequence[Source],
    batch: UserBatch,
    items: ItemIds,
    per_source: int,
    query_ids: Sequence[str] = (),
    *,
    exclude: Sequence[Rows] | None = None,
    allow: Mask | None = None,
) -> Candidates:
    """Give each user the best items of every source, each item once, by its best rank; ties by source.

    The score of a candidate is one over its best rank.

    Args:
        sources: One or more. Items with a score of NaN are left out, and by item-item sources those without a positive
            one.
        batch: B users.
        items: The catalogue.
        per_source: Maximum number of candidates of a source.
        query_ids: Of the queries.
        exclude: Rows to leave out for each user; the history when None.
        allow: (N,) bool, the rows that may be given; all when None.

    Raises:
        InputError: Without a source, or for less than one candidate each.
    """
    if not sources or per_source < 1:
        raise InputError(
            f"{len(sources)} sources with {per_source} candidates each give no candidates; give at least one of each"
        )
    exclude = batch.histories if exclude is None else exclude
    liked = batch.liking(users_of_space(sources))
    lists = [np.empty((0, 0), np.int64)] * len(batch)
    for block, tops_of_block in top_rows_by_source(sources, liked, exclude, per_source, len(items), allow):
        for user, source_rows in enumerate(tops_of_block, start=block.start):
            lists[user] = _first_seen(source_rows)
    rows = np.full((len(batch), max((len(candidates) for candidates in lists), default=0)), -1, np.int64)
    scores = np.full(rows.shape, -np.inf, np.float32)
    for user, candidates in enumerate(lists):
        rows[user, : len(candidates)], scores[user, : len(candidates)] = candidates[:, 0], 1 / (candidates[:, 1] + 1)
    return Candidates(
        np.zeros((len(batch), 0), np.float32),
        rows,
        scores,
        items,
        "pool",
        tuple(query_ids),
        tuple(batch.histories),
        tuple(batch.weights),
        batch.times,
        batch.new,
        idle=batch.idle,
        context=batch.context,
    )


def top_rows_by_source(
    sources: Sequence[Source],
    batch: UserBatch,
    exclude: Sequence[Rows],
    per_source: int,
    num_items: int,
    allow: Mask | None = None,
) -> Iterator[tuple[slice, Rows]]:
    """Give the best rows of S sources, in batches of users: the slice of the batch, and rows (b, k, S)."""
    num_users = min(BLOCK, max(1, MAX_SCORES // max(1, num_items)))
    for start in range(0, len(batch), num_users):
        block = slice(start, min(start + num_users, len(batch)))
        users = batch[block]
        yield block, np.stack([_best(source, users, exclude[block], per_source, allow) for source in sources], axis=2)


def _best(source: Source, users: UserBatch, exclude: Sequence[Rows], max_rows: int, allow: Mask | None) -> Rows:
    if isinstance(source, Neighbours):
        return source.best(users, exclude, max_rows, allow)
    return top_of(source.scores(users), exclude, max_rows, allow)


def top_of(scores: Vectors, exclude: Sequence[Rows], max_rows: int, allow: Mask | None = None) -> Rows:
    """Give the best rows of each user, ties by row: (B, min(max_rows, N)) int64, -1 pads.

    Args:
        scores: (B, N), NaN where unknown.
        exclude: B arrays of rows to leave out.
        max_rows: Maximum number of rows.
        allow: (N,) bool, the rows that may be given; all when None.
    """
    allowed = np.where(np.isnan(scores), -np.inf, scores)
    if allow is not None:
        allowed[:, ~allow] = -np.inf
    for number, rows in enumerate(exclude):
        allowed[number, rows] = -np.inf
    best = np.sort(_largest(allowed, max_rows), axis=1)
    values = np.take_along_axis(allowed, best, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    rows_of = np.take_along_axis(best, order, axis=1)
    item_rows: Rows = np.where(np.isneginf(np.take_along_axis(values, order, axis=1)), -1, rows_of)
    return item_rows


def _largest(scores: Vectors, max_rows: int) -> Rows:
    """Give the positions of the largest scores of each row, in any order: (B, min(max_rows, N)).

    They are in the ``max_rows`` chunks with the largest maxima, so few scores of a long row are compared twice.
    """
    num_rows, count = scores.shape
    chunks = count // CHUNK
    if chunks <= 2 * max_rows:
        positions: Rows = np.argpartition(-scores, min(max_rows, count) - 1, axis=1)[:, :max_rows]
        return positions
    chunked = scores[:, : chunks * CHUNK].reshape(num_rows, chunks, CHUNK)
    best_chunks = np.argpartition(-chunked.max(axis=2), max_rows - 1, axis=1)[:, :max_rows]
    positions = (best_chunks[:, :, None] * CHUNK + np.arange(CHUNK)).reshape(num_rows, -1)
    rest = np.broadcast_to(np.arange(chunks * CHUNK, count), (num_rows, count - chunks * CHUNK))
    positions = np.concatenate([positions, rest], axis=1)
    largest = np.argpartition(-np.take_along_axis(scores, positions, axis=1), max_rows - 1, axis=1)[:, :max_rows]
    return np.take_along_axis(positions, largest, axis=1)


def _first_seen(source_rows: Rows) -> Rows:
    """Give (n, 2) rows and the rank at which each is first seen, of (k, S) rows: by rank, then by source."""
    ranks = np.repeat(np.arange(len(source_rows)), source_rows.shape[1])
    rows, first_positions = np.unique(source_rows.ravel(), return_index=True)
    order = np.argsort(first_positions[rows >= 0])
    first_seen = first_positions[rows >= 0][order]
    return np.stack([rows[rows >= 0][order], ranks[first_seen]], axis=1)
