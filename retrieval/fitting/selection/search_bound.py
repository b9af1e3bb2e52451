"""Bounds the loss of recall in text and image search that an adapter may cause.

A bundle does not hold the queries of its users. Items are searched instead by their own vectors, and by blurred ones:
an item's vector with as much noise as still finds it in the frozen space. A caption is a similar query for an image:
far from it, and a little nearer than to others. Blurred queries lose more recall than own vectors when items move.
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
# Sample sizes for a large catalogue, so that this takes seconds.
MAX_ITEMS, MAX_QUERIES = 50_000, 500
BLURRED, BLURRED_RECALL = "blurred", 0.95
ROUNDING = 1e-9  # tolerance of comparisons
_DOUBLINGS, _HALVINGS = 8, 12


class KnownItemQueries(NamedTuple):
    """Queries with one relevant item each.

    Attributes:
        vectors: (Q, D) float32, unit length.
        rows: (Q,) int64.
    """

    vectors: Vectors
    rows: Rows

    def recall(self, items: Vectors, k: int = K) -> float:
        """Give recall@k: the fraction of queries whose item is among the k nearest, ties in its favour.

        Args:
            items: (N, D) float32, the searched items.
            k: Cutoff.
        """
        scores = self.vectors @ items.T
        own = np.take_along_axis(scores, self.rows[:, None], axis=1)
        return float(((scores > own).sum(axis=1) < k).mean())


@dataclass(frozen=True)
class BoundedAdapter:
    """An adapter with bounded loss of search recall.

    Attributes:
        adapter: The adapter to serve.
        strength: Factor on the trained adapter, from 0 to 1.
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
    """Reduce the strength of an adapter until no kind of query loses more than ``max_loss``.

    Args:
        adapter: The trained adapter.
        items: The frozen vectors.
        max_loss: Maximum loss of recall@10, from 0 to 1.
    """
    rng = np.random.default_rng(0)
    sample = items.take(np.sort(rng.permutation(items.count)[:MAX_ITEMS]))
    frozen = fuse(sample)
    queries = own_queries(sample, rng) | {BLURRED: blurred_queries(frozen, rng)}
    before = recalls(queries, frozen)
    for strength in STRENGTHS:
        with_strength = adapter.with_strength(strength)
        after = recalls(queries, with_strength.apply(sample))
        if all(before[name] - after[name] <= max_loss + ROUNDING for name in queries):
            return BoundedAdapter(with_strength, strength, {name: (before[name], after[name]) for name in queries})
    return BoundedAdapter(adapter.with_strength(0.0), 0.0, {name: (recall, recall) for name, recall in before.items()})


def own_queries(items: ModalityVectors, rng: np.random.Generator) -> dict[str, KnownItemQueries]:
    """Give queries for some items: their own text, image or audio vectors."""
    queries = {}
    for modality in items.modalities:
        rows = rng.permutation(np.flatnonzero(items.exists[modality]))[:MAX_QUERIES]
        queries[str(modality)] = KnownItemQueries(unit(items.vectors[modality][rows]), rows)
    return queries


def blurred_queries(frozen: Vectors, rng: np.random.Generator, recall: float = BLURRED_RECALL) -> KnownItemQueries:
    """Give queries for some items: their vectors with as much noise as lowers recall@10 to ``recall``.

    The noise is at most 256 times as long as the vector, which may not be enough in a very small catalogue.

    Args:
        frozen: (N, D) float32, the items.
        rng: Draws items, and isotropic noise.
        recall: The target recall@10.
    """
    rows = rng.permutation(np.flatnonzero(frozen.any(axis=1)))[:MAX_QUERIES]
    noise = unit(rng.normal(size=(len(rows), frozen.shape[1])).astype(np.float32))

    def margins(queries: Vectors) -> Vectors:
        """Give the score of each item minus that of the relevant one."""
        scores = queries @ frozen.T
        return scores - np.take_along_axis(scores, rows[:, None], axis=1)

    of_items, of_noise = margins(frozen[rows]), margins(noise)  # scores are linear in the noise

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
