"""Sources that are sparse: what having one item says for its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, lengths_of, steps_back
from retrieval.ranking.sources.base import TrainingLog, UserBatch, renumber_rows

Doubles = NDArray[np.float64]
_EMPTY = np.empty(0)
# Users whose candidates are told apart at once, in a table of at most so many places: more are fewer calls of numpy,
# at each of which the other threads may have to be waited for.
_MAX_USERS, _TABLE_SIZE = 16, 2**21
_ROWS_A_BLOCK = 512  # lines of a matrix that are sorted at once: sorting takes several times their memory


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Each item of a history speaks for its K neighbours; recent ones count more.

    Memory is N times K however many users there were.

    Attributes:
        name: What it is called.
        rows: (N, K) int32, -1 pads.
        values: (N, K) float32, what having the item says for the neighbour; 0 where padded.
        known: (N,) bool, the items of which anything is known.
        half_life: An item this many positions before the last of its history counts half.
        levels: (V,) float32, rising: weights of interactions between which ``worth`` is interpolated.
        worth: (V,) float32, what an interaction counts.
        book: What it was learned from.
    """

    name: str
    rows: NDArray[np.int32]
    values: Vectors
    known: NDArray[np.bool_]
    half_life: float
    levels: Vectors
    worth: Vectors
    book: TrainingLog | None = None

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
            values = (history_counts[:, None] * self.values[history]).ravel()
            result[user] = np.bincount(self.rows[history].ravel() % (count + 1), values, minlength=count + 1)
        result[:, :-1][:, ~self.known] = np.nan
        return result[:, :-1]

    def best(self, batch: UserBatch, exclude: Sequence[Rows], max_rows: int, allow: Mask | None = None) -> Rows:
        """Give what is said for most, of what anything is said for: (B, most) int64, the best first, -1 pads.

        Args:
            batch: B users.
            exclude: B arrays of rows that must not come up.
            max_rows: How many.
            allow: (N,) bool, the rows that may come up; all when None.
        """
        best_rows = np.full((len(batch), min(max_rows, len(self.known))), -1, np.int64)
        ends = np.cumsum(lengths_of(batch.histories))
        counts = np.split(self.counts(batch), ends[:-1]) if len(ends) else []
        for user, (history, history_counts) in enumerate(zip(batch.histories, counts, strict=True)):
            rows = self.rows[history].ravel()
            valid = rows >= 0
            sums = np.bincount(
                rows[valid], (history_counts[:, None] * self.values[history]).ravel()[valid], len(self.known)
            )
            sums[exclude[user]] = 0
            item_rows = np.flatnonzero(sums > 0)
            item_rows = item_rows if allow is None else item_rows[allow[item_rows]]
            values = sums[item_rows].astype(np.float32)  # as `scores` gives them
            order = np.argsort(-values, kind="stable")[:max_rows]
            best_rows[user, : len(order)] = item_rows[order]
        return best_rows

    def counts(self, batch: UserBatch) -> Doubles:
        """Give what each item of all histories counts, one history after the other: (T,) float64."""
        lengths = lengths_of(batch.histories)
        counts: Doubles = np.interp(np.concatenate([_EMPTY, *batch.weights]), self.levels, self.worth)
        counts *= 0.5 ** (steps_back(lengths) / self.half_life)
        return counts

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Neighbours":
        """Give the source for other rows; see `Source`."""
        new_rows, old_rows = renumber_rows(origins, keep)
        known = old_rows >= 0
        rows = np.where(known[:, None] & (self.rows[old_rows] >= 0), new_rows[self.rows[old_rows]], -1).astype(np.int32)
        values = np.where(rows >= 0, self.values[old_rows], np.float32(0))
        return replace(self, rows=rows, values=values, known=known & self.known[old_rows])

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what it is made of, without the lines of items that say nothing: of a large catalogue most."""
        has_neighbours: Mask = np.logical_or.reduce(self.rows >= 0, axis=1)
        parts: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in ("known", "levels", "worth")}
        parts |= {"says": has_neighbours, "rows": self.rows[has_neighbours], "values": self.values[has_neighbours]}
        return parts | {"half_life": np.array([self.half_life])}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Neighbours":
        """Read what `tensors` gave."""
        has_neighbours, half_life = tensors["says"], float(np.asarray(tensors["half_life"]).item())
        rows = np.full((len(has_neighbours), tensors["rows"].shape[1]), -1, np.int32)
        values = np.zeros(rows.shape, np.float32)
        rows[has_neighbours], values[has_neighbours] = tensors["rows"], tensors["values"]
        known, levels, worth = (tensors[part] for part in ("known", "levels", "worth"))
        return cls(name, rows, values, known, half_life, levels, worth)  # type: ignore[arg-type]


class _UserBlock(NamedTuple):
    """Some users, and for each of T items of their histories whose it is; and (b, K) places of their candidates."""

    history: Rows
    user: NDArray[np.int64]
    offsets: NDArray[np.int32]
    candidates: NDArray[np.int64]


def neighbour_scores(sources: Sequence[Neighbours], batch: UserBatch, rows: Rows) -> Vectors:
    """Sum up what S sources over the same N items say for K items of each of B users: (S, B, K) float32.

    Args:
        sources: One or more.
        batch: The users.
        rows: (B, K) int64, from 0 to N - 1.

    Returns:
        The sums, NaN for an item that a source does not know.
    """
    width = len(sources[0].known) + 1  # the first is what padding points to
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
        table[users.candidates] = np.arange(1, rows.shape[1] + 1)  # an item that comes twice has one place
        for number, source in enumerate(sources):
            scores[number, block] = _user_sums(source, counts[number][block_counts], users, table)
        table[users.candidates] = 0
    for number, source in enumerate(sources):
        scores[number, ~source.known.take(rows)] = np.nan
    return scores


def _users(histories: Sequence[Rows], rows: Rows, width: int) -> _UserBlock:
    user = np.repeat(np.arange(len(rows)), lengths_of(histories))
    offsets = (np.arange(len(rows)) * width + 1).astype(np.int32)  # as `rows`: adding others takes longer
    return _UserBlock(np.concatenate(histories), user, offsets[user][:, None], rows + offsets[:, None])


def _user_sums(source: Neighbours, counts: Doubles, users: _UserBlock, table: NDArray[np.signedinteger]) -> Doubles:
    """Give what is said for (b, K) candidates, whose places in a list of each user the table has; 0 for all others."""
    width = users.candidates.shape[1]
    positions = table.take(source.rows.take(users.history, axis=0) + users.offsets).ravel()
    hits = (positions != 0).nonzero()[0]  # several times as fast as `nonzero` of numbers
    item, neighbour = np.divmod(hits, source.rows.shape[1])
    values = counts[item] * source.values[users.history[item], neighbour]
    sums = np.bincount(users.user[item] * width + positions[hits], values, minlength=users.candidates.size + 1)
    of_user = np.arange(len(users.candidates))[:, None] * width
    scores: Doubles = sums[table.take(users.candidates) + of_user]
    return scores


def top_neighbours(
    weights: NDArray[np.floating], item_rows: Rows, count: int, max_neighbours: int
) -> tuple[NDArray[np.int32], Vectors]:
    """Keep the entries of each row of a matrix that are furthest from zero.

    Args:
        weights: (n, n), what each of ``item_rows`` says for each.
        item_rows: (n,) their rows among N.
        count: N.
        max_neighbours: K.

    Returns:
        Rows (N, K) int32, -1 pads, and values (N, K) float32, the strongest first.
    """
    width = min(max_neighbours, len(item_rows))
    rows_of, values_of = np.full((count, max_neighbours), -1, np.int32), np.zeros((count, max_neighbours), np.float32)
    for start in range(0, len(item_rows), _ROWS_A_BLOCK):
        block = slice(start, start + _ROWS_A_BLOCK)
        values_of_block = weights[block].astype(np.float32)
        magnitudes = np.abs(values_of_block)  # parted first: a sixth of the time of sorting all
        largest = np.sort(np.argpartition(magnitudes, -width, axis=1)[:, -width:], axis=1)
        best = np.argsort(-np.take_along_axis(magnitudes, largest, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(largest, best, axis=1)
        values = np.take_along_axis(values_of_block, order, axis=1)
        rows_of[item_rows[block], :width] = np.where(values != 0, item_rows[order], -1)
        values_of[item_rows[block], :width] = values
    return rows_of, values_of
