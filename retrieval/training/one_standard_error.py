"""Choosing among settings by what users were worth with each, so that rounding does not tip the scales.

Two settings are compared user by user, as the same users judge both. What is within a standard error of the best is
taken for as good, and of these the first is chosen: the simplest, where settings are named in that order (the
one-standard-error rule of Breiman et al. 1984, with paired differences). The best alone would be another one on another
processor wherever the top is flat.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
SURE = 2.0  # standard errors that a difference must be from zero to be taken for one
ROUNDING = 1e-9  # of sums of a few thousand values in double precision


def first_as_good(values: Sequence[Values]) -> int:
    """Give the place of the first setting that is within a standard error of the best.

    Args:
        values: For each setting, the simplest first, (U,) what each user was worth, the same users in each.
    """
    best = values[int(np.argmax([setting.mean() for setting in values]))]
    return next(index for index, setting in enumerate(values) if not clearly_better(best, setting, errors=1.0))


def clearly_better(values: Values, baseline: Values, errors: float = SURE) -> bool:
    """Say whether users were worth more by one than by another, by more than so many standard errors.

    Args:
        values: (U,) what each user was worth.
        baseline: (U,) what the same users were worth.
        errors: Standard errors of the mean difference.
    """
    gained = values - baseline
    error = float(gained.std(ddof=1) / np.sqrt(len(gained))) if len(gained) > 1 else 0.0
    return bool(gained.mean() > errors * error + ROUNDING)
