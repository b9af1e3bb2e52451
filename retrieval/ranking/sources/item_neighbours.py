"""Sources that are sparse: what having one item says for its neighbours."""

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
# Users whose candidates are told apart at once, in a table of at most so many places: more are fewer calls of numpy,
# at each of which the other threads may have to be waited for.
_MAX_USERS, _TABLE_SIZE = 16, 2**21
_ROWS_A_BLOCK = 512  # lines of a matrix that are sorted at once: sorting takes several times their memory


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Each item of a history speaks for its K neighbours; recent ones count more.

    Memory is M times K, where M items have neighbours, however many users there were: of a large catalogue few have.

    Attributes:
        name: What it is called.
        lines: (N,) int64, where in ``rows`` and ``values`` the neighbours of each item are, -1 for one without any.
        rows: (M, K) int32, -1 pads.
        values: (M, K) float32, what having the item says for the neighbour; 0 where padded.
        known: (N,) bool, the items of which anything is known.
        half_life: An item this many positions before the last of its history counts half.
        levels: (V,) float32, rising: weights of interactions between which ``worth`` is interpolated.
        worth: (V,) float32, what an interaction counts.
        book: What it was learned from.
    """

    name: str
    lines: Rows
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
            rows_said, values = self._said(history, history_counts)
            result[user] = np.bincount(rows_said % (count + 1), values, minlength=count + 1)
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
            rows, said = self._said(history, history_counts)
            valid = rows >= 0
            sums = np.bincount(rows[valid], said[valid], len(self.known))
            sums[exclude[user]] = 0
            item_rows = np.flatnonzero(sums > 0)
            item_rows = item_rows if allow is None else item_rows[allow[item_rows]]
            values = sums[item_rows].astype(np.float32)  # as `scores` gives them
            order = np.argsort(-values, kind="stable")[:max_rows]
            best_rows[user, : len(order)] = item_rows[order]
        return best_rows

    def _said(self, history: Rows, counts: Doubles) -> tuple[NDArray[np.int32], Doubles]:
        """Give the rows of all neighbours of a history, -1 pads, and what is said for each."""
        lines = self.lines[history]
        has_line = lines >= 0
        lines = lines[has_line]
        values: Doubles = (counts[has_line][:, None] * self.values[lines]).ravel()
        return self.rows[lines].ravel(), values

    def counts(self, batch: UserBatch) -> Doubles:
        """Give what each item of all histories counts, one history after the other: (T,) float64."""
        lengths = lengths_of(batch.histories)
        counts: Doubles = np.interp(np.concatenate([_EMPTY, *batch.weights]), self.levels, self.worth)
        counts *= 0.5 ** (steps_back(lengths) / self.half_life)
        return counts

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Neighbours":
        """Give the source for other rows; see `Source`."""
        new_rows, old_rows = renumber_rows(origins, keep)
        kept = old_rows >= 0
        old_lines = np.where(kept, self.lines[old_rows], -1)
        item_rows = np.flatnonzero(old_lines >= 0)
        old_lines = old_lines[item_rows]
        rows = np.where(self.rows[old_lines] >= 0, new_rows[self.rows[old_lines]], -1).astype(np.int32)
        values = np.where(rows >= 0, self.values[old_lines], np.float32(0))
        lines, rows, values = neighbour_lines(item_rows, rows, values, len(old_rows))
        return replace(self, lines=lines, rows=rows, values=values, known=kept & self.known[old_rows])

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what it is made of: of items with neighbours, in the order of the items."""
        has_neighbours: Mask = self.lines >= 0
        lines = self.lines[has_neighbours]
        parts: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in ("known", "levels", "worth")}
        parts |= {"says": has_neighbours, "rows": self.rows[lines], "values": self.values[lines]}
        return parts | {"half_life": np.array([self.half_life])}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Neighbours":
        """Read what `tensors` gave.

        Raises:
            DamagedFileError: When the arrays differ in length.
        """
        item_rows, half_life = np.flatnonzero(tensors["says"]), float(np.asarray(tensors["half_life"]).item())
        known, levels, worth = (tensors[part] for part in ("known", "levels", "worth"))
        rows, values = tensors["rows"], tensors["values"]
        if len(rows) != len(item_rows) or rows.shape != values.shape or len(known) != len(tensors["says"]):
            raise DamagedFileError(
                f"source {name!r} stores {rows.shape} neighbours and {values.shape} values of {len(item_rows)} items "
                f"that have any, and knows {len(known)} of {len(tensors['says'])} items: fit again, or go back"
            )
        lines = neighbour_lines(item_rows, rows, values, len(known))  # type: ignore[arg-type]
        return cls(name, *lines, known, half_life, levels, worth)  # type: ignore[arg-type]


