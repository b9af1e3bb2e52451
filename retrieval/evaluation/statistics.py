"""Intervals of means over queries by the bootstrap, and whether a difference could be chance (randomisation)."""

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


_AT_ONCE = 4_000_000  # signs held at a time
_TIE = 1e-12  # relative: sums of the same numbers in another order differ by rounding, and are not more extreme


def randomisation_test(
    differences: NDArray[np.float64], *, seed: int = 0, resamples: int = 10_000
) -> NDArray[np.float64]:
    """Give the two-sided p-value of the mean of each column: how often random signs give as large a mean.

    Were two systems equal, the sign of each query's difference would be a coin's: Fisher's randomisation test, the one
    that Smucker, Allan and Carterette (2007) recommend for retrieval. All columns see the same signs. Where there are
    no more sign patterns than resamples, every one is tried and p is exact; else p is (1 + as large) / (1 + resamples),
    which is never 0. It is what ``scipy.stats.permutation_test`` does with pairs, for many measures at once and without
    a loop over queries.

    Args:
        differences: (n, M) float64; NaN for a query that says nothing of a measure.
        seed: Makes the signs repeatable.
        resamples: How many sign patterns are tried.

    Returns:
        (M,) float64; 1 for a column without a difference.
    """
    filled = np.where(np.isnan(differences), 0, differences)
    observed = np.abs(filled.sum(axis=0))
    enough = observed - _TIE * np.abs(filled).sum(axis=0)
    count, exact = len(filled), 2 ** min(len(filled), 62) <= resamples
    total = 2**count if exact else resamples
    rng = np.random.default_rng(seed)
    block = max(1, _AT_ONCE // max(1, count))
    reached = np.zeros(filled.shape[1], np.int64)
    for start in range(0, total, block):
        size = min(block, total - start)
        if exact:
            bits = (np.arange(start, start + size)[:, None] >> np.arange(count)) & 1
        else:
            bits = rng.integers(0, 2, (size, count), np.int8)
        reached += (np.abs((1.0 - 2.0 * bits) @ filled) >= enough).sum(axis=0)
    p: NDArray[np.float64] = reached / total if exact else (1 + reached) / (1 + total)
    return p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct p-values for their number M: the chance of any false alarm among all stays below the level.

    The smallest is multiplied by M, the next by M - 1, …; none becomes smaller than one before it, or above 1.
    Source: Holm 1979.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected: NDArray[np.float64] = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected
