"""The space of items in two dimensions: principal components of a sample, with the axes on which queries are placed."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.item_ids import sampled_rows
from indexing.errors import InputError
from retrieval.evaluation.report.item_map import groups_of, modality_points
from retrieval.postprocess.titles import titles_at
from retrieval.retriever.retriever import Retriever
from retrieval.serving.insight.facets import facets_of
from retrieval.serving.insight.state_cache import in_background, per_state

MAX_POINTS = 20_000
FITTED = 3_000  # points whose principal components are the axes
LEVELS = 65_535  # of a coordinate, as it is sent
POPULARITY, KNOWN, MODALITY = "popularity", "known or new", "modality"
MARGIN = 0.03  # of the map, beside its outermost points


@dataclass(frozen=True, eq=False)
class Plane:
    """Two axes of a space.

    Attributes:
        centre: (D,) float64.
        axes: (D, 2) float64.
        low, high: (2,) float64, the corners of the map.
        explained_variance: The fraction of the variance that the axes have.
    """

    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    explained_variance: float

    @classmethod
    def of(cls, vectors: Vectors, fitted: Mask | None = None) -> "Plane":
        """Fit the axes to (n, D) vectors; the sign of each makes its largest component positive.

        Not its outermost point: of two that are as far out on either side, an added item would turn the map around.

        Args:
            vectors: Of which all are within the corners.
            fitted: (n,) bool, those whose principal components are the axes; all when None.
        """
        values = (vectors if fitted is None else vectors[fitted]).astype(np.float64)
        centre = values.mean(axis=0)
        both, variances, total = _two_axes(values - centre)
        both = both * np.sign(both[np.abs(both).argmax(axis=0), np.arange(2)])
        points = (vectors - centre) @ both
        low, high = points.min(axis=0), points.max(axis=0)
        beside = MARGIN * np.maximum(high - low, 1e-9)
        return cls(centre, both, low - beside, high + beside, variances / total if total > 0 else 0.0)

    def place(self, vectors: Vectors) -> NDArray[np.float64]:
        """Place (n, D) vectors: (n, 2) float64, 0 to 1 within the map."""
        placed: NDArray[np.float64] = ((vectors - self.centre) @ self.axes - self.low) / (self.high - self.low)
        return placed


def _two_axes(centred: NDArray[np.float64]) -> tuple[NDArray[np.float64], float, float]:
    """Give the two principal axes of (n, D) vectors, (D, 2), what these have of the sum of squares, and that sum."""
    products = centred.T @ centred
    last = len(products) - 1
    variances, axes = eigh(products, subset_by_index=[last - 1, last])  # ascending
    return axes[:, ::-1], float(variances.sum()), float(np.trace(products))


@dataclass(frozen=True, eq=False)
class Points:
    """Items on a plane.

    Attributes:
        plane: The axes.
        rows: (n,) the row of each point; an item has several where its modalities are points.
        places: (n, 2) float64.
        groups: The group of each point where it is that of a modality.
    """

    plane: Plane
    rows: Rows
    places: NDArray[np.float64]
    groups: Sequence[str] | None = None


def points_of(retriever: Retriever, *, by_modality: bool = False) -> Points:
    """Give the items of a state, or their texts, pictures and sounds apart, on a plane; at most 20,000 points.

    Where there are more, items are drawn by their item_ids, as are those that the axes are fitted to: an item that is
    added or deleted exchanges at most one of either.

    Raises:
        InputError: When there are too few items.
    """
    return drawing(retriever, by_modality=by_modality).result()


def drawing(retriever: Retriever, *, by_modality: bool = False) -> "Future[Points]":
    """Give the points of `points_of` as they are made, in the background, where nothing else has asked for them yet."""
    return in_background(retriever, ("points", by_modality), lambda: _points(retriever, by_modality))


def _points(retriever: Retriever, by_modality: bool) -> Points:
    colours_of(retriever)  # the attributes are read once too, which may take as long
    rows = np.flatnonzero(retriever.bundle.is_live)
    if len(rows) < 2 or retriever.vectors.shape[1] < 2:
        raise InputError("a map needs two items and two dimensions; there are fewer")
    groups: list[str] | None = None
    each = max(len(retriever.bundle.modality_vectors.modalities), 1) if by_modality else 1  # points of an item
    rows = sampled_rows(retriever.items, MAX_POINTS // each, retriever.bundle.is_live)
    fitted = sampled_rows(retriever.items, FITTED // each, retriever.bundle.is_live)
    if by_modality:
        vectors, rows, groups = modality_points(retriever.bundle, rows)
    else:
        vectors = retriever.vectors[rows]
    vectors = unit(vectors)
    plane = Plane.of(vectors, np.isin(rows, fitted))
    return Points(plane, rows, plane.place(vectors), groups)


def map_of(retriever: Retriever, colour: str | None) -> dict[str, Any]:
    """Describe the map: item_ids, titles, places in 16 bits each, and the colour of each point.

    Raises:
        InputError: When there is nothing of the name of the colour.
    """
    colours = colours_of(retriever)
    if colour is not None and colour not in colours:
        raise InputError(f"there is no colour {colour[:60]!r}; give one of {colours}")
    points = points_of(retriever, by_modality=colour == MODALITY)
    items, titles = retriever.items, titles_at(retriever.bundle, points.rows)
    places = np.clip(np.round(points.places * LEVELS), 0, LEVELS).astype("<u2")
    return {
        "item_ids": [items[row] for row in points.rows.tolist()],
        "titles": [title and title[:120] for title in titles],
        "places": places.tobytes(),
        "of": int(retriever.bundle.is_live.sum()),
        "explained_variance": points.plane.explained_variance,
        "colours": colours,
        "colour": None if colour is None else {"name": colour, **_coloured(retriever, points, colour)},
    }


def colours_of(retriever: Retriever) -> list[str]:
    """Give the names of what points may be coloured by."""
    names = [one["name"] for one in per_state(retriever, "facets", lambda: facets_of(retriever.bundle))]
    if retriever.state.popularity is not None:
        names += [POPULARITY, KNOWN]
    return [*names, MODALITY] if len(retriever.bundle.modality_vectors.modalities) > 1 else names


def _coloured(retriever: Retriever, points: Points, colour: str) -> dict[str, Any]:
    popularity = retriever.state.popularity
    if colour == MODALITY:
        return _in_groups(points.groups or ())
    if popularity is not None and colour in (POPULARITY, KNOWN):
        counts = popularity.counts[points.rows].astype(np.float64)
        return _ramp(counts) if colour == POPULARITY else _in_groups(np.where(counts > 0, "known", "new").tolist())
    column = retriever.bundle.attributes.column(colour).take(points.rows)
    facets = per_state(retriever, "facets", lambda: facets_of(retriever.bundle))
    if next(one["kind"] for one in facets if one["name"] == colour) == "numbers":
        values = python_values(column)
        return _ramp(np.array([np.nan if value is None else float(value) for value in values]))
    return _in_groups(groups_of(python_values(column)))


def _in_groups(groups: Sequence[str]) -> dict[str, Any]:
    names, codes = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    counts = np.bincount(codes, minlength=len(names))
    order = sorted(range(len(names)), key=lambda at: (names[at] in ("other", "missing"), -counts[at]))
    position = np.empty(len(names), np.uint8)
    position[order] = np.arange(len(names))
    return {"kind": "groups", "names": [str(names[at]) for at in order], "codes": position[codes].tobytes()}


def _ramp(values: NDArray[np.float64]) -> dict[str, Any]:
    """Order numbers in 255 steps of equal size; 255 itself is a missing one."""
    is_known = np.isfinite(values)
    codes = np.full(len(values), 255, np.uint8)
    distinct = np.unique(values[is_known])
    if len(distinct):
        ordered = np.sort(values[is_known])
        shares = np.searchsorted(ordered, values[is_known], side="left") / max(len(ordered) - 1, 1)
        codes[is_known] = np.clip(np.round(shares * 254), 0, 254).astype(np.uint8)
    ends = [float(distinct[0]), float(distinct[-1])] if len(distinct) else [0.0, 0.0]
    return {"kind": "ramp", "names": [f"{end:g}" for end in ends], "codes": codes.tobytes()}
