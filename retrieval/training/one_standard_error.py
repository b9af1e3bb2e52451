"""Selection among settings by the one-standard-error rule (Breiman et al. 1984), with paired differences.

Settings are compared user by user. Those within a standard error of the best count as equally good, and the first of
them is selected: the simplest, where settings are in that order. The best alone would depend on rounding, and so on the
processor, wherever settings are about equally good.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
MIN_STANDARD_ERRORS = 2.0  # a difference from zero needs
ROUNDING = 1e-9  # of sums of a few thousand values in double precision


def first_as_good(values: Sequence[Values]) -> int:
    """Give the index of the first setting within a standard error of the best.

    Args:
        values: For each setting, the simplest first, the metric of each of the same users: (U,).
    """
    best = values[int(np.argmax([setting.mean() for setting in values]))]
    return next(index for index, setting in enumerate(values) if not clearly_better(best, setting, errors=1.0))


def clearly_better(values: Values, baseline: Values, errors: float = MIN_STANDARD_ERRORS) -> bool:
    """Say whether the mean of a metric is above that of a baseline by more than some standard errors.

    Args:
        values: (U,), the metric of each user.
        baseline: (U,), that of the same users with the baseline.
        errors: Standard errors of the mean difference.
    """
    difference = values - baseline
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else 0.0
    return bool(difference.mean() > errors * error + ROUNDING)
