"""Train the prediction of behaviour vectors from item features: kernel ridge regression on landmarks (Nystroem)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from indexing.arrays import Rows, Vectors
from retrieval.features.item_features import FeatureMatrix
from retrieval.models.new_items import BLOCK, ColdStartModel
from retrieval.training.behaviour.ease import Doubles

MAX_LANDMARKS = 2_000  # size of the matrix that is decomposed, and of a linear system for each target
_MIN_EIGENVALUE = 1e-6  # relative to the largest; smaller ones are rounding errors of single precision


class Target(NamedTuple):
    """Vectors to predict, (N, R), and the weight of each item, (N,); a weight of 0 excludes an item."""

    values: Doubles | Vectors
    trust: Doubles


def fit_cold_start(
    items: FeatureMatrix,
    targets: Sequence[Target],
    regularisation: float,
    landmarks: int = MAX_LANDMARKS,
    seed: int = 0,
) -> ColdStartModel:
    """Fit a prediction of all targets from the similarity to items with known values.

    With as many landmarks as such items it is kernel ridge regression; with fewer, drawn at random, the nearest
    approximation in the space that they span. The kernel width comes from the data: at the mean squared distance of two
    items the kernel is 1/e.

    Args:
        items: N items.
        targets: Their columns are predicted, one target after the other.
        regularisation: Keeps the prediction smooth; the offset is free.
        landmarks: Maximum number of landmarks.
        seed: Of their random choice.
    """
    rows = np.flatnonzero(np.sum([target.trust for target in targets], axis=0))
    if len(rows) > landmarks:
        rows = np.sort(np.random.default_rng(seed).choice(rows, landmarks, replace=False))
    landmark_items = items.take(rows)
    gamma = 1 / mean_squared_distance(landmark_items.together)
    kernel, words = (
        landmark_items.kernel(landmark_items, gamma),
        landmark_items.words.dense() if landmark_items.words else None,
    )
    if words is not None:
        kernel += words @ words.T
    values, vectors = np.linalg.eigh(kernel.astype(np.float64))
    significant = values > values[-1] * _MIN_EIGENVALUE
    basis = (vectors[:, significant] / np.sqrt(values[significant])).astype(np.float32)
    additive, nothing = items.additive, np.zeros(basis.shape[1], np.float32)
    by_word = None if words is None else words.T @ basis
    features = ColdStartModel(landmark_items.lines, gamma, basis, nothing, additive, by_word)
    weights = np.empty((len(rows), sum(target.values.shape[1] for target in targets)), np.float32)
    offset = np.empty(weights.shape[1], np.float32)
    groups = _group_by_trust(targets)
    solved = _ridges(items, features, [target for _, target in groups], regularisation)
    for (columns, _), (mean, slope) in zip(groups, solved, strict=True):
        weights[:, columns], offset[columns] = basis @ slope, mean
    return ColdStartModel(
        landmark_items.lines, gamma, weights, offset, additive, None if words is None else words.T @ weights
    )


def mean_squared_distance(vectors: Vectors) -> float:
    """Give the mean squared distance of two items, drawn with replacement; 1 when all are equal."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    distance = 2 * float(np.mean(np.sum((vectors - mean) ** 2, axis=1)))
    return distance if distance > 1e-9 else 1.0


def _group_by_trust(targets: Sequence[Target]) -> list[tuple[list[int], Target]]:
    """Join targets with equal weights, and give the columns of each group."""
    groups: list[tuple[list[int], list[Target]]] = []
    start = 0
    for target in targets:
        columns = list(range(start, start := start + target.values.shape[1]))
        for group_columns, members in groups:
            if np.array_equal(members[0].trust, target.trust):
                group_columns += columns
                members.append(target)
                break
        else:
            groups.append((columns, [target]))
    return [
        (columns, Target(np.concatenate([member.values for member in members], axis=1), members[0].trust))
        for columns, members in groups
    ]


def _ridges(
    items: FeatureMatrix, features: ColdStartModel, targets: Sequence[Target], regularisation: float
) -> list[tuple[Doubles, Doubles]]:
    """Give offset (R,) and weights (K, R) of a weighted ridge regression with a free offset for each target.

    Args:
        items: The items.
        features: Gives K features of each item; they are computed once for all targets, in batches of items.
        targets: The vectors to predict.
        regularisation: Of the weights.
    """
    sums = [_Sums(target, len(features.offset)) for target in targets]
    trusted = np.flatnonzero(np.any([target.trust for target in targets], axis=0))  # the weight of all others is 0
    for start in range(0, len(trusted), BLOCK):
        rows = trusted[start : start + BLOCK]
        batch_features = features.predict(items.take(rows))  # in single precision: twice as fast
        for system in sums:
            system.add(rows, batch_features)
    return [system.solved(regularisation) for system in sums]


class _Sums:
    """The sums over all items that a weighted ridge regression needs."""

    def __init__(self, target: Target, width: int) -> None:
        self.target = target
        self.square, self.sums = np.zeros((width, width)), np.zeros(width)
        self.product = np.zeros((width, target.values.shape[1]))

    def add(self, rows: Rows, features: Vectors) -> None:
        """Add some items, with their features (M, K)."""
        trust = self.target.trust[rows].astype(np.float32)
        trusted = trust != 0
        if not trusted.all():  # in a large catalogue most may have a weight for some targets only
            rows, features, trust = rows[trusted], features[trusted], trust[trusted]
        root = np.sqrt(trust)[:, None]
        weighted = features * root
        self.square += weighted.T @ weighted  # symmetric: numpy computes half of it
        self.product += weighted.T @ (root * self.target.values[rows].astype(np.float32))
        self.sums += np.sum(features * trust[:, None], axis=0, dtype=np.float64)

    def solved(self, regularisation: float) -> tuple[Doubles, Doubles]:
        """Give offset and weights."""
        total, target_sums = float(self.target.trust.sum()), self.target.trust @ self.target.values
        square = self.square + regularisation * np.eye(len(self.sums)) - np.outer(self.sums, self.sums / total)
        product = self.product - np.outer(self.sums, target_sums / total)
        weights = np.linalg.solve(square, product).astype(np.float64)
        offset = ((target_sums - self.sums @ weights) / total).astype(np.float64)
        return offset, weights
