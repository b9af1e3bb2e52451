"""Measures beyond accuracy: novelty, popularity, serendipity, diversity, calibration, and how evenly items are shown.

Each is taken where what it needs is given: a past log, vectors, an attribute.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.features.attribute_values import Attribute
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_counts import item_counts


@dataclass(frozen=True, eq=False)
class Past:
    """How often each of N items was met before the lists were made.

    Attributes:
        users: (N,) int64, different users of each item.
        interactions: (N,) int64, interactions with each item, repeated ones counted.
        people: Different users in the log, also those of items that are not among these.
        count: Items that there are: rows of those that were deleted are none. N when None.
    """

    users: NDArray[np.int64]
    interactions: NDArray[np.int64]
    people: int
    count: int | None = None

    @classmethod
    def of(cls, log: Interactions, items: ItemIds) -> "Past":
        """Count a log that ends before what is to be found begins.

        Raises:
            InputError: When the log is empty.
        """
        if not len(log):
            raise InputError("the past is empty, so that no item is popular or new; give what users did before")
        names = log.table["item_id"].combine_chunks().dictionary_encode()
        known = [items.row(name) for name in names.dictionary.to_pylist()]
        rows = np.array([-1 if row is None else row for row in known], np.int64)[names.indices.to_numpy()]
        people = log.table["user_id"].combine_chunks().dictionary_encode()
        users = people.indices.to_numpy().astype(np.int64)
        here = rows >= 0
        pairs = np.unique(users[here] * max(len(items), 1) + rows[here])
        return cls(
            users=item_counts(pairs % max(len(items), 1), len(items)).astype(np.int64),
            interactions=item_counts(rows, len(items)).astype(np.int64),
            people=len(people.dictionary),
            count=int(items.alive.sum()),
        )


def novelty(rows: Rows, past: Past, k: int) -> NDArray[np.float64]:
    """Give the mean self-information of the top k: the mean of -log2(users of the item / all users).

    This is MIUF of RecTools (Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma"). An item that
    nobody met counts as met by one user. From 0 (everybody met all of it) to log2(users); higher is newer, not
    better: a random list is very new.

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        past: What was met before.
        k: How deep to look.

    Returns:
        (B,) float64; NaN for a list without items.
    """
    information = -np.log2(np.maximum(past.users, 1) / past.people)
    return _mean_shown(rows[:, :k], information)


def mean_popularity(rows: Rows, past: Past, k: int) -> NDArray[np.float64]:
    """Give the mean number of past interactions of the items in the top k.

    This is ARP, average recommendation popularity, of RecTools (Yin et al. 2012, "Challenging the long tail
    recommendation"). From 0 to the interactions of the most popular item; lower favours popular items less.

    Returns:
        (B,) float64; NaN for a list without items.
    """
    return _mean_shown(rows[:, :k], past.interactions.astype(np.float64))


def serendipity(rows: Rows, hits: Mask, past: Past, k: int) -> NDArray[np.float64]:
    """Give how far relevant items in the top k stand above the place that popularity alone would give them.

    sum over ranks i to k of max(p(i) - pu(i), 0) * relevant(i), divided by k, where p(i) = (N + 1 - i) / N, and
    pu(i) = (N + 1 - popularity rank of the item) / N, or 0 for an item without interactions. Items with equally
    many interactions share a popularity rank, and the next lower number has the next rank. This is the formula
    that RecTools documents; its code divides by the length of the list where that is shorter than k, which would
    reward short lists. From 0 to 1; higher is better. It needs both a relevant and an unpopular item.

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        hits: (B, K) bool, which of them are relevant, each once, as `hits_of` gives.
        past: What was met before, for N items.
        k: How deep to look.

    Returns:
        (B,) float64.
    """
    top, count = rows[:, :k], len(past.interactions) if past.count is None else past.count
    steps = np.unique(past.interactions[past.interactions > 0])[::-1]
    ranks = np.searchsorted(-steps, -past.interactions) + 1
    anybody = np.where(past.interactions > 0, (count + 1 - ranks) / max(count, 1), 0.0)
    here = (count + 1 - np.arange(1, top.shape[1] + 1)) / max(count, 1)
    surplus = np.maximum(here - anybody[top], 0) if count else np.zeros(top.shape)
    total: NDArray[np.float64] = (surplus * hits[:, :k]).sum(axis=1) / k
    return total


def gini(rows: Rows, catalogue_size: int, k: int) -> float:
    """Give how unevenly the N items of the catalogue share the places in all the top k: the Gini coefficient.

    With n_1 <= … <= n_N the times that each item is shown: sum of (2 i - N - 1) n_i, divided by N times the sum of
    n_i. From 0 (each item equally often) to 1 - 1/N (always the same item); lower is more even; NaN when nothing is
    shown. Source: Gini 1912; for recommendations Adomavicius and Kwon 2012.

    >>> gini(np.array([[0, 1], [2, 3]]), catalogue_size=4, k=2), gini(np.array([[0], [0]]), catalogue_size=4, k=1)
    (0.0, 0.75)
    """
    top = rows[:, :k]
    shown = np.sort(np.bincount(top[firsts(top)], minlength=catalogue_size)).astype(np.float64)
    if not shown.sum():
        return float("nan")
    places = 2 * np.arange(1, len(shown) + 1) - len(shown) - 1
    return float(places @ shown / (len(shown) * shown.sum()))


def hits_of(rows: Rows, relevant: Sequence[Collection[str]], items: ItemIds) -> Mask:
    """Say which of (B, K) ranked rows are relevant: (B, K) bool; a row that was in the line before is not."""
    wanted = [items.rows(items.known(set(ids))) for ids in relevant]
    inside = [np.isin(line, one) for line, one in zip(rows, wanted, strict=True)]
    return firsts(rows) & np.array(inside, np.bool_).reshape(rows.shape)


def firsts(rows: Rows) -> Mask:
    """Say which of (B, K) places hold an item that was not in the line before: (B, K) bool.

    >>> firsts(np.array([[3, 1, 3, -1]])).tolist()
    [[True, True, False, False]]
    """
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    again = np.zeros(rows.shape, np.bool_)
    again[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    first: Mask = np.empty(rows.shape, np.bool_)
    np.put_along_axis(first, order, ~again, axis=1)
    return first & (rows >= 0)


def _mean_shown(top: Rows, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the mean over the items of each line of one value an item; NaN for a line without items."""
    first = firsts(top)
    counts = first.sum(axis=1)
    sums = np.where(first, values[np.where(first, top, 0)], 0).sum(axis=1) if values.size else np.zeros(len(top))
    means: NDArray[np.float64] = np.full(len(top), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


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


@dataclass(frozen=True, eq=False)
class Beyond:
    """What the measures beyond accuracy need to know; each is taken where what it needs is given.

    Attributes:
        past: What users did before: for ``novelty@k``, ``popularity@k`` and ``serendipity@k``. A log that reaches into
            the time of what is to be found makes them say what could not be known.
        vectors: (N, D) float32, one an item: for ``diversity@k``.
        attribute: One value, or list of values, an item: for ``calibration@k`` of lists against the histories of the
            candidates.
    """

    past: Interactions | None = None
    vectors: Vectors | None = None
    attribute: pa.ChunkedArray | Sequence[object] | None = None

    def measure(
        self, candidates: Candidates, relevant: Sequence[Collection[str]], depths: Iterable[int]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
        """Measure lists at each of some depths k.

        Returns:
            For each measure of a list (B,) float64, NaN where it is not defined; and each measure of all lists.

        Raises:
            InputError: When the past is empty.
            ShapeError: When there is not one vector or value an item.
        """
        rows, items, ks = candidates.rows, candidates.items, sorted(set(depths))
        for name, given in (("vectors", self.vectors), ("attribute", self.attribute)):
            if given is not None and len(given) != len(items):
                raise ShapeError(f"{name} has {len(given)} lines for {len(items)} items; one an item, in row order")
        lists: dict[str, NDArray[np.float64]] = {}
        if self.past is not None:
            past, hits = Past.of(self.past, items), hits_of(rows, relevant, items)
            lists |= {f"novelty@{k}": novelty(rows, past, k) for k in ks}
            lists |= {f"popularity@{k}": mean_popularity(rows, past, k) for k in ks}
            lists |= {f"serendipity@{k}": serendipity(rows, hits, past, k) for k in ks}
        if self.vectors is not None:
            lists |= {f"diversity@{k}": diversity(rows, self.vectors, k) for k in ks}
        if self.attribute is not None:
            values = Attribute.of(self.attribute)
            lists |= {f"calibration@{k}": calibration(rows, candidates.histories, values, k) for k in ks}
        there = np.flatnonzero(items.alive)
        place = np.full(len(items) + 1, -1, np.int64)  # the last is that of padding
        place[there] = np.arange(len(there))
        return lists, {f"gini@{k}": gini(place[rows], len(there), k) for k in ks}
