"""What sparse sources say for given candidates, which is little of all that they say."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.types import Mask, Rows, Vectors
from retrieval.sources.source import Asked

Doubles = NDArray[np.float64]
# Users whose candidates are told apart at once, in a table of at most so many places: more are fewer calls of numpy,
# at each of which the other threads may have to be waited for.
_MOST_USERS, _ROOM = 16, 2**21


class Sparse(Protocol):
    """A source in which each item of a history speaks for K others; see `Neighbours`."""

    @property
    def rows(self) -> NDArray[np.int32]:
        """(N, K), -1 pads."""
        ...

    @property
    def values(self) -> Vectors:
        """(N, K) float32."""
        ...

    @property
    def known(self) -> Mask:
        """(N,) bool."""
        ...

    def counts(self, asked: Asked) -> Doubles:
        """Give what each item of all histories counts, one history after the other."""
        ...


class _Users(NamedTuple):
    """Some users, and for each of T items of their histories whose it is; and (b, K) places of their candidates."""

    history: Rows
    user: NDArray[np.int64]
    first: NDArray[np.int32]
    wanted: NDArray[np.int64]


def said(sources: Sequence[Sparse], asked: Asked, rows: Rows) -> Vectors:
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
    user = np.repeat(np.arange(len(rows)), list(map(len, histories)))
    first = (np.arange(len(rows)) * items + 1).astype(np.int32)  # as `Sparse.rows`: adding other numbers takes longer
    return _Users(np.concatenate(histories), user, first[user][:, None], rows + first[:, None])


def _summed(source: Sparse, told: Doubles, users: _Users, table: NDArray[np.signedinteger]) -> Doubles:
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
