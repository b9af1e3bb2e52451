"""Cold start: behaviour vectors of new items, predicted from content and attributes."""

from dataclasses import dataclass

import numpy as np

from indexing.arrays import Vectors
from retrieval.models.features.item_features import FeatureMatrix

BLOCK = 8_192  # rows at once


@dataclass(frozen=True, eq=False)
class ColdStartModel:
    """Kernel ridge regression on landmarks (Nystroem), and a linear model of words.

    Attributes:
        landmarks: (M, F) float32, features of items with interactions.
        gamma: Of the RBF kernel, ``exp(-gamma * squared distance)``.
        weights: (M, R) float32, of the landmarks.
        offset: (R,) float32.
        additive: Number of last columns whose inner product is added to the RBF kernel of the others.
        by_word: (V, R) float32, weights of words; None where words are no features.
    """

    landmarks: Vectors
    gamma: float
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
            predicted[block] = batch.kernel(landmarks, self.gamma) @ self.weights + self.offset
            if self.by_word is not None and batch.words is not None:
                predicted[block] += batch.words.matmul(self.by_word)
        return predicted
