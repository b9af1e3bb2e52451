"""Item-item sources: each item of a history adds to the scores of its K neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, lengths_of, steps_back
from indexing.errors import DamagedFileError
from retrieval.ranking.sources.base import TrainingLog, UserBatch, renumber_rows

Doubles = NDArray[np.float64]
_EMPTY = np.empty(0)
_STORED_AS = {"known": "known", "levels": "weight_bins", "worth": "bin_weights"}  # name in files: attribute
# Maximum number of users in a batch, and size of the lookup table of their candidates: larger batches need fewer calls
# of numpy, each of which may wait for other threads.
_MAX_USERS, _TABLE_SIZE = 16, 2**21
_ROWS_A_BLOCK = 512  # rows of a matrix that are sorted at once: sorting takes several times their memory


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Each item of a history adds to the scores of its K neighbours; recent items count more.

    Memory is M times K for M items with neighbours, whatever the number of users.

    Attributes:
        name: Prefix of its features' names.
        table_rows: (N,) int64, the row of each item in ``rows`` and ``values``; -1 for an item without neighbours.
        rows: (M, K) int32, the neighbours; -1 pads.
        values: (M, K) float32, the weight of the item for each neighbour; 0 for padding.
        known: (N,) bool, the items with interactions in training.
        half_life: An item this many positions before the last of its history counts half.
        weight_bins: (V,) float32, ascending: weights of interactions between which ``bin_weights`` is interpolated.
        bin_weights: (V,) float32, the interaction weight of each bin.
        training_log: The log that it was trained on.
    """

    name: str
    table_rows: Rows
    rows: NDArray[np.int32]
    values: Vectors
    known: NDArray[np.bool_]
    half_life: float
    weight_bins: Vectors
    bin_weights: Vectors
    training_log: TrainingLog | None = None

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows, NaN for unknown items; see `Source`."""
        if rows is not None:
            of_rows: Vectors = neighbour_scores([self], batch, rows)[0]
            return of_rows
        count = len(self.known)
        result = np.zeros((len(batch), count + 1), np.float32)  # padding goes to the last column
        ends = np.cumsum(lengths_of(batch.histories))
        counts = np.split(self.counts(batch), ends[:-1]) if len(ends) else []
        for user, (history, history_counts) in enumerate(zip(batch.histories, counts, strict=True)):
            rows_of_values, values = self._contributions(history, history_counts)
            result[user] = np.bincount(rows_of_values % (count + 1), values, minlength=count + 1)
        result[:, :-1][:, ~self.known] = np.nan
        return result[:, :-1]

    def best(self, batch: UserBatch, exclude: Sequence[Rows], max_rows: int, allow: Mask | None = None) -> Rows:
        """Give the rows with the highest positive scores: (B, max_rows) int64, best first, -1 pads.

        Args:
            batch: B users.
            exclude: B arrays of rows to leave out.
            max_rows: Maximum number of rows.
            allow: (N,) bool, the rows that may be given; all when None.
        """
        best_rows = np.full((len(batch), min(max_rows, len(self.known))), -1, np.int64)
        ends = np.cumsum(lengths_of(batch.histories))
        counts = np.split(self.counts(batch), ends[:-1]) if len(ends) else []
        for user, (history, history_counts) in enumerate(zip(batch.histories, counts, strict=True)):
            rows, values = self._contributions(history, history_counts)
            sums = np.bincount(rows + 1, values, len(self.known) + 1)[1:]  # the first is padding
            sums[exclude[user]] = 0
            item_rows = np.flatnonzero(sums > 0)
            item_rows = item_rows if allow is None else item_rows[allow[item_rows]]
            values = sums[item_rows].astype(np.float32)  # as `scores` gives them
            if len(values) > max_rows:  # most are far from the best: only those are sorted
                kept = np.flatnonzero(values >= np.partition(values, -max_rows)[-max_rows])
                item_rows, values = item_rows[kept], values[kept]
            order = np.argsort(-values, kind="stable")[:max_rows]
            best_rows[user, : len(order)] = item_rows[order]
        return best_rows

    def _contributions(self, history: Rows, counts: Doubles) -> tuple[NDArray[np.int32], Doubles]:
        """Give the rows of all neighbours of a history, -1 pads, and the contribution to each."""
        table_rows = self.table_rows[history]
        has_neighbours = table_rows >= 0
        table_rows = table_rows[has_neighbours]
        values: Doubles = (counts[has_neighbours][:, None] * self.values[table_rows]).ravel()
        return self.rows[table_rows].ravel(), values

    def counts(self, batch: UserBatch) -> Doubles:
        """Give the weight of each item of all histories, one history after the other: (T,) float64."""
        lengths = lengths_of(batch.histories)
        counts: Doubles = np.interp(np.concatenate([_EMPTY, *batch.weights]), self.weight_bins, self.bin_weights)
        counts *= 0.5 ** (steps_back(lengths) / self.half_life)
        return counts

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Neighbours":
        """Give the source for other rows; see `Source`."""
        new_rows, old_rows = renumber_rows(origins, keep)
        kept = old_rows >= 0
        old_table_rows = np.where(kept, self.table_rows[old_rows], -1)
        item_rows = np.flatnonzero(old_table_rows >= 0)
        old_table_rows = old_table_rows[item_rows]
        rows = np.where(self.rows[old_table_rows] >= 0, new_rows[self.rows[old_table_rows]], -1).astype(np.int32)
        values = np.where(rows >= 0, self.values[old_table_rows], np.float32(0))
        table_rows, rows, values = neighbour_table(item_rows, rows, values, len(old_rows))
        return replace(self, table_rows=table_rows, rows=rows, values=values, known=kept & self.known[old_rows])

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give its arrays by their names in files; neighbours of the items that have any, in the order of the items."""
        has_neighbours: Mask = self.table_rows >= 0
        table_rows = self.table_rows[has_neighbours]
        parts: dict[str, NDArray[np.generic]] = {
            name: getattr(self, attribute) for name, attribute in _STORED_AS.items()
        }
        parts |= {"says": has_neighbours, "rows": self.rows[table_rows], "values": self.values[table_rows]}
        return parts | {"half_life": np.array([self.half_life])}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Neighbours":
        """Read what `tensors` gave.

        Raises:
            DamagedFileError: When the arrays differ in length.
        """
        item_rows, half_life = np.flatnonzero(tensors["says"]), float(np.asarray(tensors["half_life"]).item())
        known, weight_bins, bin_weights = (tensors[name] for name in _STORED_AS)
        rows, values = tensors["rows"], tensors["values"]
        if len(rows) != len(item_rows) or rows.shape != values.shape or len(known) != len(tensors["says"]):
            raise DamagedFileError(
                f"source {name!r} stores {rows.shape} neighbours and {values.shape} values of {len(item_rows)} items "
                f"with neighbours, and {len(known)} of {len(tensors['says'])} items: fit again, or go back"
            )
        table_rows = neighbour_table(item_rows, rows, values, len(known))  # type: ignore[arg-type]
        return cls(name, *table_rows, known, half_life, weight_bins, bin_weights)  # type: ignore[arg-type]


