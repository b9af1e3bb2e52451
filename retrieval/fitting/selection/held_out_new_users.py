"""Users who stand for new ones: what is best for these is chosen with what was learned without them.

Those who were learned from cannot stand for them, for what was learned knows what else they did.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.fitting.selection.validation import FEWEST
from retrieval.interactions.histories import History

SHORT, NEXT = (1, 2, 3), 20  # items of a short history, and, at most, of what should be found after it
LEAST_OUT, MOST_OUT = 20, 2_000  # users who are left out
MOST_OTHERS = 20_000  # who are then learned from


@dataclass(frozen=True)
class HeldOutUsers:
    """Users after the first few things they did.

    Attributes:
        begun: The first few items of each.
        wanted: The next ones.
    """

    begun: list[History]
    wanted: list[History]

    @classmethod
    def of(cls, pasts: Sequence[History], least: float, lengths: Sequence[int] = SHORT) -> "HeldOutUsers | None":
        """Take those who liked something of what came next; None when they are too few to judge by.

        Args:
            pasts: All that each did, oldest first.
            least: What weighs so much was liked.
            lengths: Items of a history, of one user after the other in turn.
        """
        firsts = [lengths[n % len(lengths)] for n in range(len(pasts))]
        cuts = [(past[:first], past[first : first + NEXT]) for past, first in zip(pasts, firsts, strict=True)]
        some = [(begun, wanted) for begun, wanted in cuts if len(wanted.liked(least))]
        return cls([begun for begun, _ in some], [wanted for _, wanted in some]) if len(some) >= FEWEST else None


def hold_out_users(pasts: Sequence[History]) -> tuple[list[History], list[History]]:
    """Part users into others, 20,000 at most, and a tenth who are to be new, 20 to 2,000.

    Nobody is left out where that would be more than a quarter.
    """
    many = min(MOST_OUT, max(LEAST_OUT, len(pasts) // 10))
    if 4 * many > len(pasts):
        return list(pasts), []
    drawn = np.random.default_rng(0).permutation(len(pasts))
    out, others = np.sort(drawn[:many]).tolist(), np.sort(drawn[many : many + MOST_OTHERS]).tolist()
    return [pasts[n] for n in others], [pasts[n] for n in out]
