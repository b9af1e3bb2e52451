"""Measures beyond accuracy: novelty, popularity, serendipity, diversity, calibration and the Gini coefficient.

Each measure is computed if its data is given: a log of past interactions, vectors, or an attribute.
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
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.item_popularity import item_counts
from retrieval.models.features.attribute_values import Attribute
from retrieval.models.user_model import UserModel


@dataclass(frozen=True, eq=False)
class InteractionCounts:
    """How many users and past interactions each of N items has.

    Attributes:
        users: (N,) int64, number of distinct users of each item.
        interactions: (N,) int64, number of interactions with each item, repeated ones counted.
        num_users: Number of distinct users in the log, including users of unknown items only.
        num_items: Number of live items, without the rows of deleted ones; N if None.
    """

    users: NDArray[np.int64]
    interactions: NDArray[np.int64]
    num_users: int
    num_items: int | None = None

    @classmethod
    def of(cls, log: Interactions, items: ItemIds) -> "InteractionCounts":
        """Count the interactions of a log that ends before the test period.

        Raises:
            InputError: If the log is empty.
        """
        if not len(log):
            raise InputError("the past is empty, so that no item is popular or new; give what users did before")
        item_ids = log.table["item_id"].combine_chunks().dictionary_encode()
        rows_of_ids = [items.row(name) for name in item_ids.dictionary.to_pylist()]
        rows = np.array([-1 if row is None else row for row in rows_of_ids], np.int64)[item_ids.indices.to_numpy()]
        user_ids = log.table["user_id"].combine_chunks().dictionary_encode()
        user_codes = user_ids.indices.to_numpy().astype(np.int64)
        is_known = rows >= 0
        pairs = np.unique(user_codes[is_known] * max(len(items), 1) + rows[is_known])
        return cls(
            users=item_counts(pairs % max(len(items), 1), len(items)).astype(np.int64),
            interactions=item_counts(rows, len(items)).astype(np.int64),
            num_users=len(user_ids.dictionary),
            num_items=int(items.is_live.sum()),
        )


def novelty(rows: Rows, counts: InteractionCounts, k: int) -> NDArray[np.float64]:
    """Return the mean self-information of the top k: the mean of -log2(users of the item / all users).

    This is MIUF of RecTools (Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma"). An item without
    users counts as having one. From 0 (all users know every item) to log2(users); higher is more novel, not better: a
    random list is very novel.

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        counts: Counts of past interactions.
        k: The cutoff.

    Returns:
        (B,) float64; NaN for a list without items.
    """
    information = -np.log2(np.maximum(counts.users, 1) / counts.num_users)
    return _mean_of_top(rows[:, :k], information)


def mean_popularity(rows: Rows, counts: InteractionCounts, k: int) -> NDArray[np.float64]:
    """Return the mean number of past interactions of the items in the top k.

    This is ARP, average recommendation popularity, of RecTools (Yin et al. 2012, "Challenging the long tail
    recommendation"). From 0 to the count of the most popular item; lower means less popularity bias.

    Returns:
        (B,) float64; NaN for a list without items.
    """
    return _mean_of_top(rows[:, :k], counts.interactions.astype(np.float64))


def serendipity(rows: Rows, hits: Mask, counts: InteractionCounts, k: int) -> NDArray[np.float64]:
    """Return how far relevant items in the top k rank above their popularity rank.

    sum over ranks i to k of max(p(i) - pu(i), 0) * relevant(i), divided by k, where p(i) = (N + 1 - i) / N, and
    pu(i) = (N + 1 - popularity rank of the item) / N, or 0 for an item without interactions. Items with equally
    many interactions share a popularity rank, and the next lower count has the next rank. This is the formula
    that RecTools documents; its code divides by the length of the list if that is shorter than k, which would
    reward short lists. From 0 to 1; higher is better. Only items that are both relevant and unpopular add to it.

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        hits: (B, K) bool, which of them are relevant, each once, as `hits_of` returns.
        counts: Counts of past interactions of N items.
        k: The cutoff.

    Returns:
        (B,) float64.
    """
    top, num_items = rows[:, :k], len(counts.interactions) if counts.num_items is None else counts.num_items
    distinct_counts = np.unique(counts.interactions[counts.interactions > 0])[::-1]
    ranks = np.searchsorted(-distinct_counts, -counts.interactions) + 1
    p_popular = np.where(counts.interactions > 0, (num_items + 1 - ranks) / max(num_items, 1), 0.0)
    p_item = (num_items + 1 - np.arange(1, top.shape[1] + 1)) / max(num_items, 1)
    surplus = np.maximum(p_item - p_popular[top], 0) if num_items else np.zeros(top.shape)
    total: NDArray[np.float64] = (surplus * hits[:, :k]).sum(axis=1) / k
    return total


def gini(rows: Rows, catalogue_size: int, k: int) -> float:
    """Return the Gini coefficient of how often each of N items is in a top k.

    With n_1 <= … <= n_N the number of lists that contain each item: sum of (2 i - N - 1) n_i, divided by N times the
    sum of n_i. From 0 (each item equally often) to 1 - 1/N (always the same item); lower is more even; NaN if all lists
    are empty. Source: Gini 1912; for recommendations Adomavicius and Kwon 2012.

    >>> gini(np.array([[0, 1], [2, 3]]), catalogue_size=4, k=2), gini(np.array([[0], [0]]), catalogue_size=4, k=1)
    (0.0, 0.75)
    """
    top = rows[:, :k]
    frequencies = np.sort(np.bincount(top[first_occurrences(top)], minlength=catalogue_size)).astype(np.float64)
    if not frequencies.sum():
        return float("nan")
    coefficients = 2 * np.arange(1, len(frequencies) + 1) - len(frequencies) - 1
    return float(coefficients @ frequencies / (len(frequencies) * frequencies.sum()))


def hits_of(rows: Rows, relevant: Sequence[Collection[str]], items: ItemIds) -> Mask:
    """Return which of (B, K) ranked rows are relevant, (B, K) bool; repeated rows are not."""
    relevant_rows = [items.rows(items.known(set(ids))) for ids in relevant]
    is_relevant = [np.isin(row, targets) for row, targets in zip(rows, relevant_rows, strict=True)]
    return first_occurrences(rows) & np.array(is_relevant, np.bool_).reshape(rows.shape)


def first_occurrences(rows: Rows) -> Mask:
    """Return which of (B, K) ranked rows occur for the first time in their list, (B, K) bool.

    >>> first_occurrences(np.array([[3, 1, 3, -1]])).tolist()
    [[True, True, False, False]]
    """
    order = np.argsort(rows, axis=1, kind="stable")
    ordered = np.take_along_axis(rows, order, axis=1)
    repeated = np.zeros(rows.shape, np.bool_)
    repeated[:, 1:] = ordered[:, 1:] == ordered[:, :-1]
    first: Mask = np.empty(rows.shape, np.bool_)
    np.put_along_axis(first, order, ~repeated, axis=1)
    return first & (rows >= 0)


def _mean_of_top(top: Rows, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean value of the items of each list; NaN for a list without items."""
    first = first_occurrences(top)
    counts = first.sum(axis=1)
    sums = np.where(first, values[np.where(first, top, 0)], 0).sum(axis=1) if values.size else np.zeros(len(top))
    means: NDArray[np.float64] = np.full(len(top), np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


SMOOTHING = 0.01
_MAX_NUMBERS = 8_000_000  # numbers in memory at a time


def diversity(rows: Rows, vectors: Vectors, k: int) -> NDArray[np.float64]:
    """Return 1 minus the mean cosine of all pairs of items in the top k: intra-list diversity.

    From 0 (same direction) over 1 (orthogonal) to 2 (opposite); higher is more diverse. Values of different encoders
    cannot be compared, since vectors share a mean. Source: Smyth and McClave 2001.

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        vectors: (N, D) float32, of any norm; items with a zero vector are left out.
        k: The cutoff.

    Returns:
        (B,) float64; NaN for a list with fewer than two items.
    """
    top = rows[:, :k]
    values: NDArray[np.float64] = np.full(len(top), np.nan)
    chunk_size = max(1, _MAX_NUMBERS // max(1, top.shape[1] * vectors.shape[1]))
    for start in range(0, len(top), chunk_size):
        chunk = top[start : start + chunk_size]
        top_vectors = vectors[np.maximum(chunk, 0)].astype(np.float64) * first_occurrences(chunk)[:, :, None]
        lengths = np.linalg.norm(top_vectors, axis=2)
        has_direction = lengths > 0
        total = np.einsum(
            "bk,bkd->bd", np.divide(1, lengths, out=np.zeros_like(lengths), where=has_direction), top_vectors
        )
        count = has_direction.sum(axis=1)
        # The squared norm of the sum is the number of items plus the cosines of all ordered pairs.
        cosines = (total**2).sum(axis=1) - count
        pairs = count * (count - 1)
        np.divide(pairs - cosines, pairs, out=values[start : start + chunk_size], where=pairs > 0)
    return values


def calibration(
    rows: Rows, histories: Sequence[Rows], attribute: Attribute, k: int, *, smoothing: float = SMOOTHING
) -> NDArray[np.float64]:
    """Return the KL divergence of the attribute's distribution in the top k from that in the history.

    sum over values of p * ln(p / q'), where p is the distribution in the history, q that in the list, and
    q' = (1 - smoothing) * q + smoothing * p, which keeps the divergence finite if q lacks a value of p. From 0 (equal
    distributions) to -ln(smoothing), 4.6 by default; lower is better. Source: Steck 2018, "Calibrated recommendations".

    Args:
        rows: (B, K) int64, ranked rows; -1 pads.
        histories: B arrays of rows.
        attribute: The attribute's values for each row.
        k: The cutoff.
        smoothing: Weight of p in q', between 0 and 1.

    Returns:
        (B,) float64, in nats; NaN if the history or the list has no item with the attribute.
    """
    if not 0 < smoothing < 1:
        raise InputError(f"a smoothing of {smoothing} cannot be used; give a number between 0 and 1, such as 0.01")
    top = rows[:, :k]
    values: NDArray[np.float64] = np.full(len(top), np.nan)
    chunk_size = max(1, _MAX_NUMBERS // max(1, len(attribute.values)))
    for start in range(0, len(top), chunk_size):
        chunk = top[start : start + chunk_size]
        first = first_occurrences(chunk)
        p = attribute.shares(histories[start : start + chunk_size])
        q = attribute.shares([row[mask] for row, mask in zip(chunk, first, strict=True)])
        q_smoothed = (1 - smoothing) * q + smoothing * p
        # 0 ln 0 is 0.
        terms = p * np.log(np.where(p > 0, p, 1) / np.where(p > 0, q_smoothed, 1))
        known = (p.sum(axis=1) > 0) & (q.sum(axis=1) > 0)
        # Equal distributions may give a value slightly below 0 by rounding.
        values[start : start + chunk_size][known] = np.maximum(terms.sum(axis=1), 0)[known]
    return values


@dataclass(frozen=True, eq=False)
class Beyond:
    """Data for measures beyond accuracy; each measure is computed if its data is given.

    Attributes:
        past: Earlier interactions, for ``novelty@k``, ``popularity@k`` and ``serendipity@k``. The log must end before
            the test period, or the measures use data of the future.
        vectors: (N, D) float32, one per item, for ``diversity@k``.
        attribute: One value, or list of values, per item, for ``calibration@k`` of lists against the histories of the
            candidates, without what was disliked.
    """

    past: Interactions | None = None
    vectors: Vectors | None = None
    attribute: pa.ChunkedArray | Sequence[object] | None = None

    def measure(
        self, candidates: Candidates, relevant: Sequence[Collection[str]], cutoffs: Iterable[int]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
        """Measure lists at each cutoff k.

        Returns:
            For each measure of a list (B,) float64, NaN where it is not defined; and each measure of all lists.

        Raises:
            InputError: If the past is empty.
            ShapeError: If the number of vectors or values differs from that of items.
        """
        rows, items, ks = candidates.rows, candidates.items, sorted(set(cutoffs))
        for name, values in (("vectors", self.vectors), ("attribute", self.attribute)):
            if values is not None and len(values) != len(items):
                raise ShapeError(
                    f"{name} has {len(values)} rows for {len(items)} items; give one per item, in row order"
                )
        lists: dict[str, NDArray[np.float64]] = {}
        if self.past is not None:
            counts, hits = InteractionCounts.of(self.past, items), hits_of(rows, relevant, items)
            lists |= {f"novelty@{k}": novelty(rows, counts, k) for k in ks}
            lists |= {f"popularity@{k}": mean_popularity(rows, counts, k) for k in ks}
            lists |= {f"serendipity@{k}": serendipity(rows, hits, counts, k) for k in ks}
        if self.vectors is not None:
            lists |= {f"diversity@{k}": diversity(rows, self.vectors, k) for k in ks}
        if self.attribute is not None:
            attribute, users = Attribute.of(self.attribute), UserModel(min_relevance=candidates.min_relevance)
            liked, _ = users.liked_items(candidates.histories, candidates.weights or None)
            lists |= {f"calibration@{k}": calibration(rows, liked, attribute, k) for k in ks}
        live_rows = np.flatnonzero(items.is_live)
        live_position = np.full(len(items) + 1, -1, np.int64)  # the last one is for padding
        live_position[live_rows] = np.arange(len(live_rows))
        return lists, {f"gini@{k}": gini(live_position[rows], len(live_rows), k) for k in ks}
