"""What items are called, for people."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_values
from retrieval.candidates import Candidates

TITLE = pa.field("title", pa.string())
BESIDE = 2  # the place of titles in a table of answers: after query_id and item_id


def titles_of(bundle: Bundle) -> dict[str, str]:
    """Give each item's first text field, to show beside its id."""
    if (column := _column(bundle)) is None:
        return {}
    return {item_id: title_in(title) or "" for item_id, title in zip(bundle.items, python_values(column), strict=True)}


def titles_at(bundle: Bundle, rows: Sequence[int] | NDArray[np.int64]) -> list[str | None]:
    """Give the titles in some rows; None where an item has none."""
    column = _column(bundle)
    if column is None:
        return [None] * len(rows)
    met, places = np.unique(np.asarray(rows, np.int64), return_inverse=True)
    titles = [title_in(title) for title in python_values(column.take(pa.array(met)))]
    return [titles[place] for place in places.tolist()]


def with_titles(found: Candidates, bundle: Bundle) -> pa.Table:
    """Give `Candidates.to_arrow` with one column more, ``title``, which is null where an item has none."""
    titles = titles_at(bundle, found.rows[np.nonzero(found.rows >= 0)])
    return found.to_arrow().add_column(BESIDE, TITLE, pa.array(titles, TITLE.type))


def _column(bundle: Bundle) -> pa.ChunkedArray | None:
    names = bundle.manifest.columns.get("text") or ()
    return bundle.attributes.column(names[0]) if names else None


def title_in(value: Any) -> str | None:  # noqa: ANN401 - a value of any column
    """Give a title as one text, the parts of a list with commas between them; None where there is nothing in it.

    >>> title_in(["Red mug", None, "0.3 l"]), title_in(1984), title_in([None, ""])
    ('Red mug, 0.3 l', '1984', None)
    """
    if isinstance(value, list | tuple):
        return ", ".join(filter(None, map(title_in, value))) or None
    return None if value is None else str(value) or None
