"""Bootstrap intervals of means over queries, randomisation test and Holm correction."""

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError
from indexing.runtime.arguments import check_whole, is_number, is_whole, shown_number

MAX_RESAMPLES = 1_000_000  # resamples


def bootstrap_intervals(
    values: NDArray[np.float64], *, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> NDArray[np.float64]:
    """Return percentile intervals of the means of columns, drawing rows with replacement.

    All columns share the same resamples. A column of differences
    between two systems gives the paired interval of the difference of their means.

    Args:
        values: (n, M) float64, one row per query, one column per measure; n at least 1. NaN marks a query for
            which a measure is not defined: the mean is over the other queries.
        level: The fraction of resamples inside the interval.
        seed: Makes the draws repeatable.
        resamples: Number of resamples of n queries.

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
    has_values = (~np.isnan(values)).any(axis=0)
    if has_values.any():
        intervals[has_values] = np.nanquantile(means[:, has_values], [tail, 1 - tail], axis=0).T
    return intervals


def bootstrap_means(values: NDArray[np.float64], *, seed: int = 0, resamples: int = 2000) -> NDArray[np.float64]:
    """Return the means of columns in each resample, (resamples, M) float64; see `bootstrap_intervals`.

    Raises:
        InputError: For no resamples.
    """
    if not is_whole(resamples) or resamples > MAX_RESAMPLES:
        raise InputError(
            f"resamples is {shown_number(resamples)}; give a whole number from 1 to {MAX_RESAMPLES}, such as 2000"
        )
    rng = np.random.default_rng(check_whole(seed, "seed", 0))
    count = len(values)
    defined = ~np.isnan(values)
    filled, weight = np.where(defined, values, 0), defined.astype(np.float64)
    means = np.full((resamples, values.shape[1]), np.nan)
    for resample in range(resamples):
        # (n,) counts of how often each query was drawn need far less memory than (n, M) drawn values.
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        counts = drawn @ weight
        np.divide(drawn @ filled, counts, out=means[resample], where=counts > 0)
    return means


def defined_mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none.

    >>> defined_mean(np.array([0.5, np.nan, 1.0]))
    0.75
    """
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


_MAX_SIGNS = 4_000_000  # random signs in memory at a time
_TOLERANCE = 1e-12  # relative: sums of the same numbers in another order differ by rounding, and are not more extreme


def randomisation_test(
    differences: NDArray[np.float64], *, seed: int = 0, resamples: int = 10_000
) -> NDArray[np.float64]:
    """Return the two-sided p-value of the mean of each column: how often random signs give as large a mean.

    If two systems were equal, the sign of each query's difference would be random: this is Fisher's randomisation test,
    which Smucker, Allan and Carterette (2007) recommend for retrieval. All columns share the same signs. If there are
    no more sign patterns than resamples, every pattern is tried and p is exact; else p is
    (1 + number as large) / (1 + resamples), which is never 0. It computes what ``scipy.stats.permutation_test`` does
    with paired samples, for many measures at once and without a loop over queries.

    Args:
        differences: (n, M) float64; NaN for a query for which a measure is not defined.
        seed: Makes the signs repeatable.
        resamples: Number of sign patterns to try.

    Returns:
        (M,) float64; 1 for a column without a difference.
    """
    filled = np.where(np.isnan(differences), 0, differences)
    observed = np.abs(filled.sum(axis=0))
    threshold = observed - _TOLERANCE * np.abs(filled).sum(axis=0)
    count, exact = len(filled), 2 ** min(len(filled), 62) <= resamples
    total = 2**count if exact else resamples
    rng = np.random.default_rng(seed)
    chunk_size = max(1, _MAX_SIGNS // max(1, count))
    num_extreme = np.zeros(filled.shape[1], np.int64)
    for start in range(0, total, chunk_size):
        num_signs = min(chunk_size, total - start)
        if exact:
            bits = (np.arange(start, start + num_signs)[:, None] >> np.arange(count)) & 1
        else:
            bits = rng.integers(0, 2, (num_signs, count), np.int8)
        num_extreme += (np.abs((1.0 - 2.0 * bits) @ filled) >= threshold).sum(axis=0)
    p: NDArray[np.float64] = num_extreme / total if exact else (1 + num_extreme) / (1 + total)
    return p


def holm(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correct p-values for their number M by the method of Holm, which bounds the family-wise error rate.

    The smallest is multiplied by M, the next by M - 1, …; the results do not decrease and are at most 1.
    Source: Holm 1979.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    corrected: NDArray[np.float64] = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected
