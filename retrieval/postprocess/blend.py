"""Blending the score with further objectives, as the margin, price or freshness of an item."""

import difflib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows
from indexing.errors import InputError
from indexing.runtime.arguments import check_mapping, is_number, shown_number
from retrieval.candidates import Candidates, check_num_rows
from retrieval.models.features.column_encoders import is_measured, numbers

STAGE = "blend"
MAX_WEIGHT = 1e6  # largest weight: it outweighs any relevance, and scores stay finite
Floats = NDArray[np.float64]


class Blend:
    """Adds weighted objectives to the score, each standardised over the candidates of the query.

    ``score + std * sum(weight * standardised)``, where ``std`` is the standard deviation of the query's scores: with a
    weight of 0.2 one standard deviation of the objective counts a fifth of one of the score. Missing values count as
    the mean; an objective of weight 0 changes nothing.

    Args:
        attributes: One row for each of N items.
        weights: The weight of each objective, a column of numbers, booleans, dates or times; below 0, less is better.

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
            if not is_number(weight, -MAX_WEIGHT, MAX_WEIGHT):
                raise InputError(
                    f"the weight of {name!r} is {shown_number(weight)}; give a number from "
                    f"-{MAX_WEIGHT:g} to {MAX_WEIGHT:g}"
                )
        self.weights = {name: float(weight) for name, weight in weights.items() if weight}
        self._columns = {name: attributes.column(name) for name in self.weights}

    def rerank(self, candidates: Candidates) -> Candidates:
        """Sort the candidates by the blended score."""
        for name, column in self._columns.items():
            check_num_rows(len(column), candidates, f"values of {name!r}")
        is_hit = candidates.rows >= 0
        scores = np.where(is_hit, candidates.scores, 0).astype(np.float64)
        std = _std(np.where(is_hit, scores, np.nan))
        objectives = np.zeros(scores.shape)
        for name, weight in self.weights.items():
            objectives += weight * _standardised(self._values(name, candidates.rows))
        with np.errstate(over="ignore"):
            blended = (scores + np.where(std > 0, std, 1) * objectives).astype(np.float32)
        if not np.isfinite(blended[is_hit]).all():
            raise InputError("some scores are not finite before or after blending; score these anew")
        return candidates.reordered(blended, STAGE)

    def _values(self, name: str, rows: Rows) -> Floats:
        """Give the objective of rows of any shape, NaN where it is missing and for padding."""
        unique_rows, inverse = np.unique(rows, return_inverse=True)
        cells = (
            self._columns[name].take(pa.array(np.where(unique_rows < 0, 0, unique_rows)))
            if len(self._columns[name])
            else None
        )
        values = np.full(len(unique_rows), np.nan) if cells is None else numbers(cells)
        values[(unique_rows < 0) | ~np.isfinite(values)] = np.nan
        result: Floats = values[inverse].reshape(rows.shape)
        return result


def _standardised(values: Floats) -> Floats:
    """Standardise each row, 0 where it is NaN and where all are equal."""
    known = np.isfinite(values)
    mean = np.where(known, values, 0).sum(axis=1, keepdims=True) / np.maximum(known.sum(axis=1, keepdims=True), 1)
    std = _std(values)
    result: Floats = np.where(known & (std > 0), (values - mean) / np.where(std > 0, std, 1), 0.0)
    return result


def _std(values: Floats) -> Floats:
    """Give the standard deviation of each row without NaN, (B, 1), exactly 0 where all are equal."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=1, keepdims=True), 1)
    mean = np.where(known, values, 0).sum(axis=1, keepdims=True) / count
    std = np.sqrt((np.where(known, values - mean, 0) ** 2).sum(axis=1, keepdims=True) / count)
    low = np.where(known, values, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(known, values, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    result: Floats = np.where(high > low, std, 0.0)
    return result
