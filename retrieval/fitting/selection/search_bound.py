"""Bounds what an adapter may cost text and image search.

A bundle does not hold the queries that people will type. Items are searched instead by their own vectors, and by
blurred ones: an item's vector with so much noise that the frozen space only just finds it. A caption is such a query
for a picture: far from it, and a little nearer than to others. What moves items therefore costs blurred queries more
than it costs own vectors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from indexing.arrays import Rows, Vectors, unit
from indexing.store.collect import ModalityVectors, fuse
from retrieval.models.adapter import Adapter

STRENGTHS = (1.0, 0.8, 0.6, 0.4, 0.2, 0.1)
K = 10
MAX_LOSS = 0.02  # of recall@10, that an adapter may cost
# Of a large catalogue so many items are searched by so many queries: seconds, whatever its size.
MAX_ITEMS, MAX_QUERIES = 50_000, 500
BLURRED, BLURRED_RECALL = "blurred", 0.95
ROUNDING = 1e-9  # 0.95 less 0.01 is not 0.94 to the last bit, and five of 500 lost are within a hundredth
_DOUBLINGS, _HALVINGS = 8, 12


class KnownItemQueries(NamedTuple):
    """Queries, and the one item that each of them is about.

    Attributes:
        vectors: (Q, D) float32, unit length.
        rows: (Q,) int64.
    """

    vectors: Vectors
    rows: Rows

    def recall(self, items: Vectors, k: int = K) -> float:
        """Give the fraction of queries whose item is among the k nearest; an equal score does not come before it.

        Args:
            items: (N, D) float32, which are searched.
            k: Length of the list.
        """
        scores = self.vectors @ items.T
        own = np.take_along_axis(scores, self.rows[:, None], axis=1)
        return float(((scores > own).sum(axis=1) < k).mean())


@dataclass(frozen=True)
class BoundedAdapter:
    """An adapter that keeps search.

    Attributes:
        adapter: As it is served.
        strength: How much of what was trained is in it, from 0 to 1.
        search: Recall@10 of items by their own vector of each modality, and by blurred ones: frozen, and with the
            adapter.
    """

    adapter: Adapter
    strength: float
    search: dict[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Give strength and search as plain JSON values."""
        search = {name: {"frozen": frozen, "adapter": adapted} for name, (frozen, adapted) in self.search.items()}
        return {"strength": self.strength, "search_recall@10": search}


def bound_search_loss(adapter: Adapter, items: ModalityVectors, max_loss: float = MAX_LOSS) -> BoundedAdapter:
    """Soften an adapter until it costs no kind of query more than ``max_loss``.

    Args:
        adapter: As it was trained.
        items: The frozen vectors.
        max_loss: How much recall@10 may be lost, from 0 to 1.
    """
    rng = np.random.default_rng(0)
    sample = items.take(np.sort(rng.permutation(items.count)[:MAX_ITEMS]))
    frozen = fuse(sample)
    queries = own_queries(sample, rng) | {BLURRED: blurred_queries(frozen, rng)}
    before = recalls(queries, frozen)
    for strength in STRENGTHS:
        softened = adapter.softened(strength)
        after = recalls(queries, softened.apply(sample))
        if all(before[name] - after[name] <= max_loss + ROUNDING for name in queries):
            return BoundedAdapter(softened, strength, {name: (before[name], after[name]) for name in queries})
    return BoundedAdapter(adapter.softened(0.0), 0.0, {name: (recall, recall) for name, recall in before.items()})


def own_queries(items: ModalityVectors, rng: np.random.Generator) -> dict[str, KnownItemQueries]:
    """Give queries for some items by their own text, picture or sound."""
    queries = {}
    for modality in items.modalities:
        rows = rng.permutation(np.flatnonzero(items.exists[modality]))[:MAX_QUERIES]
        queries[str(modality)] = KnownItemQueries(unit(items.vectors[modality][rows]), rows)
    return queries


def blurred_queries(frozen: Vectors, rng: np.random.Generator, recall: float = BLURRED_RECALL) -> KnownItemQueries:
    """Give queries for some items: their vectors with just so much noise that recall@10 is no more than ``recall``.

    In a catalogue so small that noise alone finds more than that, the noise ends at 256 times the vector's length.

    Args:
        frozen: (N, D) float32, the items.
        rng: Draws items, and isotropic noise.
        recall: Recall@10 that is aimed at.
    """
    rows = rng.permutation(np.flatnonzero(frozen.any(axis=1)))[:MAX_QUERIES]
    noise = unit(rng.normal(size=(len(rows), frozen.shape[1])).astype(np.float32))

    def margins(queries: Vectors) -> Vectors:
        """Give by how much each item scores more than the one that the query is about."""
        scores = queries @ frozen.T
        return scores - np.take_along_axis(scores, rows[:, None], axis=1)

    of_items, of_noise = margins(frozen[rows]), margins(noise)  # scores are linear: noise of any length is a sum away

    def is_enough(length: float) -> bool:
        return bool(((of_items + np.float32(length) * of_noise > 0).sum(axis=1) < K).mean() <= recall)

    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if is_enough(high):
            break
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return KnownItemQueries(unit(frozen[rows] + np.float32(high) * noise), rows)


def recalls(queries: Mapping[str, KnownItemQueries], items: Vectors) -> dict[str, float]:
    """Give recall@10 of each kind of query."""
    return {name: query_set.recall(items) for name, query_set in queries.items()}
