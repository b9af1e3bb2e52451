"""From the vectors of an item's modalities to one vector, before anything is learned."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Mask, Rows, Vectors
from indexing.arrays.vectors import unit
from indexing.media.files import Modality

ROWS = 16_384  # at a time, so that what is computed on the way stays small


@dataclass(frozen=True, eq=False)
class ModalityVectors:
    """The frozen vectors of N items.

    Attributes:
        vectors: For each modality (N, D) float16, zero where an item lacks it.
        exists: For each modality (N,) bool.
        weights: How much a modality counts in an item beside the others; 1 for those that are not named.
    """

    vectors: Mapping[Modality, NDArray[np.float16]]
    exists: Mapping[Modality, Mask]
    weights: Mapping[Modality, float] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that any item has."""
        return tuple(modality for modality, exists in self.exists.items() if exists.any())

    @property
    def count(self) -> int:
        """The number N of items."""
        return max(map(len, self.exists.values()), default=0)

    def take(self, rows: Rows | Mask | slice) -> "ModalityVectors":
        """Keep some of the items."""
        return ModalityVectors(
            {modality: vectors[rows] for modality, vectors in self.vectors.items()},
            {modality: exists[rows] for modality, exists in self.exists.items()},
            self.weights,
        )


def fuse(items: ModalityVectors) -> Vectors:
    """Average the modalities that each item has, by their weights: (N, D) float32, unit length.

    A missing modality is left out of the average, never filled with a mean. An item with none stays zero.
    """
    fused = np.zeros(next(iter(items.vectors.values())).shape, np.float32)
    for start in range(0, len(fused), ROWS):
        some = slice(start, start + ROWS)
        for modality, vectors in items.vectors.items():
            weight = items.weights.get(modality, 1.0)
            fused[some] += unit(vectors[some]) * weight * items.exists[modality][some, None]
        fused[some] = unit(fused[some])
    return fused
