"""Simulated users of the sample: tastes over keywords, and popularity. Nothing is derived from pictures or vectors.

A user has a few favourite keywords, of which one or two rule at a time; each session picks items that carry them, the
more popular ones more often, and now and then something quite different.
"""

import math

import numpy as np
import pyarrow as pa

from indexing.catalogue.arrow_values import SECONDS_PER_DAY

USERS = 500
FAVOURITES = 4
EXPLORATION = 0.15
FEWEST, MOST = 10, 60
START, DAYS = 1_735_689_600, 365  # 2025-01-01
COMMON = 5  # a keyword on fewer drawings is no taste
TOO_COMMON = 0.08  # one on more of them says nothing


def simulate(items: pa.Table, seed: int) -> pa.Table:
    """Simulate a log.

    Args:
        items: ``item_id``, ``keywords`` and ``category``.
        seed: Same seed, same log.

    Returns:
        ``user_id, item_id, timestamp`` (seconds, UTC) and ``weight``, in order of time.
    """
    rng = np.random.default_rng(seed)
    carriers = topics(items)
    names = sorted(carriers)
    popularity = rng.permutation(1 / np.arange(1, len(items) + 1) ** 0.7)
    share = np.array([math.sqrt(len(carriers[name])) for name in names])
    item_ids = items["item_id"].to_pylist()
    rows = []
    for number in range(1, USERS + 1):
        favourites = rng.choice(len(names), FAVOURITES, replace=False, p=share / share.sum())
        for row, when, weight in _history(rng, [carriers[names[f]] for f in favourites], popularity):
            rows.append((f"simulated-{number:04d}", item_ids[row], when, weight))
    rows.sort(key=lambda line: (line[2], line[0]))
    users, ids, times, weights = zip(*rows, strict=True)
    return pa.table(
        {
            "user_id": pa.array(users, pa.string()),
            "item_id": pa.array(ids, pa.string()),
            "timestamp": pa.array(times, pa.int64()),
            "weight": pa.array(weights, pa.float32()),
        }
    )


def topics(items: pa.Table) -> dict[str, list[int]]:
    """Give the rows that carry each keyword which is common enough to be a taste and rare enough to be one."""
    carriers: dict[str, list[int]] = {}
    for row, (keywords, category) in enumerate(
        zip(items["keywords"].to_pylist(), items["category"].to_pylist(), strict=True)
    ):
        for word in {*keywords, category}:
            carriers.setdefault(word, []).append(row)
    return {word: rows for word, rows in carriers.items() if COMMON <= len(rows) <= TOO_COMMON * len(items)}


def _history(
    rng: np.random.Generator, favourites: list[list[int]], popularity: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> list[tuple[int, int, float]]:
    """One user's rows, times and weights: sessions over a year, the ruling favourites drifting."""
    length = int(np.clip(rng.lognormal(3.1, 0.5), FEWEST, MOST))
    taken: dict[int, tuple[int, float]] = {}
    when = START + int(rng.integers(0, DAYS // 2 * SECONDS_PER_DAY))
    ruling = int(rng.integers(len(favourites)))
    while len(taken) < length:
        when += int(rng.exponential(6 * SECONDS_PER_DAY))
        if rng.random() < 0.3:
            ruling = int(rng.integers(len(favourites)))
        for _ in range(int(rng.integers(1, 6))):
            when += int(rng.integers(20, 600))
            explores = rng.random() < EXPLORATION
            among = np.arange(len(popularity)) if explores else np.array(favourites[ruling])
            row = int(rng.choice(among, p=popularity[among] / popularity[among].sum()))
            if row not in taken and len(taken) < length:
                taken[row] = (when, 1.0)
            elif row in taken:
                taken[row] = (taken[row][0], min(taken[row][1] + 1.0, 3.0))  # came back to it
        if sum(len(rows) for rows in favourites) < length * 2 and len(taken) >= FEWEST:
            break  # a narrow taste is exhausted
    return [(row, when, weight) for row, (when, weight) in taken.items()]
