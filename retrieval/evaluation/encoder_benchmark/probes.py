"""Probes of frozen vectors: predict a label by nearest neighbours and by ridge regression, deterministically.

The labels are a column of attributes.
"""

import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, unit
from indexing.errors import InputError, ShapeError

Labels = NDArray[np.int64]
"""(N,) int64: a class from 0 for each row."""

K = 20
TEMPERATURE = 0.07  # a neighbour's vote is exp(cosine / this), as is usual for frozen vectors since Wu et al. 2018
STRENGTHS = tuple(10.0**power for power in range(-4, 3))
BATCH_SIZE = 1024


def knn_classes(train: Vectors, labels: Labels, queries: Vectors, *, k: int = K) -> Labels:
    """Predict the class of each query by a weighted vote of its k nearest neighbours by cosine.

    Equal cosines keep the order of the training rows; equal votes go to the smaller class.

    Args:
        train: (N, D) float32, of any norm; N at least 1.
        labels: Classes of the training rows.
        queries: (B, D) float32.
        k: Number of neighbours; all if there are fewer.

    Returns:
        (B,) int64.

    >>> train = np.array([[1, 0], [0, 1], [0.1, 1]], np.float32)
    >>> knn_classes(train, np.array([1, 0, 0]), np.array([[3, 1], [0, 2]], np.float32), k=1)
    array([1, 0])

    Raises:
        InputError: If k is less than 1, or there are no training rows.
        ShapeError: If the number of labels differs from that of rows.
    """
    _check(train, labels)
    if k < 1:
        raise InputError(f"{k} neighbours cannot vote; give 1 or more, 20 is usual")
    train_units, query_units, num_classes = unit(train), unit(queries), int(labels.max()) + 1
    predicted = np.empty(len(query_units), np.int64)
    for start in range(0, len(query_units), BATCH_SIZE):
        batch = slice(start, start + BATCH_SIZE)
        scores = query_units[batch] @ train_units.T
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        weights = np.exp(np.take_along_axis(scores, nearest, axis=1).astype(np.float64) / TEMPERATURE)
        votes = np.zeros((len(scores), num_classes))
        np.add.at(votes, (np.arange(len(scores))[:, None], labels[nearest]), weights)
        predicted[batch] = votes.argmax(axis=1)
    return predicted


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Ridge regression to one-hot targets; the class with the largest score is predicted.

    Attributes:
        weights: (D, C) float64.
        bias: (C,) float64.
        strength: The L2 penalty, as a fraction of N times the mean variance of a component.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float

    def classes(self, vectors: Vectors) -> Labels:
        """Predict the class of each of (B, D) vectors; ties go to the smaller class."""
        scores = vectors.astype(np.float64) @ self.weights + self.bias
        predicted: Labels = scores.argmax(axis=1)
        return predicted


def fit_linear(
    vectors: Vectors, labels: Labels, *, valid: Rows, classes: int | None = None, strengths: Sequence[float] = STRENGTHS
) -> LinearProbe:
    """Fit a linear probe: choose the strength on the validation rows, then fit on all rows.

    Args:
        vectors: (N, D) float32.
        labels: Their classes.
        valid: Rows for validation; of equally good strengths the largest is taken.
        classes: Number of classes; that of the labels if None.
        strengths: The strengths to choose from.

    Raises:
        InputError: If no row is left to fit on.
        ShapeError: If the number of labels differs from that of rows.
    """
    _check(vectors, labels)
    num_classes = int(labels.max()) + 1 if classes is None else classes
    is_train = np.ones(len(vectors), np.bool_)
    is_train[valid] = False
    if not is_train.any() or not len(strengths):
        raise InputError(f"all {len(vectors)} rows are held out, or there is no strength; nothing can be fitted")
    best = strengths[0]
    if len(valid) and len(strengths) > 1:
        probes = _ridge(vectors[is_train], labels[is_train], num_classes, strengths)
        num_correct = {probe.strength: int((probe.classes(vectors[valid]) == labels[valid]).sum()) for probe in probes}
        best = max(num_correct, key=lambda strength: (num_correct[strength], strength))
    return _ridge(vectors, labels, num_classes, [best])[0]


