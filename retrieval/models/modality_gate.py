"""How much each modality of an item counts in its vector."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from indexing.arrays.types import Vectors
from indexing.arrays.vectors import unit
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors


@dataclass(frozen=True, eq=False)
class ModalityGate:
    """A softmax over the modalities that an item has, linear in the vector of each.

    A modality that it does not know, and each one before any training, stands at 0: then they count by the weights that
    the items came with, as in `indexing.store.collect.fuse`, to the last bit.

    Attributes:
        slopes: For each modality (D,) float32.
        offsets: For each modality (1,) float32.
    """

    slopes: Mapping[Modality, Vectors] = field(default_factory=dict)
    offsets: Mapping[Modality, Vectors] = field(default_factory=dict)

    def weigh(self, items: ModalityVectors) -> tuple[Vectors, Vectors]:
        """Give the fused vectors of N items, (N, D) float32 of unit length, and the weights of their M modalities.

        Weights are (N, M) float32 in the order of ``items.vectors``. They add up to 1; one of a modality that an item
        lacks is 0, as are all of an item without any.
        """
        units = [unit(vectors) for vectors in items.vectors.values()]
        exists = np.stack([items.exists[modality] for modality in items.vectors], axis=1)
        levels = np.stack([self._level(m, v) for m, v in zip(items.vectors, units, strict=True)], axis=1)
        highest = np.where(exists, levels, -np.inf).max(axis=1, keepdims=True)
        # What is missing may not reach the exponential: its level can be above that of all there is.
        odds: Vectors = np.where(exists, np.exp(np.where(exists, levels - highest, 0)), 0).astype(np.float32)
        odds = odds * np.array([items.weights.get(modality, 1.0) for modality in items.vectors], np.float32)
        fused = np.zeros_like(units[0])
        for place, vectors in enumerate(units):
            fused += vectors * odds[:, place, None]
        total = odds.sum(axis=1, keepdims=True)
        weights = (odds / np.where(total > 0, total, 1)).astype(np.float32)
        return unit(fused), weights

    def softened(self, strength: float) -> "ModalityGate":
        """Give what lies between equal weights (0) and this gate (1)."""
        by = np.float32(strength)
        slopes = {modality: slope * by for modality, slope in self.slopes.items()}
        return ModalityGate(slopes, {modality: offset * by for modality, offset in self.offsets.items()})

    def _level(self, modality: Modality, vectors: Vectors) -> Vectors:
        if modality not in self.slopes:
            return np.zeros(len(vectors), np.float32)
        level: Vectors = vectors @ self.slopes[modality] + self.offsets[modality]
        return level
