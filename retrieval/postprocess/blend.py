"""More than relevance: what else an item is worth, as its margin, price or freshness, weighed beside its score."""

import difflib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.errors import InputError
from indexing.runtime.arguments import check_mapping, is_number, shown_number
from retrieval.candidates import Candidates, check_lines
from retrieval.features.column_encoders import is_measured, numbers

STAGE = "blend"
MOST = 1e6  # a weight that outweighs any relevance, and with which scores stay finite
Floats = NDArray[np.float64]


class Blend:
    """Adds weighted objectives to the score, each in standard deviations among the candidates of the query.

    ``score + spread * sum(weight * standardised)``, where the spread is the standard deviation of the query's scores:
    a weight of 0.2 makes one deviation of the objective worth a fifth of one of relevance. What an item lacks counts as
    the average; an objective of weight 0 changes nothing, to the last bit.

    Args:
        attributes: One line for each of N rows.
        weights: For each objective, a column of numbers, booleans, dates or times, its weight; below 0 less is better.

    Raises:
        InputError: When a column is not there or holds no numbers, or a weight is not finite.
    """

    def __init__(self, attributes: pa.Table, weights: Mapping[str, float]) -> None:
        check_mapping(weights, "weights", "{'margin': 0.2}")
        for name, weight in weights.items():
            if attributes.schema.names.count(name) != 1:
                close = difflib.get_close_matches(name, attributes.schema.names) or attributes.schema.names
                raise InputError(f"there is no attribute {name!r} to weigh; did you mean one of {close[:12]}?")
            kind = attributes.schema.field(name).type
            if not is_measured(kind):
                raise InputError(f"attribute {name!r} is {kind}: weigh one of numbers, booleans or dates")
            if not is_number(weight, -MOST, MOST):
                raise InputError(
                    f"the weight of {name!r} is {shown_number(weight)}; give a number from -{MOST:g} to {MOST:g}"
                )
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        self._columns = {name: attributes.column(name) for name in self.weights}

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the same candidates in the order of score and objectives together."""
        for name, column in self._columns.items():
            check_lines(len(column), candidates, f"values of {name!r}")
        there = candidates.rows >= 0
        scores = np.where(there, candidates.scores, 0).astype(np.float64)
        spread = _deviation(np.where(there, scores, np.nan))
        added = np.zeros(scores.shape)
        for name, weight in self.weights.items():
            added += weight * _standardised(self._values(name, candidates.rows))
        with np.errstate(over="ignore"):
            blended = (scores + np.where(spread > 0, spread, 1) * added).astype(np.float32)
        if not np.isfinite(blended[there]).all():
            raise InputError("some scores are not finite before or after blending; score these anew")
        return candidates.reordered(blended, STAGE)

    def _values(self, name: str, rows: Rows) -> Floats:
        """Give the objective of rows of any shape, NaN where it is missing or the row is padding."""
        known, inverse = np.unique(rows, return_inverse=True)
        taken = self._columns[name].take(pa.array(np.where(known < 0, 0, known))) if len(self._columns[name]) else None
        values = np.full(len(known), np.nan) if taken is None else numbers(taken)
        values[(known < 0) | ~np.isfinite(values)] = np.nan
        found: Floats = values[inverse].reshape(rows.shape)
        return found


def _standardised(values: Floats) -> Floats:
    """Give each line in deviations from its mean, 0 where it is NaN and where all are alike."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    spread = _deviation(values)
    found: Floats = np.where(known & (spread > 0), (values - mean) / np.where(spread > 0, spread, 1), 0.0)
    return found


def _deviation(values: Floats) -> Floats:
    """Give the standard deviation of each line but for its NaN, (B, 1), exactly 0 where all are alike."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0).sum(axis=1, keepdims=True) / count
    spread = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    low = np.where(known, values, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    found: Floats = np.where(high > low, spread, 0.0)
    return found
