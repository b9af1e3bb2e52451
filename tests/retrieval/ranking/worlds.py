"""A small log whose users stay in a group of items."""

import numpy as np
import pyarrow as pa

from retrieval.interactions.histories import History
from retrieval.training.cutoffs import Cutoff

GROUPS, SIZE = 4, 10
ITEMS = [f"i{row:02}" for row in range(GROUPS * SIZE)]


def drawn(users: int, each: int = 8, seed: int = 0) -> list[History]:
    """Histories of users who each stay in one group, in its order but for some steps; weights 1 to 5."""
    rng, found = np.random.default_rng(seed), []
    for user in range(users):
        rows = np.sort(rng.choice(SIZE, each, replace=False)) + SIZE * int(rng.integers(GROUPS))
        times = 1_700_000_000 + 3600 * (100 * rng.integers(50) + np.arange(each))
        found.append(History(f"u{user:03}", rows, times, rng.integers(1, 6, each).astype(np.float32)))
    return found


def moment_of(histories: list[History], share: float = 0.2) -> Cutoff:
    """Cut each history back by a share, one item at least: what was before, and what came next."""
    ends = [len(past) - max(1, int(len(past) * share)) for past in histories]
    cuts = list(zip(histories, ends, strict=True))
    return Cutoff.between([past[:end] for past, end in cuts], [past[end:] for past, end in cuts])


def table_of(histories: list[History]) -> pa.Table:
    """The same as a log."""
    return pa.table(
        {
            "user": [past.user_id for past in histories for _ in range(len(past))],
            "item": [ITEMS[row] for past in histories for row in past.rows],
            "time": np.concatenate([past.timestamps for past in histories]),
            "weight": np.concatenate([past.weights for past in histories]),
        }
    )
