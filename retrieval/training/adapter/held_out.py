"""What is kept from learning to see whether it still helps: the last interaction of some users."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexing.arrays.types import Rows

# Judging an epoch should cost less than learning for one.
MOST_USERS = 500
MOST_CANDIDATES = 20_000
FEWEST_USERS = 10  # the loss of fewer says little


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Questions whose answers are known.

    Attributes:
        users: (V,) int64, rising: which of the histories each is from.
        pasts: The history of each user up to the interaction that is held out.
        targets: (V,) the row that came next.
        candidates: (C,) rows, rising, among which it should be found; all items, or some of a large catalogue.
    """

    users: Rows
    pasts: tuple[Rows, ...]
    targets: Rows
    candidates: Rows


def hold_out(
    histories: Sequence[Rows], count: int, share: float, rng: np.random.Generator
) -> tuple[list[Rows], HeldOut | None]:
    """Take the last interaction from a share of the users who have three or more.

    Args:
        histories: Rows of each user, oldest first.
        count: N, items of the catalogue.
        share: Of users, from 0 to 1; with fewer than ten users nothing is held out, and with many only 500 are asked.
        rng: Chooses them.

    Returns:
        The histories to learn from, and what is held out.
    """
    long = [user for user, history in enumerate(histories) if len(history) >= 3]
    wanted = min(round(share * len(long)), MOST_USERS)
    if wanted < FEWEST_USERS:
        return list(histories), None
    users = np.sort(rng.choice(long, wanted, replace=False))
    chosen = set(users.tolist())
    kept = [history[:-1] if user in chosen else history for user, history in enumerate(histories)]
    targets = np.array([histories[user][-1] for user in users])
    some = np.arange(count) if count <= MOST_CANDIDATES else rng.choice(count, MOST_CANDIDATES, replace=False)
    pasts = tuple(histories[user][:-1] for user in users)
    return kept, HeldOut(users, pasts, targets, np.union1d(some, targets))
