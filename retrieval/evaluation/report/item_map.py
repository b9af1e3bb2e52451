"""A map of the space: some points of it on two principal components, each with the group that it belongs to."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_values
from indexing.errors import InputError

MOST_POINTS = 2000
MOST_GROUPS = 8
MODALITY = "modality"
OTHER, MISSING = "other", "missing"


@dataclass(frozen=True, eq=False)
class Map:
    """Points of a space.

    Attributes:
        points: (n, 2) float64.
        names: What each point is, n texts.
        groups: The group of each point, n texts.
        coloured_by: What the groups are: ``modality``, or an attribute.
        kept: The share of the variance that is left in two dimensions; None where there is none.
    """

    points: NDArray[np.float64]
    names: Sequence[str]
    groups: Sequence[str]
    coloured_by: str
    kept: float | None


def map_of(
    bundle: Bundle,
    vectors: Vectors,
    names: Sequence[str],
    *,
    colour_by: str = MODALITY,
    seed: int = 0,
) -> Map:
    """Draw at most 2,000 points of a bundle's space.

    Args:
        bundle: The bundle.
        vectors: (N, D) float32, its item vectors as they are served.
        names: N texts.
        colour_by: ``modality`` for the frozen vectors of every modality, or an attribute for the item vectors.
        seed: Of the draw of items.

    Raises:
        InputError: For an attribute that the bundle lacks.
    """
    rng = np.random.default_rng(seed)
    rows = np.flatnonzero(bundle.alive)
    if colour_by == MODALITY:
        found, owners, groups = _modalities(bundle, rows, rng)
    else:
        values = _attribute(bundle.attributes, colour_by)
        owners = _drawn(rows, MOST_POINTS, rng)
        found, groups = vectors[owners], groups_of([values[row] for row in owners])
    points, kept = principal_plane(unit(found))
    return Map(points, [names[row] for row in owners], groups, colour_by, kept)


def groups_of(values: Sequence[Any]) -> list[str]:
    """Give each value the name of its group: at most eight, of which the last gathers what is rare.

    Of a list the first element counts. Numbers of many values are cut at their quintiles.

    >>> groups_of(["red", None, ["red", "blue"]])
    ['red', 'missing', 'red']
    """
    plain = [(value[0] if value else None) if isinstance(value, list) else value for value in values]
    numbers = [value for value in plain if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(set(numbers)) > MOST_GROUPS and len(numbers) == sum(value is not None for value in plain):
        return _quintiles(plain, numbers)
    names = [MISSING if value is None else str(value) for value in plain]
    counts = Counter(names)
    common = sorted(counts, key=lambda name: (-counts[name], name))
    if len(common) > MOST_GROUPS:
        common = common[: MOST_GROUPS - 1]
    return [name if name in common else OTHER for name in names]


def _quintiles(values: Sequence[Any], numbers: Sequence[float]) -> list[str]:
    edges = np.unique(np.quantile(numbers, np.linspace(0, 1, 6)))
    labels = [f"{low:g} to {high:g}" for low, high in pairwise(edges)]
    return [
        MISSING if value is None else labels[min(int(np.searchsorted(edges[1:], value)), len(labels) - 1)]
        for value in values
    ]


def _modalities(
    bundle: Bundle, rows: NDArray[np.int64], rng: np.random.Generator
) -> tuple[Vectors, NDArray[np.int64], list[str]]:
    """Give frozen vectors of all modalities of the same items, whose they are, and of which modality."""
    frozen = bundle.modality_vectors
    rows = _drawn(rows, MOST_POINTS // max(len(frozen.modalities), 1), rng)
    found, owners, groups = [], [], list[str]()
    for modality in frozen.modalities:
        have = rows[frozen.exists[modality][rows]]
        found.append(frozen.vectors[modality][have].astype(np.float32))
        owners.append(have)
        groups += [str(modality)] * len(have)
    return np.concatenate(found), np.concatenate(owners), groups


def _attribute(table: pa.Table, name: str) -> list[Any]:
    if name not in table.column_names:
        raise InputError(f"there is no attribute {name!r} to colour by; there are {table.column_names} and 'modality'")
    return python_values(table.column(name))


def _drawn(rows: NDArray[np.int64], most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))


def principal_plane(vectors: NDArray[np.floating[Any]]) -> tuple[NDArray[np.float64], float | None]:
    """Give (n, 2) principal components of (n, D) vectors, and the share of the variance that they keep.

    Each points to where its longest arm is, so that a map never flips.
    """
    if not len(vectors):
        return np.zeros((0, 2)), None
    wide = vectors.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)  # ascending
    points = np.zeros((len(vectors), 2))
    best = centred @ axes[:, ::-1][:, :2]
    points[:, : best.shape[1]] = best
    arms = points[np.abs(points).argmax(axis=0), np.arange(2)]
    total = float(variances.sum())
    return points * np.where(arms < 0, -1.0, 1.0), float(variances[-2:].sum()) / total if total > 0 else None
