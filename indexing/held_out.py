"""Queries of every kind that are not in the index as themselves: what its recall is measured on."""

import numpy as np

from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors
from indexing.index import Queries
from indexing.types import Rows, Vectors


def held_out_queries(items: ModalityVectors, vectors: Vectors, sample: int, seed: int = 0) -> dict[str, Queries]:
    """Give at most ``sample`` queries of every kind for an index over (N, D) vectors.

    The text or the picture of an item that has both is such a query, because the index holds their fusion. A history
    is the mean of two different items drawn at random. An item by itself is a query whose own row is no answer.
    """
    rng = np.random.default_rng(seed)
    queries = {}
    several = np.sum([exists for exists in items.exists.values()], axis=0) > 1
    for modality in items.modalities:
        if len(rows := np.flatnonzero(items.exists[modality] & several)):
            chosen = rng.choice(rows, min(sample, len(rows)), replace=False)
            queries[str(modality)] = Queries(unit(items.vectors[modality][chosen]))
    if len(vectors) > 1:
        first, second = random_pairs(len(vectors), sample, rng).T
        histories = unit(vectors[first] + vectors[second])
        queries["history"] = Queries(histories[histories.any(axis=1)])
        rows = rng.choice(len(vectors), min(sample, len(vectors)), replace=False)
        queries["item"] = Queries(vectors[rows], rows)
    return queries


def random_pairs(count: int, pairs: int, rng: np.random.Generator | None = None) -> Rows:
    """Draw pairs of two different rows of so many, by seed 0 when there is no generator: (pairs, 2) int64."""
    rng = np.random.default_rng(0) if rng is None else rng
    first, step = rng.integers(0, count, pairs), rng.integers(1, count, pairs)
    return np.stack([first, (first + step) % count], axis=1)