def _ridge(vectors: Vectors, labels: Labels, classes: int, strengths: Sequence[float]) -> list[LinearProbe]:
    """Solve (XᵀX + λ I) W = Xᵀ Y with centred X and Y for several λ through one eigendecomposition."""
    values, targets = vectors.astype(np.float64), np.eye(classes)[labels]
    centre, class_means = values.mean(axis=0), targets.mean(axis=0)
    centred = values - centre
    variances, axes = np.linalg.eigh(centred.T @ centred)
    projected = axes.T @ (centred.T @ (targets - class_means))
    scale = max(float(variances.sum()) / len(variances), np.finfo(np.float64).tiny)
    probes = []
    for strength in strengths:
        weights = axes @ (projected / (np.maximum(variances, 0) + strength * scale)[:, None])
        probes.append(LinearProbe(weights, class_means - centre @ weights, strength))
    return probes


def stratified(labels: Labels, share: float, rng: np.random.Generator) -> Rows:
    """Return positions of a random fraction of each class, ascending; at least one of a class with two members.

    >>> stratified(np.array([0, 0, 0, 0, 1, 1, 2]), 0.5, np.random.default_rng(0)).shape
    (3,)
    """
    drawn = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        size = min(max(round(len(members) * share), 1), len(members) - 1)
        drawn.append(rng.choice(members, size, replace=False))
    positions: Rows = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
    return positions


def _check(vectors: Vectors, labels: Labels) -> None:
    if len(vectors) != len(labels):
        raise ShapeError(f"{len(labels)} labels for {len(vectors)} vectors; give one each")
    if not len(labels):
        raise InputError("there are no labelled vectors to fit on")


MIN_CLASS_SIZE = 10
MAX_CLASSES = 50
MIN_COVERAGE = 0.5
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
        InputError: If there is no such column, it has lists, or fewer than two classes are large enough.
    """
    if name not in attributes.column_names:
        suggestions = difflib.get_close_matches(name, attributes.column_names) or attributes.column_names
        raise InputError(f"there is no column {name!r} to take labels from; did you mean one of {suggestions[:12]}?")
    if pa.types.is_list(attributes.schema.field(name).type):
        raise InputError(f"column {name!r} holds lists, but an item can have one label only; name another column")
    column = _classes(attributes, name)
    if len(column.classes) < 2:
        raise InputError(
            f"column {name!r} has {len(column.classes)} classes of at least {MIN_CLASS_SIZE} items; two are needed: "
            "name another column, or take more items"
        )
    return column


def find_label(attributes: pa.Table, text: Collection[str] = ()) -> LabelColumn | None:
    """Find the column of strings with the most classes, at most 50, that cover at least half of the items.

    Args:
        attributes: One row per item.
        text: Columns that are embedded as text; they are not used.
    """
    fields = [field for field in attributes.schema if pa.types.is_string(field.type)]
    columns = [_classes(attributes, field.name) for field in fields if field.name not in (*text, "item_id")]
    usable = [
        column
        for column in columns
        if 2 <= len(column.classes) <= MAX_CLASSES and (column.of_item != NO_CLASS).mean() >= MIN_COVERAGE
    ]
    return max(usable, key=lambda column: len(column.classes), default=None)


def _classes(attributes: pa.Table, name: str) -> LabelColumn:
    values = [None if value in (None, "") else str(value) for value in attributes.column(name).to_pylist()]
    counts = Counter(value for value in values if value is not None)
    large = sorted((-count, value) for value, count in counts.items() if count >= MIN_CLASS_SIZE)
    classes = tuple(value for _, value in large)
    code = {value: number for number, value in enumerate(classes)}
    return LabelColumn(name, classes, np.array([code.get(value or "", NO_CLASS) for value in values], np.int64))
