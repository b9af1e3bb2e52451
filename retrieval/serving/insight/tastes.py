"""A taste in words: the values of attributes whose items lie in the direction of the items that a user took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Vectors, unit
from retrieval.models.features.attribute_values import Attribute
from retrieval.retriever.retriever import Retriever
from retrieval.serving.engine.request import current_request
from retrieval.serving.insight.state_cache import per_state

ITEM_ID = "item_id"
MIN_ITEMS = 4  # of a value that is a taste
MAX_SHARE = 0.5  # of all items: a value that most items have says nothing
MAX_VALUES = 3_000
MIN_LENGTH = 0.5  # of a taste, where items in unrelated directions give 1 on average: below it, they cancel each other
CANCELLED = "likes and dislikes of this history nearly cancel each other: too little is known for a taste in words"


@dataclass(frozen=True, eq=False)
class Directions:
    """Where the items of each value lie, seen from the middle of all items.

    Attributes:
        names: V pairs of an attribute and a value.
        vectors: (V, D) float32, of length 1.
        shares: (V,) the share of all items that have it.
    """

    names: Sequence[tuple[str, str]]
    vectors: Vectors
    shares: NDArray[np.float64]


def tastes_of(retriever: Retriever, history: Sequence[str], weights: Sequence[float], most: int) -> dict[str, Any]:
    """Give the values nearest to the taste of a history, and those farthest from it.

    There are none where likes and dislikes of nearly the same cancel each other, which is a note of the request: what
    is left of the history then lies near some values by chance.

    Args:
        retriever: With the items.
        history: Of the user; an unknown item is an error.
        weights: Of each; below 0 for what was disliked.
        most: Values of either kind.
    """
    directions = per_state(retriever, "directions", lambda: _directions(retriever))
    if not len(history) or not len(directions.names):
        return {"near": [], "far": []}
    rows = retriever.items.rows(list(history))
    apart = unit(retriever.vectors[rows]) - _middle(retriever)
    weighted = np.asarray(weights, np.float32)[:, np.newaxis] * apart
    taste = weighted.sum(axis=0)
    length = float(np.linalg.norm(taste))
    if length < max(MIN_LENGTH * float(np.linalg.norm(weighted)), 1e-9):
        current_request().note(CANCELLED)
        return {"near": [], "far": []}
    scores = directions.vectors @ (taste / length)
    order = np.argsort(-scores, kind="stable")
    near = [at for at in order[:most].tolist() if scores[at] > 0]
    far = [at for at in order[::-1][:most].tolist() if scores[at] < 0]
    return {"near": _named(directions, near, scores), "far": _named(directions, far, scores)}


def _named(directions: Directions, places: Sequence[int], scores: NDArray[np.floating[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "attribute": directions.names[at][0],
            "value": directions.names[at][1],
            "score": float(scores[at]),
            "share": float(directions.shares[at]),
        }
        for at in places
    ]


def _middle(retriever: Retriever) -> Vectors:
    return per_state(
        retriever, "middle", lambda: unit(retriever.vectors[retriever.bundle.is_live]).mean(axis=0, dtype=np.float32)
    )


def _directions(retriever: Retriever) -> Directions:
    bundle, table = retriever.bundle, retriever.bundle.attributes
    live = np.flatnonzero(bundle.is_live)
    vectors, middle = unit(retriever.vectors[live]), _middle(retriever)
    names: list[tuple[str, str]] = []
    found: list[Vectors] = []
    shares: list[float] = []
    texts = set(bundle.manifest.columns.get("text") or ())
    for name in table.column_names:
        kind = table.schema.field(name).type
        is_list = pa.types.is_list(kind) and pa.types.is_string(kind.value_type)
        if name == ITEM_ID or not (is_list or (pa.types.is_string(kind) and name not in texts)):
            continue
        attribute = Attribute.named(table.take(pa.array(live)), name)
        for value, rows in _rows_of_values(attribute):
            if MIN_ITEMS <= len(rows) <= MAX_SHARE * len(live) and len(names) < MAX_VALUES:
                names.append((name, value))
                found.append(vectors[rows].mean(axis=0) - middle)
                shares.append(len(rows) / len(live))
    matrix = np.stack(found) if found else np.zeros((0, vectors.shape[1]), np.float32)
    lengths = np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-9)
    return Directions(names, (matrix / lengths).astype(np.float32), np.array(shares))


def _rows_of_values(attribute: Attribute) -> list[tuple[str, NDArray[np.int64]]]:
    item_of = np.repeat(np.arange(len(attribute)), np.diff(attribute.starts))
    order = np.argsort(attribute.codes, kind="stable")
    ends = np.cumsum(np.bincount(attribute.codes, minlength=len(attribute.values)))
    return list(zip(attribute.values, np.split(item_of[order], ends[:-1]), strict=True)) if len(ends) else []
