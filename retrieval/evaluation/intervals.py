"""How far a mean over queries could be off, had other queries been asked: the bootstrap."""

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError


def bootstrap_intervals(
    values: NDArray[np.float64], *, level: float = 0.95, seed: int = 0, resamples: int = 2000
) -> NDArray[np.float64]:
    """Give percentile intervals of the means of columns, drawing lines with replacement.

    All columns see the same draws, so intervals of several measures belong together.

    Args:
        values: (n, M) float64, one line a query, one column a measure; n at least 1.
        level: The share of resamples inside the interval.
        seed: Makes the draws repeatable.
        resamples: How many times n queries are drawn.

    Returns:
        (M, 2) float64, low and high.

    Raises:
        InputError: For a level outside 0 to 1, or no resamples.
    """
    if not 0 < level < 1:
        raise InputError(f"an interval of level {level} has no meaning; give a number between 0 and 1, such as 0.95")
    if resamples < 1:
        raise InputError(f"{resamples} resamples give no interval; 2000 is a good number")
    rng = np.random.default_rng(seed)
    count = len(values)
    means = np.empty((resamples, values.shape[1]))
    for one in range(resamples):
        # How often each query was drawn says all: (n,) counts need far less memory than (n, M) drawn values.
        drawn = np.bincount(rng.integers(count, size=count), minlength=count)
        means[one] = drawn @ values / count
    tail = (1 - level) / 2
    intervals: NDArray[np.float64] = np.quantile(means, [tail, 1 - tail], axis=0).T
    return intervals
