"""Names for the arrays and choices that flow through every stage."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float32]
"""(N, D) float32: one embedding per line."""

Rows: TypeAlias = NDArray[np.int64]
"""int64 positions of items in a bundle; -1 pads where there is no item."""

Mask: TypeAlias = NDArray[np.bool_]
"""(N,) bool: one flag per item."""
