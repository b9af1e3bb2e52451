"""Logs made by hand, and a shop in which nobody is fake."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from retrieval.interactions.interactions import Interactions

START = 1_700_000_000
DAY = 86_400
Row = tuple[str, str, int]


def log_of(rows: Sequence[Row], weights: Sequence[float] | None = None) -> Interactions:
    """Interactions of (user, item, seconds after START)."""
    users, items, seconds = zip(*rows, strict=True)
    table = {"user_id": users, "item_id": items, "timestamp": [START + second for second in seconds]}
    return Interactions.from_arrow(pa.table(table | ({} if weights is None else {"weight": weights})))


def rows_of(interactions: Interactions) -> list[Row]:
    columns = [interactions.table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")]
    return [(user, item, when - START) for user, item, when in zip(*columns, strict=True)]


def shop(seed: int = 0, users: int = 300, items: int = 120, days: int = 90) -> Interactions:
    """Users who come one after the other, stay for an hour or come back for weeks, and like one of six kinds."""
    rng = np.random.default_rng(seed)
    popularity = 1 / np.arange(1, items + 1) ** 0.8
    rows = []
    for user in range(users):
        chances = popularity * np.where(np.arange(items) % 6 == user % 6, 8, 1)
        taken = rng.choice(items, int(rng.integers(5, 25)), replace=False, p=chances / chances.sum())
        begun = int(rng.integers(days * DAY))
        stays = 3600 if rng.random() < 0.6 else 40 * DAY
        rows += [(f"user-{user}", f"item-{item}", begun + int(rng.integers(stays))) for item in taken.tolist()]
    return log_of([row for row in rows if row[2] < days * DAY])
