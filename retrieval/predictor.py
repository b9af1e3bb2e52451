"""What content and attributes say of behaviour: items that are described alike behave alike."""

from dataclasses import dataclass

import numpy as np

from indexing.types import Vectors

BLOCK = 8_192  # rows at once


@dataclass(frozen=True, eq=False)
class Predictor:
    """A sum over landmarks, each counted by how near it is: ``exp(-nearness * squared distance)``.

    Attributes:
        landmarks: (M, F) float32, descriptions of items that users touched.
        nearness: How fast resemblance falls.
        weights: (M, R) float32, what each landmark adds.
        offset: (R,) float32.
    """

    landmarks: Vectors
    nearness: float
    weights: Vectors
    offset: Vectors

    def predict(self, described: Vectors) -> Vectors:
        """Map (N, F) float32, zero where nothing is known, to (N, R) float32."""
        predicted = np.empty((len(described), len(self.offset)), np.float32)
        for start in range(0, len(described), BLOCK):
            block = slice(start, start + BLOCK)
            predicted[block] = resemblance(described[block], self.landmarks, self.nearness) @ self.weights + self.offset
        return predicted


def resemblance(described: Vectors, landmarks: Vectors, nearness: float) -> Vectors:
    """Give (N, M) float32, 1 where a description (N, F) is that of a landmark (M, F), near 0 where it is far."""
    apart = np.sum(described**2, axis=1)[:, None] + np.sum(landmarks**2, axis=1) - 2 * (described @ landmarks.T)
    alike: Vectors = np.exp(-np.float32(nearness) * np.maximum(apart, 0))
    return alike
