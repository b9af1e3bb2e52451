"""Learn what descriptions say of behaviour: kernel ridge regression on landmarks (Nystroem)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from indexing.arrays import Rows, Vectors
from retrieval.features.item_features import FeatureMatrix
from retrieval.models.new_items import BLOCK, ColdStartModel
from retrieval.training.behaviour.ease import Doubles

MOST_LANDMARKS = 2_000  # a matrix of so many lines is decomposed, and one solved for each trust
_LEAST = 1e-6  # of the largest eigenvalue: what is below is noise of single precision


class Target(NamedTuple):
    """What should be predicted, (N, R), and how far it can be trusted, (N,): 0 leaves an item out."""

    wanted: Doubles | Vectors
    trust: Doubles


def learn_predictor(
    described: FeatureMatrix,
    targets: Sequence[Target],
    regularisation: float,
    landmarks: int = MOST_LANDMARKS,
    seed: int = 0,
) -> ColdStartModel:
    """Predict all targets side by side, from resemblance to items of which something is known.

    With as many landmarks as such items it is kernel ridge regression; with fewer, drawn at random, what comes nearest
    in the space that they span. How fast resemblance falls is given by the data: descriptions that are as far apart as
    two items are on the average resemble each other by 1/e.

    Args:
        described: N items.
        targets: One after the other they are the columns that are predicted.
        regularisation: Keeps the prediction smooth; the offset is free.
        landmarks: At most so many items.
        seed: Of the draw.
    """
    known = np.flatnonzero(np.sum([target.trust for target in targets], axis=0))
    if len(known) > landmarks:
        known = np.sort(np.random.default_rng(seed).choice(known, landmarks, replace=False))
    marks = described.take(known)
    nearness = 1 / mean_apart(marks.together)
    alike, words = marks.resemblance(marks, nearness), marks.words.dense() if marks.words else None
    if words is not None:
        alike += words @ words.T
    values, vectors = np.linalg.eigh(alike.astype(np.float64))
    kept = values > values[-1] * _LEAST
    basis = (vectors[:, kept] / np.sqrt(values[kept])).astype(np.float32)
    additive, nothing = described.additive, np.zeros(basis.shape[1], np.float32)
    by_word = None if words is None else words.T @ basis
    features = ColdStartModel(marks.lines, nearness, basis, nothing, additive, by_word)
    weights = np.empty((len(known), sum(target.wanted.shape[1] for target in targets)), np.float32)
    offset = np.empty(weights.shape[1], np.float32)
    groups = _alike_in_trust(targets)
    solved = _ridges(described, features, [target for _, target in groups], regularisation)
    for (columns, _), (mean, slope) in zip(groups, solved, strict=True):
        weights[:, columns], offset[columns] = basis @ slope, mean
    return ColdStartModel(
        marks.lines, nearness, weights, offset, additive, None if words is None else words.T @ weights
    )


def mean_apart(described: Vectors) -> float:
    """Give the mean squared distance of two items, drawn with replacement; 1 when all are described alike."""
    mean = described.mean(axis=0, dtype=np.float64)
    apart = 2 * float(np.mean(np.sum((described - mean) ** 2, axis=1)))
    return apart if apart > 1e-9 else 1.0


def _alike_in_trust(targets: Sequence[Target]) -> list[tuple[list[int], Target]]:
    """Put targets that are trusted alike together, with the columns where their parts belong."""
    groups: list[tuple[list[int], list[Target]]] = []
    start = 0
    for target in targets:
        columns = list(range(start, start := start + target.wanted.shape[1]))
        for known, members in groups:
            if np.array_equal(members[0].trust, target.trust):
                known += columns
                members.append(target)
                break
        else:
            groups.append((columns, [target]))
    return [
        (columns, Target(np.concatenate([one.wanted for one in members], axis=1), members[0].trust))
        for columns, members in groups
    ]


def _ridges(
    described: FeatureMatrix, features: ColdStartModel, targets: Sequence[Target], regularisation: float
) -> list[tuple[Doubles, Doubles]]:
    """Give offset (R,) and weights (K, R) of a weighted ridge regression with a free offset for each target.

    Args:
        described: The items.
        features: Gives K numbers of each, which are made once for all targets, some items at a time.
        targets: What should be predicted of them.
        regularisation: Of the weights.
    """
    sums = [_Sums(target, len(features.offset)) for target in targets]
    trusted = np.flatnonzero(np.any([target.trust for target in targets], axis=0))  # the others add nothing
    for start in range(0, len(trusted), BLOCK):
        rows = trusted[start : start + BLOCK]
        found = features.predict(described.take(rows))  # in single precision: twice as fast, and a block is short
        for one in sums:
            one.add(rows, found)
    return [one.solved(regularisation) for one in sums]


class _Sums:
    """What a weighted ridge regression needs to know of all items."""

    def __init__(self, target: Target, wide: int) -> None:
        self.target = target
        self.square, self.sums = np.zeros((wide, wide)), np.zeros(wide)
        self.product = np.zeros((wide, target.wanted.shape[1]))

    def add(self, rows: Rows, found: Vectors) -> None:
        """Add some items, with their features (M, K)."""
        trust = self.target.trust[rows].astype(np.float32)
        here = trust != 0
        if not here.all():  # of a large catalogue most may be trusted for some targets alone
            rows, found, trust = rows[here], found[here], trust[here]
        root = np.sqrt(trust)[:, None]
        weighted = found * root
        self.square += weighted.T @ weighted  # of a matrix and itself: numpy computes half of it
        self.product += weighted.T @ (root * self.target.wanted[rows].astype(np.float32))
        self.sums += np.sum(found * trust[:, None], axis=0, dtype=np.float64)

    def solved(self, regularisation: float) -> tuple[Doubles, Doubles]:
        """Give offset and weights."""
        total, wanted = float(self.target.trust.sum()), self.target.trust @ self.target.wanted
        square = self.square + regularisation * np.eye(len(self.sums)) - np.outer(self.sums, self.sums / total)
        product = self.product - np.outer(self.sums, wanted / total)
        weights = np.linalg.solve(square, product).astype(np.float64)
        offset = ((wanted - self.sums @ weights) / total).astype(np.float64)
        return offset, weights