def neighbour_table(
    item_rows: Rows, rows: NDArray[np.int32], values: Vectors, count: int
) -> tuple[Rows, NDArray[np.int32], Vectors]:
    """Keep the neighbours of items that have any.

    Args:
        item_rows: (n,) the items, each once.
        rows: (n, K) the neighbours of each, -1 pads.
        values: (n, K) float32.
        count: N.

    Returns:
        ``table_rows`` (N,), ``rows`` (M, K) and ``values`` (M, K) of `Neighbours`.
    """
    table_rows = np.full(count, -1, np.int64)
    has_neighbours: Mask = np.logical_or.reduce(rows >= 0, axis=1)
    table_rows[item_rows[has_neighbours]] = np.arange(np.count_nonzero(has_neighbours))
    if has_neighbours.all():
        return table_rows, rows, values
    return table_rows, rows[has_neighbours], values[has_neighbours]


class _UserBlock(NamedTuple):
    """Some users: T items of their histories with the user of each, and (b, K) table positions of their candidates."""

    history: Rows
    user: NDArray[np.int64]
    offsets: NDArray[np.int32]
    candidates: NDArray[np.int64]


def neighbour_scores(sources: Sequence[Neighbours], batch: UserBatch, rows: Rows) -> Vectors:
    """Give the scores by S sources over the same N items of K items of each of B users: (S, B, K) float32.

    Args:
        sources: One or more.
        batch: The users.
        rows: (B, K) int64, from 0 to N - 1.

    Returns:
        The scores, NaN for an item that a source does not know.
    """
    width = len(sources[0].known) + 1  # padding points to the first column
    block_size = min(_MAX_USERS, max(1, _TABLE_SIZE // width))
    dtype: type[np.signedinteger] = np.int16 if rows.shape[1] < 2**15 else np.int64
    table = np.zeros(min(block_size, len(rows)) * width, dtype)
    counts = [source.counts(batch) for source in sources]
    ends = np.cumsum([0, *map(len, batch.histories)])
    scores = np.empty((len(sources), *rows.shape), np.float32)
    for start in range(0, len(rows), block_size):
        block = slice(start, start + block_size)
        users = _users(batch.histories[block], rows[block], width)
        block_counts = slice(ends[start], ends[start] + len(users.history))
        table[users.candidates] = np.arange(1, rows.shape[1] + 1)  # a repeated item keeps one position
        for number, source in enumerate(sources):
            scores[number, block] = _user_sums(source, counts[number][block_counts], users, table)
        table[users.candidates] = 0
    for number, source in enumerate(sources):
        scores[number, ~source.known.take(rows)] = np.nan
    return scores


def _users(histories: Sequence[Rows], rows: Rows, width: int) -> _UserBlock:
    user = np.repeat(np.arange(len(rows)), lengths_of(histories))
    offsets = (np.arange(len(rows)) * width + 1).astype(np.int32)  # the dtype of `rows`: a mixed sum is slower
    return _UserBlock(np.concatenate(histories), user, offsets[user][:, None], rows + offsets[:, None])


def _user_sums(source: Neighbours, counts: Doubles, users: _UserBlock, table: NDArray[np.signedinteger]) -> Doubles:
    """Sum contributions to (b, K) candidates; ``table`` maps an item of a user to its position among them, or to 0."""
    width = users.candidates.shape[1]
    table_rows, user, offsets = source.table_rows.take(users.history), users.user, users.offsets
    if table_rows.min(initial=0) < 0:
        has_neighbours = (table_rows >= 0).nonzero()[0]
        table_rows, user, counts = (
            table_rows.take(has_neighbours),
            user.take(has_neighbours),
            counts.take(has_neighbours),
        )
        offsets = offsets.take(has_neighbours, axis=0)
    positions = table.take(source.rows.take(table_rows, axis=0) + offsets).ravel()
    hits = (positions != 0).nonzero()[0]  # several times as fast as `nonzero` of numbers
    neighbours = source.rows.shape[1]
    item = hits // neighbours
    steps = (table_rows - np.arange(len(table_rows))) * neighbours  # offset from a position to its entry of `values`
    values = counts[item] * source.values.take(hits + steps[item])
    sums = np.bincount(user[item] * width + positions[hits], values, minlength=users.candidates.size + 1)
    of_user = np.arange(len(users.candidates))[:, None] * width
    scores: Doubles = sums[table.take(users.candidates) + of_user]
    return scores


def top_neighbours(
    weights: NDArray[np.floating], item_rows: Rows, count: int, max_neighbours: int
) -> tuple[Rows, NDArray[np.int32], Vectors]:
    """Keep the entries of each row of a matrix with the largest magnitudes, largest first.

    Args:
        weights: (n, n), of ``item_rows``.
        item_rows: (n,) their rows among N.
        count: N.
        max_neighbours: K.

    Returns:
        ``table_rows`` (N,), ``rows`` (M, K) and ``values`` (M, K) of `Neighbours`.
    """
    width = min(max_neighbours, len(item_rows))
    rows_of = np.full((len(item_rows), max_neighbours), -1, np.int32)
    values_of = np.zeros(rows_of.shape, np.float32)
    for start in range(0, len(item_rows), _ROWS_A_BLOCK):
        block = slice(start, start + _ROWS_A_BLOCK)
        values_of_block = weights[block].astype(np.float32)
        magnitudes = np.abs(values_of_block)  # partitioned first: a sixth of the time of a full sort
        largest = np.sort(np.argpartition(magnitudes, -width, axis=1)[:, -width:], axis=1)
        best = np.argsort(-np.take_along_axis(magnitudes, largest, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(largest, best, axis=1)
        values = np.take_along_axis(values_of_block, order, axis=1)
        rows_of[block, :width] = np.where(values != 0, item_rows[order], -1)
        values_of[block, :width] = values
    return neighbour_table(item_rows, rows_of, values_of, count)
