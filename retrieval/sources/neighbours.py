"""Sources that are sparse: what having one item says for its neighbours."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from indexing.types import Rows, Vectors
from retrieval.ragged import ages
from retrieval.sources.source import Asked, Book, renumbered

Doubles = NDArray[np.float64]
_NONE = np.empty(0)
_MOST_USERS, _ROOM = 32, 2**22  # whose candidates are told apart at once, in a table of at most so many places
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
    book: Book | None = None

    def scores(self, asked: Asked, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows, NaN for unknown items; see `Source`."""
        histories, counts = self._counted(asked)
        if rows is not None:
            found = self._scored(histories, counts, rows)
            found[~self.known[rows]] = np.nan
            return found
        count = len(self.known)
        found = np.zeros((len(asked), count + 1), np.float32)  # padding goes to the last column
        for line, (history, told) in enumerate(zip(histories, counts, strict=True)):
            said = (told[:, None] * self.values[history]).ravel()
            found[line] = np.bincount(self.rows[history].ravel() % (count + 1), said, minlength=count + 1)
        found[:, :-1][:, ~self.known] = np.nan
        return found[:, :-1]

    def _counted(self, asked: Asked) -> tuple[list[Rows], list[Doubles]]:
        """Give the items of each history and what each of them counts."""
        lengths = np.array(list(map(len, asked.histories)), np.int64)
        counts = np.interp(np.concatenate([_NONE, *asked.weights]), self.levels, self.worth)
        counts *= 0.5 ** (ages(lengths) / self.half_life)
        return list(asked.histories), np.split(counts, np.cumsum(lengths)[:-1]) if len(lengths) else []

    def _scored(self, histories: list[Rows], counts: list[Doubles], rows: Rows) -> Vectors:
        """Sum up only what is said for given rows, which is little of what is said.

        A table says which items are asked for. Those of few users fit the processor's cache; more users at once are
        fewer calls.
        """
        items = len(self.known) + 1  # the first is what padding points to
        together = min(_MOST_USERS, max(1, _ROOM // items))
        kind: type[np.signedinteger] = np.int16 if rows.shape[1] < 2**15 else np.int64
        table = np.zeros(together * items, kind)
        found = np.empty(rows.shape, np.float32)
        for start in range(0, len(rows), together):
            some = slice(start, start + together)
            found[some] = self._of_few(histories[some], counts[some], rows[some], table, items)
        return found

    def _of_few(
        self, histories: list[Rows], counts: list[Doubles], rows: Rows, table: NDArray[np.signedinteger], items: int
    ) -> Doubles:
        """Give what is said for (b, K) rows; the table has ``items`` places for each user, all 0 before and after."""
        users, width = np.arange(len(rows)), rows.shape[1]
        user = np.repeat(users, list(map(len, histories)))
        history, told = np.concatenate(histories), np.concatenate(counts)
        wanted = rows + (users * items + 1)[:, None]
        table[wanted] = np.arange(1, width + 1)  # an item that comes twice has one place
        places = table.take(self.rows.take(history, axis=0) + (user * items + 1)[:, None]).ravel()
        hits = (places != 0).nonzero()[0]  # several times as fast as `nonzero` of numbers
        line, neighbour = np.divmod(hits, self.rows.shape[1])
        said = told[line] * self.values[history[line], neighbour]
        sums = np.bincount(user[line] * width + places[hits], said, minlength=rows.size + 1)
        of_rows: Doubles = sums[table.take(wanted) + (users * width)[:, None]]
        table[wanted] = 0
        return of_rows

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "Neighbours":
        """Give the source for other rows; see `Source`."""
        places, came = renumbered(origins, kept)
        old = came >= 0
        rows = np.where(old[:, None] & (self.rows[came] >= 0), places[self.rows[came]], -1).astype(np.int32)
        values = np.where(rows >= 0, self.values[came], np.float32(0))
        return replace(self, rows=rows, values=values, known=old & self.known[came])

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what it is made of."""
        parts = {name: getattr(self, name) for name in ("rows", "values", "known", "levels", "worth")}
        return parts | {"half_life": np.array([self.half_life])}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Neighbours":
        """Read what `tensors` gave."""
        half_life = float(np.asarray(tensors["half_life"]).item())
        return cls(name, half_life=half_life, **{key: one for key, one in tensors.items() if key != "half_life"})  # type: ignore[arg-type]


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
        order = np.argsort(-np.abs(here), axis=1, kind="stable")[:, :width]
        values = np.take_along_axis(here, order, axis=1)
        rows_of[kept[some], :width] = np.where(values != 0, kept[order], -1)
        values_of[kept[some], :width] = values
    return rows_of, values_of
