"""What columns of the context are read as, and whether one tells the item that was taken, or the item tells it."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.errors import examples
from retrieval.interactions.context import MAX_VALUES, Context, range_edges, rare_values

MIN_PAIRS = 100  # of interactions with the same value, or with the same item
SAME_ITEM = 0.5  # of pairs with the same value: hardly a moment, rather a name of the item
SAME_VALUE = 0.95  # of pairs with the same item: it may be an attribute of the item
USUAL_VALUE = 0.75  # of all pairs, up to which it is no surprise that those of an item agree


def context_notes(log: pa.Table, names: Sequence[str]) -> dict[str, str]:
    """Give notes on columns of the context for the report of `fit`, by subject.

    Args:
        log: The table of a log, with an ``item_id``.
        names: Its columns of the context.
    """
    notes = {}
    if rare := rare_values(log, names):
        left_out = ", ".join(f"{count} of {name!r}" for name, count in rare.items())
        notes["values of the context"] = f"left out: {left_out}, as more than {MAX_VALUES} are more frequent"
    context = Context.of_log(log, names)
    columns = {} if context is None else context.columns
    if numbers := [text for name, values in columns.items() if (text := _ranges(name, values))]:
        notes["numbers of the context"] = (
            f"{', '.join(numbers)}, as they are of more than {MAX_VALUES} numbers; where these are names, write them "
            "as text, such as p17"
        )
    if told := [text for name in names if (text := _dependence(log, name))]:
        notes["context and items"] = "; ".join(told)
    return notes


def _ranges(name: str, values: Sequence[str]) -> str:
    if (edges := range_edges(values)) is None:
        return ""
    own = values[len(edges) + 1 :]
    return f"{name!r} in {len(edges) + 1} ranges" + (f" and {examples(own, MAX_VALUES)}" if own else "")


def _dependence(log: pa.Table, name: str) -> str:
    """Say that a value of a column tells the item, or the item the value; "" where neither does.

    Pairs of interactions are compared, so that neither many rare values nor many rare items look like knowledge.
    """
    known = log.filter(pc.not_equal(log[name], ""))
    values, items = (_codes(known[column]) for column in (name, "item_id"))
    both = _pairs(np.unique(np.stack([values, items]), axis=1, return_counts=True)[1]) if len(known) else 0
    of_value, of_item = (_pairs(np.bincount(codes)) for codes in (values, items))
    usual = of_value / max(_pairs(np.array([len(known)])), 1)
    if of_value >= MIN_PAIRS and both >= SAME_ITEM * of_value and of_item < SAME_ITEM * _pairs(np.array([len(known)])):
        return (
            f"of two interactions with one value of {name!r}, {both / of_value:.0%} are with the same item: this is "
            "what is to be recommended, which nobody knows at a request; leave it out"
        )
    if of_item >= MIN_PAIRS and both >= SAME_VALUE * of_item and usual < USUAL_VALUE:
        return (
            f"of two interactions with one item, {both / of_item:.0%} have the same value of {name!r}: if that is an "
            "attribute of the item, nobody knows it at a request; leave it out"
        )
    return ""


def _codes(column: pa.ChunkedArray) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = column.combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    return codes


def _pairs(counts: NDArray[np.int64]) -> float:
    counts = counts.astype(np.float64)
    return float((counts * (counts - 1) / 2).sum())
