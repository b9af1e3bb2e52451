"""The one way to use any head, and the kinds that there are."""

from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors

HeadKind = Literal["neural", "trees"]


class ScoringHead(Protocol):
    """Scores candidates by their features."""

    @property
    def kind(self) -> str:
        """Which kind it is stored as: a `HeadKind`, or one that is only read."""
        ...

    @property
    def width(self) -> int:
        """F, how many features it reads."""
        ...

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) float32 to (…) float32, higher is better."""
        ...

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what it is made of, for a file."""
        ...
