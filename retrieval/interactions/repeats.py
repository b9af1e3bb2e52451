"""What counts where a user has several interactions with one item."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.ragged import lengths_of
from indexing.arrays.types import Mask, Rows, Vectors
from indexing.errors import InteractionsError

Repeats = Literal["last", "sum", "max"]
"""Of several weights that a user gave an item, at different times, count the last one, their sum or the largest.

``"last"`` is for ratings, which are changed: the earlier ones are forgotten. ``"sum"`` is for counts, as of plays.
``"max"`` is for events, such as a view and then a purchase. The interaction counts from the time of the last one, with
``"max"`` from that of the first of the largest.
"""
REPEATS: tuple[Repeats, ...] = ("last", "sum", "max")


class Once(NamedTuple):
    """Interactions of which each pair of user and item has one.

    Attributes:
        places: (n,) int64, rising: where they were.
        weights: (n,) float32.
    """

    places: Rows
    weights: Vectors


def once(pairs: NDArray[np.int64], weights: Vectors, rule: Repeats, rows: Rows | None = None) -> Once:
    """Keep one interaction of each pair.

    Args:
        pairs: (N,) a number for each pair of user and item, in time order.
        weights: (N,) float32.
        rule: Which one.
        rows: (N,) where they stand in the log, for a message.

    Raises:
        InteractionsError: When weights add up to more than float32 holds.

    >>> once(np.array([7, 7, 8]), np.array([5, 1, 3], np.float32), "last")
    Once(places=array([1, 2]), weights=array([1., 3.], dtype=float32))
    """
    if not len(pairs):
        return Once(np.empty(0, np.int64), weights)
    place = np.arange(len(pairs))
    first = -weights if rule == "max" else -place
    order = np.lexsort((place, first, pairs))
    starts = np.flatnonzero(np.diff(pairs[order], prepend=pairs[order][0] - 1))
    kept = order[starts]
    told = weights[kept]
    if rule == "sum":
        told = _added(weights[order], starts, None if rows is None else rows[kept])
    rising = np.argsort(kept)
    return Once(kept[rising], told[rising])


def _added(weights: Vectors, starts: Rows, rows: Rows | None) -> Vectors:
    """Give the sums, (P,) float32, of the weights that begin at P places; the last of each stand in ``rows``."""
    sums = np.add.reduceat(weights.astype(np.float64), starts)
    most = float(np.finfo(np.float32).max)
    if len(bad := np.flatnonzero(np.abs(sums) > most)):
        row = "" if rows is None else f", the last of them in row {rows[bad[0]]} (from 0)"
        raise InteractionsError(
            f"the weights of {len(bad)} pairs of user and item add up to more than {most:.2g}, those of the first to "
            f"{sums[bad[0]]:.2g}{row}",
            python="give smaller weights, or count the last or the largest, by repeats='last' or 'max'",
            cli="give smaller weights, or count the last or the largest, by --repeats last or max",
        )
    return sums.astype(np.float32)


def last_of_each(rows: Rows, lengths: NDArray[np.int64]) -> Mask:
    """Say which items of given histories count, (T,) bool: of one that comes several times in a history the last.

    A history that is given has no `Repeats` of its own; it is read as a log is with ``"last"``.

    Args:
        rows: (T,) the items of B histories that follow each other, each oldest first.
        lengths: (B,) of each history.

    >>> last_of_each(np.array([4, 7, 4, 4]), np.array([3, 1])).tolist()
    [False, True, True, True]
    """
    pairs = np.repeat(np.arange(len(lengths)), lengths) * (1 + int(rows.max(initial=0))) + rows
    counted = np.zeros(len(rows), np.bool_)
    counted[once(pairs, np.zeros(len(rows), np.float32), "last").places] = True
    return counted


def each_once(
    histories: Sequence[Rows], weights: Sequence[Vectors] | None = None
) -> tuple[list[Rows], list[Vectors] | None]:
    """Keep of an item that comes several times in a given history the last, with its weight; see `last_of_each`."""
    rows = np.concatenate([np.empty(0, np.int64), *histories])
    lengths = lengths_of(histories)
    counted = np.split(last_of_each(rows, lengths), np.cumsum(lengths)[:-1]) if len(lengths) else []
    kept = [history[mask] for history, mask in zip(histories, counted, strict=True)]
    return kept, None if weights is None else [one[mask] for one, mask in zip(weights, counted, strict=True)]
