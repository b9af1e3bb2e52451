"""How a leak is reported, and the views of a log that the checks share."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from indexing.errors import LeakError, examples
from retrieval.interactions.interactions import Interactions


def report(kind: str, what: str, bad: Sequence[object], way_out: str) -> None:
    """Raise when there is anything bad: which kind, how many, of what, examples, and what to do.

    Raises:
        LeakError: When there is.
    """
    if bad:
        raise LeakError(f"{kind}: {len(bad)} {what}, e.g. {examples(bad)}; {way_out}")


def items_by_user(interactions: Interactions, min_weight: float | None = None) -> dict[str, set[str]]:
    """Give the item_ids of each user, of interactions of at least this weight."""
    found: dict[str, set[str]] = {}
    table = interactions.table
    if min_weight is not None:
        table = table.filter(pc.greater_equal(table["weight"], min_weight))
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        found.setdefault(user, set()).add(item)
    return found


def lines(table: pa.Table) -> list[tuple[str, str, int]]:
    """Give user, item and second of each interaction."""
    return list(zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True))
