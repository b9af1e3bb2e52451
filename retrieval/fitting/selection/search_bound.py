"""What an adapter costs text and image search, and how strong it may be for the price that was named.

What people will ask is not in a bundle. Items are asked for by their own vectors instead, and by blurred ones: an
item's vector with so much noise that the frozen space only just finds it. A caption is such a query for a picture: far
from it, and a little nearer than to others, so what moves items about costs it more than it costs own vectors.
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
# Searched among so many items of a large catalogue, and asked so often: seconds, whatever the catalogue.
MOST_ITEMS, MOST_QUERIES = 50_000, 500
BLURRED, FOUND = "blurred", 0.95
ROUNDING = 1e-9  # .95 less .01 is not .94 to the last bit, and five of 500 lost are within a hundredth
_DOUBLINGS, _HALVINGS = 8, 12


class Asked(NamedTuple):
    """Queries, and the one item that each of them is about.

    Attributes:
        vectors: (Q, D) float32, unit length.
        rows: (Q,) int64.
    """

    vectors: Vectors
    rows: Rows

    def recall(self, items: Vectors, k: int = K) -> float:
        """Give the share of queries whose item is among the k nearest; what scores the same is not before it.

        Args:
            items: (N, D) float32, in which is searched.
            k: How many are looked at.
        """
        scores = self.vectors @ items.T
        own = np.take_along_axis(scores, self.rows[:, None], axis=1)
        return float(((scores > own).sum(axis=1) < k).mean())


@dataclass(frozen=True)
class Softened:
    """An adapter that keeps search.

    Attributes:
        adapter: It.
        strength: How much of what was learned is in it, from 0 to 1.
        search: Recall@10 of finding items by their own vector of each modality, and by blurred ones: frozen, and with
            the adapter.
    """

    adapter: Adapter
    strength: float
    search: dict[str, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Give strength and search as plain JSON values."""
        search = {name: {"frozen": frozen, "adapter": now} for name, (frozen, now) in self.search.items()}
        return {"strength": self.strength, "search_recall@10": search}


def bound_search_loss(adapter: Adapter, items: ModalityVectors, max_loss: float = MAX_LOSS) -> Softened:
    """Soften an adapter until it costs no kind of search more than was named.

    Args:
        adapter: What was learned.
        items: The frozen vectors.
        max_loss: How much recall@10 may be lost, from 0 to 1.
    """
    rng = np.random.default_rng(0)
    some = rng.permutation(items.count)[:MOST_ITEMS]
    among = items.take(np.sort(some))
    frozen = fuse(among)
    asked = own_queries(among, rng) | {BLURRED: blurred(frozen, rng)}
    before = recalls(asked, frozen)
    for strength in STRENGTHS:
        softer = adapter.softened(strength)
        after = recalls(asked, softer.apply(among))
        if all(before[name] - after[name] <= max_loss + ROUNDING for name in asked):
            return Softened(softer, strength, {name: (before[name], after[name]) for name in asked})
    return Softened(adapter.softened(0.0), 0.0, {name: (found, found) for name, found in before.items()})


def own_queries(items: ModalityVectors, rng: np.random.Generator) -> dict[str, Asked]:
    """Ask for some items by their own text, picture or sound."""
    asked = {}
    for modality in items.modalities:
        rows = rng.permutation(np.flatnonzero(items.exists[modality]))[:MOST_QUERIES]
        asked[str(modality)] = Asked(unit(items.vectors[modality][rows]), rows)
    return asked


def blurred(frozen: Vectors, rng: np.random.Generator, found: float = FOUND) -> Asked:
    """Ask for some items by their vector and just so much noise that no more than a share of them is found.

    In a catalogue so small that noise alone finds more than that, the noise ends at 256 times the vector's length.

    Args:
        frozen: (N, D) float32, the items.
        rng: Chooses items and noise, alike in all directions.
        found: Recall@10 that is aimed at.
    """
    rows = rng.permutation(np.flatnonzero(frozen.any(axis=1)))[:MOST_QUERIES]
    noise = unit(rng.normal(size=(len(rows), frozen.shape[1])).astype(np.float32))

    def ahead(queries: Vectors) -> Vectors:
        """Give by how much each item scores more than the one that is asked for."""
        scores = queries @ frozen.T
        return scores - np.take_along_axis(scores, rows[:, None], axis=1)

    near, far = ahead(frozen[rows]), ahead(noise)  # scores are linear: noise of any length is a sum away

    def enough(length: float) -> bool:
        return bool(((near + np.float32(length) * far > 0).sum(axis=1) < K).mean() <= found)

    low, high = 0.0, 1.0
    for _ in range(_DOUBLINGS):
        if enough(high):
            break
        low, high = high, 2 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Asked(unit(frozen[rows] + np.float32(high) * noise), rows)


def recalls(asked: Mapping[str, Asked], items: Vectors) -> dict[str, float]:
    """Give recall@10 of each kind of query."""
    return {name: queries.recall(items) for name, queries in asked.items()}
