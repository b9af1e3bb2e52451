"""Position bias: the probability that a position of a list is examined, estimated from impressions.

An item that is shown is taken when it is examined and liked: P(taken) = θ(position) · r(user, item), the position-based
model. Where the same item was shown to the same user at several positions, r is the same, so the rates of being taken
at two positions compare their θ. This is intervention harvesting (Agarwal, Zaitsev, Wang, Li, Najork, Joachims:
Estimating Position Bias without Intrusive Interventions, WSDM 2019). For each two positions the ratio is that of Mantel
and Haenszel over all pairs of user and item that were shown at both, with the variance of Greenland and Robins
(Estimation of a Common Effect Parameter from Sparse Follow-up Data, Biometrics 1985); the curve is the weighted least
squares fit to all log ratios.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.errors import TrainingError

Doubles = NDArray[np.float64]
Unit = Literal["user and item", "item"]

MAX_POSITIONS = 50  # of a list that have an estimate; deeper positions have that of the last
MIN_TAKEN = 50  # taken impressions, of items that were shown at several positions, that a curve needs
MIN_PROPENSITY = 0.1  # clipped: a weight is at most ten


@dataclass(frozen=True)
class PositionCurve:
    """Probability that each position is examined, relative to the first.

    Attributes:
        propensities: Of the positions 1, 2, …; deeper positions have that of the last.
        taken: Number of taken impressions that it was fitted to.
        unit: What was compared at several positions: the same item for the same user, or for all users where too few
            users saw an item again.
    """

    propensities: tuple[float, ...]
    taken: int
    unit: Unit

    def at(self, positions: Rows) -> Doubles:
        """Give the propensity of positions from 1, at least 0.1 and at most 1."""
        curve = np.clip(np.array(self.propensities), MIN_PROPENSITY, 1.0)
        propensities: Doubles = curve[np.minimum(positions, len(curve)) - 1]
        return propensities

    def to_json(self) -> dict[str, Any]:
        """Give the curve as plain JSON values."""
        return {
            "propensities": [round(value, 4) for value in self.propensities],
            "taken": self.taken,
            "unit": self.unit,
        }


def fit_position_curve(users: Rows, items: Rows, positions: Rows, taken: NDArray[np.bool_]) -> PositionCurve:
    """Fit the curve to M impressions.

    Args:
        users: (M,) int64, a number for each user.
        items: (M,) int64, a number for each item.
        positions: (M,) int64, from 1.
        taken: (M,) bool, whether it was taken.

    Raises:
        TrainingError: When too few items were shown at several positions.
    """
    counted = 0
    units: tuple[tuple[Unit, Rows], ...] = (
        ("user and item", users * (1 + int(items.max(initial=0))) + items),
        ("item", items),
    )
    for unit, strata in units:
        log_ratios, variances, counted = _ratios(strata, positions, taken)
        if counted >= MIN_TAKEN and np.isfinite(variances[0]).any():
            return PositionCurve(tuple(_curve(log_ratios, variances).tolist()), counted, unit)
    raise TrainingError(
        f"only {counted} impressions were taken of items that were shown at several positions, the first among them; "
        f"a curve of positions needs {MIN_TAKEN}"
    )


def _ratios(strata: Rows, positions: Rows, taken: NDArray[np.bool_]) -> tuple[Doubles, Doubles, int]:
    """Compare each two positions within strata: log ratios (P, P), their variances, and the count of taken ones.

    The entry (j, k) is of position j + 1 against k + 1; its variance is infinite where no stratum has both.
    """
    mask = positions <= MAX_POSITIONS
    strata, positions, taken = strata[mask], positions[mask], taken[mask]
    last = int(positions.max(initial=1))
    cells, inverse = np.unique(strata * last + positions - 1, return_inverse=True)
    shown, takes = (np.bincount(inverse, part).astype(np.float64) for part in (np.ones(len(taken)), taken))
    cell_strata, cell_positions = cells // last, cells % last
    several = np.isin(cell_strata, cell_strata[1:][np.diff(cell_strata) == 0])
    cells_at = [np.flatnonzero(several & (cell_positions == place)) for place in range(last)]
    log_ratios, variances = np.zeros((last, last)), np.full((last, last), np.inf)
    for j in range(last):
        for k in range(j + 1, last):
            _, left, right = np.intersect1d(
                cell_strata[cells_at[j]], cell_strata[cells_at[k]], assume_unique=True, return_indices=True
            )
            a, b = cells_at[j][left], cells_at[k][right]
            ratio, variance = _common_ratio(takes[a], shown[a], takes[b], shown[b])
            log_ratios[j, k], log_ratios[k, j] = ratio, -ratio
            variances[j, k] = variances[k, j] = variance
    return log_ratios, variances, int(takes[several].sum())


def _common_ratio(taken: Doubles, shown: Doubles, others_taken: Doubles, others_shown: Doubles) -> tuple[float, float]:
    """Give the logarithm of the common ratio of two rates over S strata, and its variance."""
    total = shown + others_shown
    numerator, denominator = float((taken * others_shown / total).sum()), float((others_taken * shown / total).sum())
    if numerator <= 0 or denominator <= 0:
        return 0.0, float("inf")
    taken_of_both = taken + others_taken
    sum_of_variances = (shown * others_shown * taken_of_both / total**2 - taken * others_taken / total).sum()
    return float(np.log(numerator / denominator)), max(float(sum_of_variances), 1e-12) / (numerator * denominator)


def _curve(log_ratios: Doubles, variances: Doubles) -> Vectors:
    """Fit log θ of P positions to all ratios by weighted least squares, with θ = 1 for the first: (P,) float64.

    A position without a chain of ratios to the first is interpolated between its neighbours.
    """
    weights = np.where(np.isfinite(variances), 1 / variances, 0.0)
    connected = np.zeros(len(weights), np.bool_)
    connected[0] = True
    while (more := connected | (weights[connected] > 0).any(axis=0)).sum() > connected.sum():
        connected = more
    known = np.flatnonzero(connected)
    weights, log_ratios = weights[np.ix_(known, known)], log_ratios[np.ix_(known, known)]
    laplacian = np.diag(weights.sum(axis=1)) - weights
    solved = np.linalg.solve(laplacian[1:, 1:], (weights * log_ratios).sum(axis=1)[1:])
    curve: Vectors = np.exp(np.interp(np.arange(len(connected)), known, np.append(0.0, solved)))
    return curve
