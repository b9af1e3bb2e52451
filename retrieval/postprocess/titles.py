"""Titles of items: their first text field."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_values
from retrieval.candidates import Candidates

TITLE = pa.field("title", pa.string())
BESIDE = 2  # the column of titles in a table of hits: after query_id and item_id


def titles_of(bundle: Bundle) -> dict[str, str]:
    """Give the title of each item, by item_id."""
    if (column := _column(bundle)) is None:
        return {}
    return {item_id: title_in(title) or "" for item_id, title in zip(bundle.items, python_values(column), strict=True)}


def titles_at(bundle: Bundle, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
    """Give the titles of rows; None where an item has none."""
    column = _column(bundle)
    if column is None:
        return [None] * len(rows)
    unique_rows, inverse = np.unique(np.asarray(rows, np.int64), return_inverse=True)
    titles = [title_in(title) for title in python_values(column.take(pa.array(unique_rows)))]
    return [titles[position] for position in inverse.tolist()]


def with_titles(candidates: Candidates, bundle: Bundle) -> pa.Table:
    """Give `Candidates.to_arrow` with a further column ``title``, null where an item has none."""
    titles = titles_at(bundle, candidates.rows[np.nonzero(candidates.rows >= 0)])
    return candidates.to_arrow().add_column(BESIDE, TITLE, pa.array(titles, TITLE.type))


def _column(bundle: Bundle) -> pa.ChunkedArray | None:
    names = bundle.manifest.columns.get("text") or ()
    return bundle.attributes.column(names[0]) if names else None


def title_in(value: Any) -> str | None:  # noqa: ANN401 - a value of any column
    """Give a title as one text, the values of a list joined by commas; None for an empty one.

    >>> title_in(["Red mug", None, "0.3 l"]), title_in(1984), title_in([None, ""])
    ('Red mug, 0.3 l', '1984', None)
    """
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(title_in, value))) or None
    return None if value is None else str(value) or None
