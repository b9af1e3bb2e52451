"""Sources that are sparse: what having one item says for its neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, lengths_of, steps_back
from retrieval.ranking.sources.base import TrainingLog, UserBatch, renumbered

Doubles = NDArray[np.float64]
_NONE = np.empty(0)
# Users whose candidates are told apart at once, in a table of at most so many places: more are fewer calls of numpy,
# at each of which the other threads may have to be waited for.
_MOST_USERS, _ROOM = 16, 2**21
_AT_ONCE = 512  # lines of a matrix that are sorted at once: sorting takes several times their memory


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

    def scores(self, asked: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows, NaN for unknown items; see `Source`."""
        if rows is not None:
            of_rows: Vectors = said([self], asked, rows)[0]
            return of_rows
        count = len(self.known)
        found = np.zeros((len(asked), count + 1), np.float32)  # padding goes to the last column
        ends = np.cumsum(lengths_of(asked.histories))
        counts = np.split(self.counts(asked), ends[:-1]) if len(ends) else []
        for line, (history, told) in enumerate(zip(asked.histories, counts, strict=True)):
            values = (told[:, None] * self.values[history]).ravel()
            found[line] = np.bincount(self.rows[history].ravel() % (count + 1), values, minlength=count + 1)
        found[:, :-1][:, ~self.known] = np.nan
        return found[:, :-1]

    def best(self, asked: UserBatch, exclude: Sequence[Rows], most: int, allow: Mask | None = None) -> Rows:
        """Give what is said for most, of what anything is said for: (B, most) int64, the best first, -1 pads.

        Args:
            asked: B users.
            exclude: B arrays of rows that must not come up.
            most: How many.
            allow: (N,) bool, the rows that may come up; all when None.
        """
        found = np.full((len(asked), min(most, len(self.known))), -1, np.int64)
        ends = np.cumsum(lengths_of(asked.histories))
        counts = np.split(self.counts(asked), ends[:-1]) if len(ends) else []
        for line, (history, told) in enumerate(zip(asked.histories, counts, strict=True)):
            rows = self.rows[history].ravel()
            there = rows >= 0
            sums = np.bincount(rows[there], (told[:, None] * self.values[history]).ravel()[there], len(self.known))
            sums[exclude[line]] = 0
            some = np.flatnonzero(sums > 0)
            some = some if allow is None else some[allow[some]]
            values = sums[some].astype(np.float32)  # as `scores` gives them
            order = np.argsort(-values, kind="stable")[:most]
            found[line, : len(order)] = some[order]
        return found

    def counts(self, asked: UserBatch) -> Doubles:
        """Give what each item of all histories counts, one history after the other: (T,) float64."""
        lengths = lengths_of(asked.histories)
        counts: Doubles = np.interp(np.concatenate([_NONE, *asked.weights]), self.levels, self.worth)
        counts *= 0.5 ** (steps_back(lengths) / self.half_life)
        return counts

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "Neighbours":
        """Give the source for other rows; see `Source`."""
        places, came = renumbered(origins, kept)
        old = came >= 0
        rows = np.where(old[:, None] & (self.rows[came] >= 0), places[self.rows[came]], -1).astype(np.int32)
        values = np.where(rows >= 0, self.values[came], np.float32(0))
        return replace(self, rows=rows, values=values, known=old & self.known[came])

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what it is made of, without the lines of items that say nothing: of a large catalogue most."""
        says: Mask = np.logical_or.reduce(self.rows >= 0, axis=1)
        parts: dict[str, NDArray[np.generic]] = {name: getattr(self, name) for name in ("known", "levels", "worth")}
        parts |= {"says": says, "rows": self.rows[says], "values": self.values[says]}
        return parts | {"half_life": np.array([self.half_life])}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Neighbours":
        """Read what `tensors` gave."""
        says, half_life = tensors["says"], float(np.asarray(tensors["half_life"]).item())
        rows = np.full((len(says), tensors["rows"].shape[1]), -1, np.int32)
        values = np.zeros(rows.shape, np.float32)
        rows[says], values[says] = tensors["rows"], tensors["values"]
        known, levels, worth = (tensors[part] for part in ("known", "levels", "worth"))
        return cls(name, rows, values, known, half_life, levels, worth)  # type: ignore[arg-type]


class _Users(NamedTuple):
    """Some users, and for each of T items of their histories whose it is; and (b, K) places of their candidates."""

    history: Rows
    user: NDArray[np.int64]
    first: NDArray[np.int32]
    wanted: NDArray[np.int64]


def said(sources: Sequence[Neighbours], asked: UserBatch, rows: Rows) -> Vectors:
    """Sum up what S sources over the same N items say for K items of each of B users: (S, B, K) float32.

    Args:
        sources: One or more.
        asked: The users.
        rows: (B, K) int64, from 0 to N - 1.

    Returns:
        The sums, NaN for an item that a source does not know.
    """
    items = len(sources[0].known) + 1  # the first is what padding points to
    together = min(_MOST_USERS, max(1, _ROOM // items))
    kind: type[np.signedinteger] = np.int16 if rows.shape[1] < 2**15 else np.int64
    table = np.zeros(min(together, len(rows)) * items, kind)
    counts = [source.counts(asked) for source in sources]
    ends = np.cumsum([0, *map(len, asked.histories)])
    found = np.empty((len(sources), *rows.shape), np.float32)
    for start in range(0, len(rows), together):
        some = slice(start, start + together)
        users = _users(asked.histories[some], rows[some], items)
        here = slice(ends[start], ends[start] + len(users.history))
        table[users.wanted] = np.arange(1, rows.shape[1] + 1)  # an item that comes twice has one place
        for place, source in enumerate(sources):
            found[place, some] = _summed(source, counts[place][here], users, table)
        table[users.wanted] = 0
    for place, source in enumerate(sources):
        found[place, ~source.known.take(rows)] = np.nan
    return found


def _users(histories: Sequence[Rows], rows: Rows, items: int) -> _Users:
    user = np.repeat(np.arange(len(rows)), lengths_of(histories))
    first = (np.arange(len(rows)) * items + 1).astype(np.int32)  # as `rows`: adding others takes longer
    return _Users(np.concatenate(histories), user, first[user][:, None], rows + first[:, None])


def _summed(source: Neighbours, told: Doubles, users: _Users, table: NDArray[np.signedinteger]) -> Doubles:
    """Give what is said for (b, K) candidates, whose places in a list of each user the table has; 0 for all others."""
    width = users.wanted.shape[1]
    places = table.take(source.rows.take(users.history, axis=0) + users.first).ravel()
    hits = (places != 0).nonzero()[0]  # several times as fast as `nonzero` of numbers
    line, neighbour = np.divmod(hits, source.rows.shape[1])
    values = told[line] * source.values[users.history[line], neighbour]
    sums = np.bincount(users.user[line] * width + places[hits], values, minlength=users.wanted.size + 1)
    of_user = np.arange(len(users.wanted))[:, None] * width
    summed: Doubles = sums[table.take(users.wanted) + of_user]
    return summed


def strongest(weights: NDArray[np.floating], kept: Rows, count: int, most: int) -> tuple[NDArray[np.int32], Vectors]:
    """Keep the entries of each row of a matrix that are furthest from zero.

    Args:
        weights: (n, n), what each of ``kept`` says for each.
        kept: (n,) their rows among N.
        count: N.
        most: K.

    Returns:
        Rows (N, K) int32, -1 pads, and values (N, K) float32, the strongest first.
    """
    width = min(most, len(kept))
    rows_of, values_of = np.full((count, most), -1, np.int32), np.zeros((count, most), np.float32)
    for start in range(0, len(kept), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        here = weights[some].astype(np.float32)
        size = np.abs(here)  # parted first: a sixth of the time of sorting all
        most_of = np.sort(np.argpartition(size, -width, axis=1)[:, -width:], axis=1)
        best = np.argsort(-np.take_along_axis(size, most_of, axis=1), axis=1, kind="stable")
        order = np.take_along_axis(most_of, best, axis=1)
        values = np.take_along_axis(here, order, axis=1)
        rows_of[kept[some], :width] = np.where(values != 0, kept[order], -1)
        values_of[kept[some], :width] = values
    return rows_of, values_of
