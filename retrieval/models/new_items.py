"""Cold start: behaviour vectors of new items, predicted from content and attributes."""

from dataclasses import dataclass

import numpy as np

from indexing.arrays import Vectors
from retrieval.features.item_features import FeatureMatrix

BLOCK = 8_192  # rows at once


@dataclass(frozen=True, eq=False)
class ColdStartModel:
    """A sum over landmarks, each counted by its resemblance, and over words.

    Attributes:
        landmarks: (M, F) float32, descriptions of items that users touched.
        nearness: How fast resemblance falls.
        weights: (M, R) float32, what each landmark adds.
        offset: (R,) float32.
        additive: How many of the last columns say something by themselves.
        by_word: (V, R) float32, what each word adds; None where words say nothing.
    """

    landmarks: Vectors
    nearness: float
    weights: Vectors
    offset: Vectors
    additive: int = 0
    by_word: Vectors | None = None

    def predict(self, items: FeatureMatrix) -> Vectors:
        """Map N items to (N, R) float32."""
        predicted = np.empty((len(items), len(self.offset)), np.float32)
        landmarks = FeatureMatrix(self.landmarks, self.additive)
        for start in range(0, len(items), BLOCK):
            block = slice(start, start + BLOCK)
            batch = items.take(block)
            predicted[block] = batch.resemblance(landmarks, self.nearness) @ self.weights + self.offset
            if self.by_word is not None and batch.words is not None:
                predicted[block] += batch.words.times(self.by_word)
        return predicted
