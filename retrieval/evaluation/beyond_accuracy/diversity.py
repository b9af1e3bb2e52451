"""How varied lists are: the distance between their items, and whether they keep to the shares of a user's past."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from indexing.errors import InputError
from retrieval.evaluation.beyond_accuracy.novelty import firsts
from retrieval.features.attribute_values import Attribute

SMOOTHING = 0.01
_AT_ONCE = 8_000_000  # numbers held at a time


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
