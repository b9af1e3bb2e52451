"""Small logs for tests of what is read from one."""

from collections.abc import Sized
from typing import Any

import pyarrow as pa

from retrieval.interactions.interactions import Interactions


def log(**columns: object) -> pa.Table:
    """A log of as many rows as the columns given, with plain ids where none are."""
    count = max(len(column) for column in columns.values() if isinstance(column, Sized))
    ids: dict[str, object] = {"user_id": [f"u{i}" for i in range(count)], "item_id": [f"i{i}" for i in range(count)]}
    return pa.table(ids | columns)


def values(interactions: Interactions, column: str) -> list[Any]:
    found: list[Any] = interactions.table[column].to_pylist()
    return found
