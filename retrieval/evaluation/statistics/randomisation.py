"""Whether a mean difference could be chance: the paired randomisation test, and Holm's correction."""

import numpy as np
from numpy.typing import NDArray

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
