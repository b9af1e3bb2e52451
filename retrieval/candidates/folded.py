"""Items that a hit represents, where variants and near-duplicates are shown once: their rows, by the row of the hit."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from indexing.runtime.arguments import is_whole, shown

FOLDED = pa.field("folded", pa.list_(pa.string()))
_NO_ROWS: Rows = np.empty(0, np.int64)


def check_position(query: int, count: int) -> None:
    """Check the position of one of so many queries.

    Raises:
        InputError: When there is no such query.
    """
    if not is_whole(query, 0) or query >= count:
        raise InputError(f"query is {shown(query)}; give the position of one of {count} queries")


def ids_in(folded: Mapping[int, Rows], rows: Rows, items: ItemIds) -> list[list[str]]:
    """Give the item_ids that each hit of one query represents."""
    return [[items[other] for other in folded.get(row, _NO_ROWS).tolist()] for row in rows.tolist()]


def with_new_rows(folded: Mapping[int, Rows], new_rows: Rows) -> dict[int, Rows]:
    """Replace the rows by new rows, (N + 1,) int64; deleted items, of row -1, are left out."""
    by_row = {int(new_rows[row]): new_rows[others] for row, others in folded.items()}
    return {row: others[others >= 0] for row, others in by_row.items() if row >= 0}


def place_folded(folded: Sequence[Mapping[int, Rows]], new_rows: Rows, items: ItemIds, new_items: ItemIds) -> None:
    """Write the new rows of all items that hits represent; -1 for deleted items."""
    for others in (others for of_query in folded for others in of_query.values()):
        found = (new_items.row(items[other]) for other in others.tolist())
        new_rows[others] = [-1 if row is None else row for row in found]
