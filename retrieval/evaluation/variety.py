"""How varied lists are: the distance between their items, and whether they keep to the shares of a user's past."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.types import Rows, Vectors
from retrieval.evaluation.popularity import firsts

SMOOTHING = 0.01
_AT_ONCE = 8_000_000  # numbers held at a time


@dataclass(frozen=True, eq=False)
class Attribute:
    """The values of one attribute, as genres, of N items; an item may have none or several.

    Attributes:
        values: V different values.
        starts: (N + 1,) int64; the values of row r are ``codes[starts[r] : starts[r + 1]]``.
        codes: (M,) int64, positions in ``values``.
    """

    values: tuple[str, ...]
    starts: NDArray[np.int64]
    codes: NDArray[np.int64]

    @classmethod
    def of(cls, column: pa.ChunkedArray | Iterable[object]) -> "Attribute":
        """Read a column of values or of lists of values, None where there is none.

        >>> Attribute.of(["mug", None, ["cup", "jar"]]).values
        ('cup', 'jar', 'mug')
        """
        given = column.to_pylist() if isinstance(column, pa.Array | pa.ChunkedArray) else list(column)
        named = [values_in(value) for value in given]
        values = tuple(sorted({value for row in named for value in row}))
        code = {value: number for number, value in enumerate(values)}
        starts = np.concatenate([[0], np.cumsum([len(row) for row in named], dtype=np.int64)]).astype(np.int64)
        return cls(values, starts, np.array([code[value] for row in named for value in row], np.int64))

    def shares(self, lists: Sequence[Rows]) -> NDArray[np.float64]:
        """Give the share of each value in each of B lists of rows: (B, V) float64, lines of sum 1, or 0 without values.

        Every item that has the attribute counts the same, and is divided evenly among its values.
        """
        rows = np.concatenate([np.empty(0, np.int64), *lists])
        owner = np.repeat(np.arange(len(lists)), [len(one) for one in lists])
        lengths = self.starts[rows + 1] - self.starts[rows]
        inside = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        codes = self.codes[np.repeat(self.starts[rows], lengths) + inside]
        cells = np.repeat(owner, lengths) * len(self.values) + codes
        weights = 1 / np.repeat(lengths, lengths)
        total = np.bincount(cells, weights, minlength=len(lists) * len(self.values))
        total = total.reshape(len(lists), len(self.values))
        shares: NDArray[np.float64] = total / np.maximum(total.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        return shares


def values_in(value: object) -> list[str]:
    """Give the values that an item has of an attribute, each once: none for None, several for a list.

    >>> values_in(None), values_in("red"), values_in(["red", None, "blue", "red"]), values_in(1998)
    ([], ['red'], ['red', 'blue'], ['1998'])
    """
    if value is None:
        return []
    several = value if isinstance(value, list | tuple | set | frozenset) else [value]
    return list(dict.fromkeys(str(one) for one in several if one is not None))


def diversity(rows: Rows, vectors: Vectors, k: int) -> NDArray[np.float64]:
    """Give 1 minus the mean cosine over all pairs of items in the top k: intra-list diversity.

    From 0 (all the same direction) to 1 (at right angles) and beyond (opposite); higher is more varied. Cosines of
    one encoder compare with each other only: real vectors share a large mean. Source: Smyth and McClave 2001.

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        vectors: (N, D) float32, of any length; an item whose vector is zero has no direction and is left out.
        k: How deep to look.

    Returns:
        (B,) float64; NaN for a list with fewer than two items.
    """
    top = rows[:, :k]
    values: NDArray[np.float64] = np.full(len(top), np.nan)
    block = max(1, _AT_ONCE // max(1, top.shape[1] * vectors.shape[1]))
    for start in range(0, len(top), block):
        part = top[start : start + block]
        shown = vectors[np.maximum(part, 0)].astype(np.float64) * firsts(part)[:, :, None]
        lengths = np.linalg.norm(shown, axis=2)
        there = lengths > 0
        total = np.einsum("bk,bkd->bd", np.divide(1, lengths, out=np.zeros_like(lengths), where=there), shown)
        count = there.sum(axis=1)
        # The squared length of the sum is one for each item and the cosines of all ordered pairs.
        cosines = (total**2).sum(axis=1) - count
        pairs = count * (count - 1)
        np.divide(pairs - cosines, pairs, out=values[start : start + block], where=pairs > 0)
    return values


def calibration(
    rows: Rows, histories: Sequence[Rows], attribute: Attribute, k: int, *, smoothing: float = SMOOTHING
) -> NDArray[np.float64]:
    """Give how far the shares of an attribute in the top k are from those in the history: a KL divergence.

    sum over values of p * ln(p / q'), where p are the shares in the history, q those in the list, and
    q' = (1 - smoothing) * q + smoothing * p, so that what the list lacks counts much but not without end. From 0 (the
    same shares) to -ln(smoothing), 4.6 as it is; lower is better. Source: Steck 2018, "Calibrated recommendations".

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        histories: B arrays of rows.
        attribute: Its values for each row.
        k: How deep to look.
        smoothing: How much of the history is mixed in, between 0 and 1.

    Returns:
        (B,) float64, in nats; NaN where the history or the list has no item with the attribute.
    """
    if not 0 < smoothing < 1:
        raise InputError(f"a smoothing of {smoothing} cannot be used; give a number between 0 and 1, such as 0.01")
    top = rows[:, :k]
    values: NDArray[np.float64] = np.full(len(top), np.nan)
    block = max(1, _AT_ONCE // max(1, len(attribute.values)))
    for start in range(0, len(top), block):
        part = top[start : start + block]
        first = firsts(part)
        wanted = attribute.shares(histories[start : start + block])
        shown = attribute.shares([line[kept] for line, kept in zip(part, first, strict=True)])
        mixed = (1 - smoothing) * shown + smoothing * wanted
        # 0 ln 0 is 0: values that the history lacks add nothing.
        terms = wanted * np.log(np.where(wanted > 0, wanted, 1) / np.where(wanted > 0, mixed, 1))
        known = (wanted.sum(axis=1) > 0) & (shown.sum(axis=1) > 0)
        # The same shares may differ from 0 by rounding, on either side.
        values[start : start + block][known] = np.maximum(terms.sum(axis=1), 0)[known]
    return values
