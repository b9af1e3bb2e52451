"""A label for each item, taken from a column of attributes: what probes are asked to tell."""

import difflib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from indexing.errors import InputError
from retrieval.evaluation.encoder_benchmark.probes import Labels

FEWEST_OF_A_CLASS = 10
MOST_CLASSES = 50
LEAST_COVERED = 0.5
NO_CLASS = -1


@dataclass(frozen=True, eq=False)
class LabelColumn:
    """The classes of a column.

    Attributes:
        name: The column.
        classes: Names of the classes with at least ten items, the largest first.
        of_item: (N,) int64, the class of each item; -1 for one without, or of a smaller class.
    """

    name: str
    classes: tuple[str, ...]
    of_item: Labels


def label_column(attributes: pa.Table, name: str) -> LabelColumn:
    """Read a column as classes.

    Raises:
        InputError: When there is no such column, it holds lists, or fewer than two classes are large enough.
    """
    if name not in attributes.column_names:
        close = difflib.get_close_matches(name, attributes.column_names) or attributes.column_names
        raise InputError(f"there is no column {name!r} to take labels from; did you mean one of {close[:12]}?")
    if pa.types.is_list(attributes.schema.field(name).type):
        raise InputError(f"column {name!r} holds lists, but an item can have one label only; name another column")
    found = _classes(attributes, name)
    if len(found.classes) < 2:
        raise InputError(
            f"column {name!r} has {len(found.classes)} classes of at least {FEWEST_OF_A_CLASS} items; two are needed: "
            "name another column, or take more items"
        )
    return found


def find_label(attributes: pa.Table, text: Collection[str] = ()) -> LabelColumn | None:
    """Find the column of strings with the most classes, at most 50, that cover at least half of the items.

    Args:
        attributes: One line an item.
        text: Columns that are embedded as text; none of these is taken.
    """
    fields = [field for field in attributes.schema if pa.types.is_string(field.type)]
    columns = [_classes(attributes, field.name) for field in fields if field.name not in (*text, "item_id")]
    usable = [
        column
        for column in columns
        if 2 <= len(column.classes) <= MOST_CLASSES and (column.of_item != NO_CLASS).mean() >= LEAST_COVERED
    ]
    return max(usable, key=lambda column: len(column.classes), default=None)


def _classes(attributes: pa.Table, name: str) -> LabelColumn:
    values = [None if value in (None, "") else str(value) for value in attributes.column(name).to_pylist()]
    counts = Counter(value for value in values if value is not None)
    large = sorted((-count, value) for value, count in counts.items() if count >= FEWEST_OF_A_CLASS)
    classes = tuple(value for _, value in large)
    code = {value: number for number, value in enumerate(classes)}
    return LabelColumn(name, classes, np.array([code.get(value or "", NO_CLASS) for value in values], np.int64))
