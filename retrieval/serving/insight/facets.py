"""Attributes as filters: the values of each, with how many items have them, or its smallest and largest number."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.bundle.bundle import Bundle

ITEM_ID = "item_id"
MAX_ATTRIBUTES = 40
MAX_VALUES = 60  # of an attribute that are named
MAX_CHARACTERS = 80  # of a value that is a filter; longer ones are texts
MIN_ITEMS_PER_VALUE = 2.0  # a text that is different for nearly every item, as a title, is no filter


def facets_of(bundle: Bundle) -> list[dict[str, Any]]:
    """Describe the attributes that make filters; others, as titles, are left out."""
    table = bundle.attributes
    live = table if bundle.is_live.all() else table.take(pa.array(np.flatnonzero(bundle.is_live)))
    names = [name for name in live.column_names if name != ITEM_ID][:MAX_ATTRIBUTES]
    return [found for name in names if (found := _facet(name, live.column(name))) is not None]


def _facet(name: str, column: pa.ChunkedArray) -> dict[str, Any] | None:
    kind = column.type
    missing = column.null_count
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        values = pc.list_flatten(column)
        if not pa.types.is_string(values.type):
            return None
        return _of_values(name, values, len(column), missing, many=True)
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _of_values(name, column, len(column), missing, many=False)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _of_numbers(name, column, missing)
    return None


def _of_values(name: str, values: pa.ChunkedArray, items: int, missing: int, *, many: bool) -> dict[str, Any] | None:
    counted = pc.value_counts(values.drop_null()).to_pylist()
    counted = [one for one in counted if not isinstance(one["values"], str) or 0 < len(one["values"]) <= MAX_CHARACTERS]
    named = sum(one["counts"] for one in counted)
    if not counted or named < MIN_ITEMS_PER_VALUE * len(counted):
        return None
    counted.sort(key=lambda one: (-one["counts"], str(one["values"])))
    return {
        "name": name,
        "kind": "values",
        "several": many,
        "distinct": len(counted),
        "values": [{"value": one["values"], "items": one["counts"]} for one in counted[:MAX_VALUES]],
        "items": items,
        "missing": missing,
    }


def _of_numbers(name: str, column: pa.ChunkedArray, missing: int) -> dict[str, Any] | None:
    numbers = np.asarray(column.drop_null().cast(pa.float64()).to_numpy(), np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers) or numbers.min() == numbers.max():
        return None
    counts, _ = np.histogram(numbers, bins=24)
    return {
        "name": name,
        "kind": "numbers",
        "whole": pa.types.is_integer(column.type),
        "min": float(numbers.min()),
        "max": float(numbers.max()),
        "histogram": counts.tolist(),
        "items": len(column),
        "missing": missing,
    }
