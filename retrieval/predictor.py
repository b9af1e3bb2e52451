"""What content and attributes say of behaviour: items that are described alike behave alike."""

from dataclasses import dataclass

import numpy as np

from indexing.types import Vectors

BLOCK = 8_192  # rows at once


@dataclass(frozen=True, eq=False)
class Predictor:
    """A sum over landmarks, each counted by `resemblance`.

    Attributes:
        landmarks: (M, F) float32, descriptions of items that users touched.
        nearness: How fast resemblance falls.
        weights: (M, R) float32, what each landmark adds.
        offset: (R,) float32.
        additive: How many of the last columns say something by themselves.
    """

    landmarks: Vectors
    nearness: float
    weights: Vectors
    offset: Vectors
    additive: int = 0

    def predict(self, described: Vectors) -> Vectors:
        """Map (N, F) float32, zero where nothing is known, to (N, R) float32."""
        predicted = np.empty((len(described), len(self.offset)), np.float32)
        for start in range(0, len(described), BLOCK):
            block = slice(start, start + BLOCK)
            alike = resemblance(described[block], self.landmarks, self.nearness, self.additive)
            predicted[block] = alike @ self.weights + self.offset
        return predicted


def resemblance(described: Vectors, landmarks: Vectors, nearness: float, additive: int = 0) -> Vectors:
    """Say how alike descriptions (N, F) and landmarks (M, F) are: (N, M) float32.

    ``exp(-nearness * squared distance)``, 1 where they are the same and near 0 where they are far; and for the last so
    many columns, which count by themselves, their inner product beside it.
    """
    wide = described.shape[1] - additive
    (described, alone), (landmarks, marked) = np.hsplit(described, [wide]), np.hsplit(landmarks, [wide])
    apart = np.sum(described**2, axis=1)[:, None] + np.sum(landmarks**2, axis=1) - 2 * (described @ landmarks.T)
    alike: Vectors = np.exp(-np.float32(nearness) * np.maximum(apart, 0))
    if additive:
        alike += alone @ marked.T
    return alike