def neighbour_lines(
    item_rows: Rows, rows: NDArray[np.int32], values: Vectors, count: int
) -> tuple[Rows, NDArray[np.int32], Vectors]:
    """Keep the neighbours of items that have any.

    Args:
        item_rows: (n,) the items, each once.
        rows: (n, K) the neighbours of each, -1 pads.
        values: (n, K) float32.
        count: N.

    Returns:
        Lines (N,) int64, -1 for items without neighbours, rows (M, K) and values (M, K); see `Neighbours`.
    """
    lines = np.full(count, -1, np.int64)
    has_neighbours: Mask = np.logical_or.reduce(rows >= 0, axis=1)
    lines[item_rows[has_neighbours]] = np.arange(np.count_nonzero(has_neighbours))
    if has_neighbours.all():
        return lines, rows, values
    return lines, rows[has_neighbours], values[has_neighbours]


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
    lines, user, offsets = source.lines.take(users.history), users.user, users.offsets
    if lines.min(initial=0) < 0:
        has_line = (lines >= 0).nonzero()[0]
        lines, user, counts = lines.take(has_line), user.take(has_line), counts.take(has_line)
        offsets = offsets.take(has_line, axis=0)
    positions = table.take(source.rows.take(lines, axis=0) + offsets).ravel()
    hits = (positions != 0).nonzero()[0]  # several times as fast as `nonzero` of numbers
    neighbours = source.rows.shape[1]
    item = hits // neighbours
    steps = (lines - np.arange(len(lines))) * neighbours  # from where a line is in `positions` to where it is kept
    values = counts[item] * source.values.take(hits + steps[item])
    sums = np.bincount(user[item] * width + positions[hits], values, minlength=users.candidates.size + 1)
    of_user = np.arange(len(users.candidates))[:, None] * width
    scores: Doubles = sums[table.take(users.candidates) + of_user]
    return scores


def top_neighbours(
    weights: NDArray[np.floating], item_rows: Rows, count: int, max_neighbours: int
) -> tuple[Rows, NDArray[np.int32], Vectors]:
    """Keep the entries of each row of a matrix that are furthest from zero, the strongest first.

    Args:
        weights: (n, n), what each of ``item_rows`` says for each.
        item_rows: (n,) their rows among N.
        count: N.
        max_neighbours: K.

    Returns:
        Lines (N,), rows (M, K) and values (M, K), as `Neighbours` has them.
    """
    width = min(max_neighbours, len(item_rows))
    rows_of = np.full((len(item_rows), max_neighbours), -1, np.int32)
    values_of = np.zeros(rows_of.shape, np.float32)
    for start in range(0, len(item_rows), _ROWS_A_BLOCK):
        block = slice(start, start + _ROWS_A_BLOCK)
        values_of_block = weights[block].astype(np.float32)
        magnitudes = np.abs(values_of_block)  # parted first: a sixth of the time of sorting all
        largest = np.sort(np.argpartition(magnitudes, -width, axis=1)[:, -width:], axis=1)
        best = np.argsort(-np.take_along_axis(magnitudes, largest, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(largest, best, axis=1)
        values = np.take_along_axis(values_of_block, order, axis=1)
        rows_of[block, :width] = np.where(values != 0, item_rows[order], -1)
        values_of[block, :width] = values
    return neighbour_lines(item_rows, rows_of, values_of, count)
