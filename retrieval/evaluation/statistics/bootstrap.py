"""How far a mean over queries could be off, had other queries been asked: the bootstrap."""

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.runtime.arguments import check_whole, is_number, is_whole, shown_number

MOST = 1_000_000  # resamples


def bootstrap_intervals(
    values: NDArray[np.float64], *, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> NDArray[np.float64]:
    """Give percentile intervals of the means of columns, drawing lines with replacement.

    All columns see the same draws, so intervals of several measures belong together. A column of differences
    between two systems gives the paired interval of the difference of their means.

    Args:
        values: (n, M) float64, one line a query, one column a measure; n at least 1. NaN marks a query for
            which a measure is not defined: the mean is over the others.
        level: The share of resamples inside the interval.
        seed: Makes the draws repeatable.
        resamples: How many times n queries are drawn.

    Returns:
        (M, 2) float64, low and high; NaN for a column without any value.

    Raises:
        InputError: For a level outside 0 to 1, or no resamples.
    """
    if not is_number(level, 0, 1) or level in (0, 1):
        raise InputError(
            f"an interval of level {shown_number(level)} has no meaning; give a number between 0 and 1, such as 0.95"
        )
    means = bootstrap_means(values, seed=seed, resamples=resamples)
    tail = (1 - level) / 2
    intervals: NDArray[np.float64] = np.full((values.shape[1], 2), np.nan)
    some = (~np.isnan(values)).any(axis=0)
    if some.any():
        intervals[some] = np.nanquantile(means[:, some], [tail, 1 - tail], axis=0).T
    return intervals


def bootstrap_means(values: NDArray[np.float64], *, seed: int = 0, resamples: int = 2000) -> NDArray[np.float64]:
    """Give the means of columns in each draw, (resamples, M) float64; see `bootstrap_intervals`.

    Raises:
        InputError: For no resamples.
    """
    if not is_whole(resamples) or resamples > MOST:
        raise InputError(f"resamples is {shown_number(resamples)}; give a whole number from 1 to {MOST}, such as 2000")
    rng = np.random.default_rng(check_whole(seed, "seed", 0))
    count = len(values)
    defined = ~np.isnan(values)
    filled, weight = np.where(defined, values, 0), defined.astype(np.float64)
    means = np.full((resamples, values.shape[1]), np.nan)
    for one in range(resamples):
        # How often each query was drawn says all: (n,) counts need far less memory than (n, M) drawn values.
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        there = drawn @ weight
        np.divide(drawn @ filled, there, out=means[one], where=there > 0)
    return means


def defined_mean(values: NDArray[np.float64]) -> float:
    """Give the mean of the values that are defined (not NaN); NaN when none is.

    >>> defined_mean(np.array([0.5, np.nan, 1.0]))
    0.75
    """
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
