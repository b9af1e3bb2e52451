"""Logistic regression on a few numbers."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ShapeError, VectorError

Floats = NDArray[np.float64]
# On standardised numbers: too little to move what the data decide, enough to stop where they are told apart perfectly.
RIDGE = 1e-6
STEPS = 100


@dataclass(frozen=True, eq=False)
class Logistic:
    """A probability from F numbers: ``1 / (1 + exp(-(x weights + intercept)))``.

    Attributes:
        weights: (F,) float64.
        intercept: Added to the weighted sum.
    """

    weights: Floats
    intercept: float

    @classmethod
    def fit(cls, x: NDArray[np.floating], yes: NDArray[np.bool_], ridge: float = RIDGE) -> "Logistic":
        """Fit by Newton's method, halving steps that go too far.

        Args:
            x: (N, F), what is known.
            yes: (N,) bool, what came of it.
            ridge: Penalty on the squared weights of standardised numbers, beside the sum of log losses.

        Raises:
            ShapeError: When x and yes do not fit.
            VectorError: When a number is not finite.
            InputError: When there is but one outcome.
        """
        given, outcome = np.asarray(x, np.float64), np.asarray(yes, bool)
        if given.ndim != 2 or outcome.shape != (len(given),):
            raise ShapeError(f"x is {given.shape} and yes {outcome.shape}; expected (N, F) and (N,)")
        if not np.isfinite(given).all():
            raise VectorError(f"{np.count_nonzero(~np.isfinite(given).all(axis=1))} lines of x are not finite")
        if outcome.all() or not outcome.any():
            raise InputError(f"all {len(outcome)} outcomes are alike: give some of both")
        mean, scale = given.mean(axis=0), given.std(axis=0)
        scale[scale == 0] = 1
        design = np.column_stack([(given - mean) / scale, np.ones(len(given))])
        found = _newton(design, outcome.astype(np.float64), np.array([ridge] * given.shape[1] + [0.0]))
        weights = found[:-1] / scale
        return cls(weights, float(found[-1] - mean @ weights))

    def level(self, x: NDArray[np.floating]) -> Floats:
        """Give the log odds of (…, F) numbers: (…)."""
        level: Floats = np.asarray(x, np.float64) @ self.weights + self.intercept
        return level

    def probability(self, x: NDArray[np.floating]) -> Floats:
        """Give the probability of (…, F) numbers: (…)."""
        return sigmoid(self.level(x))


def sigmoid(level: Floats) -> Floats:
    """Give ``1 / (1 + exp(-level))`` without overflow."""
    small = np.exp(-np.abs(level))
    probability: Floats = np.where(level >= 0, 1.0, small) / (1 + small)
    return probability


def _loss(design: Floats, outcome: Floats, weights: Floats, ridge: Floats) -> float:
    level = design @ weights
    return float((np.logaddexp(0, level) - outcome * level).sum() + ridge @ weights**2 / 2)


def _newton(design: Floats, outcome: Floats, ridge: Floats) -> Floats:
    weights = np.zeros(design.shape[1])
    loss = _loss(design, outcome, weights, ridge)
    for _ in range(STEPS):
        expected = sigmoid(design @ weights)
        slope = design.T @ (expected - outcome) + ridge * weights
        bend = (design * (expected * (1 - expected))[:, None]).T @ design + np.diag(ridge + 1e-12)
        step, share = np.linalg.lstsq(bend, slope, rcond=None)[0], 1.0
        while (next_loss := _loss(design, outcome, weights - share * step, ridge)) > loss and share > 1e-8:
            share /= 2
        weights = weights - share * step
        if loss - next_loss < 1e-12 * max(1.0, loss):
            break
        loss = next_loss
    return weights
