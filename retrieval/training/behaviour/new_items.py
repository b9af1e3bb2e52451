"""Train the prediction of behaviour vectors from item features: kernel ridge regression.

With few items each of them is a landmark, and the regression is solved as it stands. With more, landmarks are drawn
(Nystroem), and of many items those that the regression is fitted to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_factor, cho_solve, cholesky, solve_triangular

from indexing.arrays import Rows, Vectors
from retrieval.models.features.item_features import FeatureMatrix
from retrieval.models.new_items import BLOCK, ColdStartModel
from retrieval.training.behaviour.ease import Doubles

MAX_LANDMARKS = 2_000  # size of the matrix that is factorised, and of a linear system for each target
MAX_FITTED = 10_000  # items: five for each landmark
_MIN_EIGENVALUE = 1e-6  # relative to a bound of the largest; smaller ones are rounding errors of single precision


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
    trusted = rows = np.flatnonzero(np.sum([target.trust for target in targets], axis=0))
    if len(rows) > landmarks:
        rows = np.sort(np.random.default_rng(seed).choice(rows, landmarks, replace=False))
    landmark_items = items.take(rows)
    gamma = 1 / mean_squared_distance(landmark_items.joint)
    kernel, words = (
        landmark_items.kernel(landmark_items, gamma),
        landmark_items.words.dense() if landmark_items.words else None,
    )
    if words is not None:
        kernel += words @ words.T

    def of_landmarks(weights: Vectors, offset: Vectors) -> ColdStartModel:
        by_word = None if words is None else words.T @ weights
        return ColdStartModel(landmark_items.values, gamma, weights, offset, items.additive, by_word)

    basis = None if len(trusted) <= landmarks else _basis(kernel)
    weights = np.empty((len(rows), sum(target.values.shape[1] for target in targets)), np.float32)
    offset = np.empty(weights.shape[1], np.float32)
    for columns, members in _group_by_trust(targets):
        known = _KnownItems.of(members, seed)
        if basis is None:
            weights[:, columns], offset[columns] = _kernel_ridge(kernel, known, rows, regularisation)
        else:
            features = of_landmarks(basis, np.zeros(basis.shape[1], np.float32))
            slope, offset[columns] = _ridge(items, features, known, regularisation)
            weights[:, columns] = basis @ slope
    return of_landmarks(weights, offset)


def _basis(kernel: Vectors) -> Vectors:
    """Give the matrix that maps similarities to K landmarks to K features with the kernel as inner product."""
    matrix = kernel.astype(np.float64)
    matrix[np.diag_indices_from(matrix)] += _MIN_EIGENVALUE * np.linalg.norm(matrix, np.inf)
    factor = cholesky(matrix, lower=True, overwrite_a=True)
    basis: Vectors = solve_triangular(factor, np.eye(len(factor)), lower=True, overwrite_b=True).T.astype(np.float32)
    return basis


def mean_squared_distance(vectors: Vectors) -> float:
    """Give the mean squared distance of two items, drawn with replacement; 1 when all are equal."""
    mean = vectors.mean(axis=0, dtype=np.float64)
    distance = 2 * float(np.mean(np.sum((vectors - mean) ** 2, axis=1)))
    return distance if distance > 1e-9 else 1.0


def _group_by_trust(targets: Sequence[Target]) -> list[tuple[list[int], list[Target]]]:
    """Group targets with equal weights, and give the columns of each group."""
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
    return groups


class _KnownItems(NamedTuple):
    """The items that a regression is fitted to: their rows (n,), values (n, R), and weights (n,)."""

    rows: Rows
    values: Vectors
    trust: Doubles

    @classmethod
    def of(cls, members: Sequence[Target], seed: int) -> "_KnownItems":
        """Join targets with equal weights. Of many items a random sample is taken, whose weights have the same sum."""
        trust = members[0].trust
        rows = np.flatnonzero(trust)
        if len(rows) > MAX_FITTED:
            rows = np.sort(np.random.default_rng([seed, 1]).choice(rows, MAX_FITTED, replace=False))
        values = np.concatenate([member.values[rows].astype(np.float32) for member in members], axis=1)
        return cls(rows, values, trust[rows] * (trust.sum() / trust[rows].sum()))


def _kernel_ridge(
    kernel: Vectors, known: _KnownItems, landmarks: Rows, regularisation: float
) -> tuple[Doubles, Doubles]:
    """Solve a weighted kernel ridge regression with a free offset: weights of the landmarks (K, R), and offset (R,).

    Args:
        kernel: (K, K), of the landmarks.
        known: Some of the landmarks, and their values.
        landmarks: (K,) their rows, ascending.
        regularisation: Of the weights.
    """
    places, root = np.searchsorted(landmarks, known.rows), np.sqrt(known.trust)[:, None]
    system = kernel[np.ix_(places, places)] * (root * root.T)
    system[np.diag_indices_from(system)] += regularisation
    right = root * np.concatenate([known.values, np.ones_like(root)], axis=1)
    solved = root * cho_solve(cho_factor(system, lower=True, overwrite_a=True), right)
    offset = solved[:, :-1].sum(axis=0) / solved[:, -1].sum()
    weights = np.zeros((len(landmarks), len(offset)))
    weights[places] = solved[:, :-1] - solved[:, -1:] * offset
    return weights, offset


def _ridge(
    items: FeatureMatrix, features: ColdStartModel, known: _KnownItems, regularisation: float
) -> tuple[Doubles, Doubles]:
    """Solve a weighted ridge regression with a free offset: weights (K, R), and offset (R,).

    Args:
        items: The items.
        features: Gives K features of each item.
        known: The items that it is fitted to.
        regularisation: Of the weights.
    """
    width = len(features.offset)
    square, product, sums = np.zeros((width, width)), np.zeros((width, known.values.shape[1])), np.zeros(width)
    for start in range(0, len(known.rows), BLOCK):
        batch = slice(start, start + BLOCK)
        block = features.predict(items.take(known.rows[batch]))  # in single precision: twice as fast
        trust = known.trust[batch].astype(np.float32)[:, None]
        weighted = block * np.sqrt(trust)
        square += weighted.T @ weighted  # symmetric: numpy computes half of it
        product += weighted.T @ (np.sqrt(trust) * known.values[batch])
        sums += np.sum(block * trust, axis=0, dtype=np.float64)
    total, target_sums = float(known.trust.sum()), known.trust @ known.values
    square += regularisation * np.eye(width) - np.outer(sums, sums / total)
    weights = np.linalg.solve(square, product - np.outer(sums, target_sums / total)).astype(np.float64)
    return weights, (target_sums - sums @ weights) / total
