"""Queries of every kind that are not in the index as themselves: what its recall is measured on."""

import numpy as np

from indexing.encoders.base import unit
from indexing.fusion import ModalityVectors
from indexing.index import Queries
from indexing.types import Vectors


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
        first, step = rng.integers(0, len(vectors), sample), rng.integers(1, len(vectors), sample)
        histories = unit(vectors[first] + vectors[(first + step) % len(vectors)])
        queries["history"] = Queries(histories[histories.any(axis=1)])
        rows = rng.choice(len(vectors), min(sample, len(vectors)), replace=False)
        queries["item"] = Queries(vectors[rows], rows)
    return queries
