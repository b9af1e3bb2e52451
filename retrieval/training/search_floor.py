"""What an adapter costs text and image search, and how strong it may be for the price that was named."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors, fuse
from indexing.types import Modality, Rows, Vectors
from retrieval.adapter import Adapter

STRENGTHS = (1.0, 0.8, 0.6, 0.4, 0.2)
K = 10
# Searched among so many items of a large catalogue, and asked so often: seconds, whatever the catalogue.
MOST_ITEMS, MOST_QUERIES = 50_000, 500


@dataclass(frozen=True)
class Softened:
    """An adapter that keeps search.

    Attributes:
        adapter: It.
        strength: How much of what was learned is in it, from 0 to 1.
        search: For each modality recall@10 of finding items by their own vector of it: frozen, and with the adapter.
    """

    adapter: Adapter
    strength: float
    search: dict[Modality, tuple[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Give strength and search as plain JSON values."""
        search = {str(modality): {"frozen": frozen, "adapter": now} for modality, (frozen, now) in self.search.items()}
        return {"strength": self.strength, "search_recall@10": search}


def keeping_search(adapter: Adapter, items: ModalityVectors, most_lost: float) -> Softened:
    """Soften an adapter until it costs no modality's search more than was named.

    Args:
        adapter: What was learned.
        items: The frozen vectors.
        most_lost: How much recall@10 may be lost, from 0 to 1.
    """
    rng = np.random.default_rng(0)
    some = rng.permutation(items.count)[:MOST_ITEMS]
    among = items.take(np.sort(some))
    asked = {
        modality: rng.permutation(np.flatnonzero(among.exists[modality]))[:MOST_QUERIES]
        for modality in among.modalities
    }
    before = {modality: own_search(among, fuse(among), modality, rows) for modality, rows in asked.items()}
    for strength in STRENGTHS:
        softer = adapter.softened(strength)
        vectors = softer.apply(among)
        after = {modality: own_search(among, vectors, modality, rows) for modality, rows in asked.items()}
        if all(after[modality] >= before[modality] - most_lost for modality in asked):
            return Softened(softer, strength, {modality: (before[modality], after[modality]) for modality in asked})
    return Softened(adapter.softened(0.0), 0.0, {modality: (found, found) for modality, found in before.items()})


def own_search(items: ModalityVectors, vectors: Vectors, modality: Modality, rows: Rows, k: int = K) -> float:
    """Give the share of some items that are among the k nearest to their own text, picture or sound.

    Args:
        items: The frozen vectors of N items.
        vectors: (N, D) float32, in which is searched.
        modality: Which of the frozen vectors ask.
        rows: Of the items that are asked for.
        k: How many are looked at; whatever scores the same as the item is not before it.
    """
    scores = unit(items.vectors[modality][rows]) @ vectors.T
    before = (scores > scores[np.arange(len(rows)), rows][:, None]).sum(axis=1)
    return float((before < k).mean())
