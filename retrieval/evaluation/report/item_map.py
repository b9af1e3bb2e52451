"""A map of the item space: a sample of points on two principal components, coloured by group."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_values
from indexing.errors import InputError
from retrieval.models.features.column_encoders import item_values

MAX_POINTS = 2000
MAX_GROUPS = 8
MODALITY = "modality"
OTHER, MISSING = "other", "missing"


@dataclass(frozen=True, eq=False)
class Map:
    """Points of a space.

    Attributes:
        points: (n, 2) float64.
        names: Names of the points, n texts.
        groups: The group of each point, n texts.
        coloured_by: What the groups are: ``modality`` or an attribute.
        explained_variance: The fraction of the variance in two dimensions; None if there is no variance.
    """

    points: NDArray[np.float64]
    names: Sequence[str]
    groups: Sequence[str]
    coloured_by: str
    explained_variance: float | None


def make_map(
    bundle: Bundle,
    vectors: Vectors,
    names: Sequence[str],
    *,
    colour_by: str = MODALITY,
    seed: int = 0,
) -> Map:
    """Sample at most 2,000 points of a bundle's space.

    Args:
        bundle: The bundle.
        vectors: (N, D) float32, its item vectors.
        names: N texts.
        colour_by: ``modality`` for the frozen vectors of every modality, or an attribute for the item vectors.
        seed: For sampling items.

    Raises:
        InputError: For an attribute that the bundle lacks.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(bundle.is_live)
    if colour_by == MODALITY:
        rows = sampled(rows, MAX_POINTS // max(len(bundle.modality_vectors.modalities), 1), rng)
        points_to_map, item_rows, groups = modality_points(bundle, rows)
    else:
        values = _attribute(bundle.attributes, colour_by)
        item_rows = sampled(rows, MAX_POINTS, rng)
        points_to_map, groups = vectors[item_rows], groups_of([values[row] for row in item_rows])
    points, explained_variance = principal_plane(unit(points_to_map))
    return Map(points, [names[row] for row in item_rows], groups, colour_by, explained_variance)


def groups_of(values: Sequence[Any]) -> list[str]:
    """Return the name of each value's group: at most eight; rare values are grouped as ``other``.

    The first of several values counts, in a list or as ``"a|b"``. Numbers with many distinct values are binned at their
    quintiles.

    >>> groups_of(["red", None, ["red", "blue"], "red|blue"])
    ['red', 'missing', 'red', 'red']
    """
    single_values = [_first_value(value) for value in values]
    numbers = [value for value in single_values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(set(numbers)) > MAX_GROUPS and len(numbers) == sum(value is not None for value in single_values):
        return _quintiles(single_values, numbers)
    names = [MISSING if value is None else str(value) for value in single_values]
    counts = Counter(names)
    frequent = sorted(counts, key=lambda name: (-counts[name], name))
    if len(frequent) > MAX_GROUPS:
        frequent = frequent[: MAX_GROUPS - 1]
    return [name if name in frequent else OTHER for name in names]


def _first_value(value: Any) -> Any:  # noqa: ANN401 - any value of a table
    first = (value[0] if value else None) if isinstance(value, list) else value
    return next(iter(item_values(first, split=True)), None) if isinstance(first, str) else first


def _quintiles(values: Sequence[Any], numbers: Sequence[float]) -> list[str]:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 6)))
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [
        MISSING if value is None else labels[min(int(np.searchsorted(edges[1:], value)), len(labels) - 1)]
        for value in values
    ]


def modality_points(bundle: Bundle, rows: Rows) -> tuple[Vectors, Rows, list[str]]:
    """Return frozen vectors of all modalities of the items in rows, with their item rows and modalities."""
    frozen = bundle.modality_vectors
    vectors, item_rows, groups = [], [], list[str]()
    for modality in frozen.modalities:
        present = rows[frozen.exists[modality][rows]]
        vectors.append(frozen.vectors[modality][present].astype(np.float32))
        item_rows.append(present)
        groups += [str(modality)] * len(present)
    return np.concatenate(vectors), np.concatenate(item_rows), groups


def _attribute(table: pa.Table, name: str) -> list[Any]:
    if name not in table.column_names:
        raise InputError(f"there is no attribute {name!r} to colour by; there are {table.column_names} and 'modality'")
    return python_values(table.column(name))


def sampled(rows: Rows, max_rows: int, rng: np.random.Generator) -> Rows:
    """Return all rows, or so many that are drawn, in their order."""
    return rows if len(rows) <= max_rows else np.sort(rng.choice(rows, max_rows, replace=False))


def principal_plane(vectors: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], float | None]:
    """Return (n, 2) principal components of (n, D) vectors, and the fraction of the variance that they explain.

    The sign of each makes its extreme value positive, so that maps are reproducible.
    """
    if not len(vectors):
        return np.zeros((0, 2)), None
    values = vectors.astype(np.float64)
    centred = values - values.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    points = np.zeros((len(vectors), 2))
    projected = centred @ axes[:, ::-1][:, :2]
    points[:, : projected.shape[1]] = projected
    extremes = points[np.abs(points).argmax(axis=0), np.arange(2)]
    total = float(variances.sum())
    return points * np.where(extremes < 0, -1.0, 1.0), float(variances[-2:].sum()) / total if total > 0 else None
