"""How much frozen vectors tell about a label: nearest neighbours and a linear map in closed form, without chance.

The label of each item is taken from a column of attributes.
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
"""(N,) int64: a class from 0 for each line."""

K = 20
TEMPERATURE = 0.07  # a neighbour's vote is exp(cosine / this), as is usual for frozen vectors since Wu et al. 2018
STRENGTHS = tuple(10.0**power for power in range(-4, 3))
AT_ONCE = 1024


def knn_classes(train: Vectors, labels: Labels, queries: Vectors, *, k: int = K) -> Labels:
    """Give each query the class that most of its k nearest neighbours by cosine vote for, near ones with more weight.

    Equal cosines are taken in the order of the training lines, equal votes go to the smaller class.

    Args:
        train: (N, D) float32, any length; N at least 1.
        labels: Classes of the training lines.
        queries: (B, D) float32.
        k: Neighbours that vote; all of them when there are fewer.

    Returns:
        (B,) int64.

    >>> train = np.array([[1, 0], [0, 1], [0.1, 1]], np.float32)
    >>> knn_classes(train, np.array([1, 0, 0]), np.array([[3, 1], [0, 2]], np.float32), k=1)
    array([1, 0])

    Raises:
        InputError: When k is less than 1, or nothing is there to vote.
        ShapeError: When there are not as many labels as lines.
    """
    _check(train, labels)
    if k < 1:
        raise InputError(f"{k} neighbours cannot vote; give 1 or more, 20 is usual")
    known, asked, count = unit(train), unit(queries), int(labels.max()) + 1
    found = np.empty(len(asked), np.int64)
    for start in range(0, len(asked), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        scores = asked[part] @ known.T
        nearest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        weights = np.exp(np.take_along_axis(scores, nearest, axis=1).astype(np.float64) / TEMPERATURE)
        votes = np.zeros((len(scores), count))
        np.add.at(votes, (np.arange(len(scores))[:, None], labels[nearest]), weights)
        found[part] = votes.argmax(axis=1)
    return found


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Ridge regression to one target a class: the largest wins.

    Attributes:
        weights: (D, C) float64.
        bias: (C,) float64.
        strength: The penalty on the squared weights, as a share of the mean variance of a component times N.
    """

    weights: NDArray[np.float64]
    bias: NDArray[np.float64]
    strength: float

    def classes(self, vectors: Vectors) -> Labels:
        """Give the class of each of (B, D) vectors; equal scores go to the smaller class."""
        scores = vectors.astype(np.float64) @ self.weights + self.bias
        found: Labels = scores.argmax(axis=1)
        return found


def fit_linear(
    vectors: Vectors, labels: Labels, *, valid: Rows, classes: int | None = None, strengths: Sequence[float] = STRENGTHS
) -> LinearProbe:
    """Fit a linear probe: the strength that is best on the valid lines, then once more on all of them.

    Args:
        vectors: (N, D) float32.
        labels: Their classes.
        valid: Lines held out for the choice; of equal strengths the larger is taken.
        classes: How many classes there are; as many as the labels name when None.
        strengths: What to choose from.

    Raises:
        InputError: When no line is left to fit on.
        ShapeError: When there are not as many labels as lines.
    """
    _check(vectors, labels)
    count = int(labels.max()) + 1 if classes is None else classes
    fitted_on = np.ones(len(vectors), np.bool_)
    fitted_on[valid] = False
    if not fitted_on.any() or not len(strengths):
        raise InputError(f"all {len(vectors)} lines are held out, or there is no strength; nothing can be fitted")
    best = strengths[0]
    if len(valid) and len(strengths) > 1:
        tried = _ridge(vectors[fitted_on], labels[fitted_on], count, strengths)
        right = {probe.strength: int((probe.classes(vectors[valid]) == labels[valid]).sum()) for probe in tried}
        best = max(right, key=lambda strength: (right[strength], strength))
    return _ridge(vectors, labels, count, [best])[0]


def _ridge(vectors: Vectors, labels: Labels, classes: int, strengths: Sequence[float]) -> list[LinearProbe]:
    """Solve (XᵀX + λ I) W = Xᵀ Y with centred X and Y for several λ through one eigendecomposition."""
    values, targets = vectors.astype(np.float64), np.eye(classes)[labels]
    centre, share = values.mean(axis=0), targets.mean(axis=0)
    centred = values - centre
    variances, axes = np.linalg.eigh(centred.T @ centred)
    projected = axes.T @ (centred.T @ (targets - share))
    scale = max(float(variances.sum()) / len(variances), np.finfo(np.float64).tiny)
    probes = []
    for strength in strengths:
        weights = axes @ (projected / (np.maximum(variances, 0) + strength * scale)[:, None])
        probes.append(LinearProbe(weights, share - centre @ weights, strength))
    return probes


def stratified(labels: Labels, share: float, rng: np.random.Generator) -> Rows:
    """Draw a share of the lines of each class, rounded, at least one of a class with two: their places, ascending.

    >>> stratified(np.array([0, 0, 0, 0, 1, 1, 2]), 0.5, np.random.default_rng(0)).shape
    (3,)
    """
    drawn = []
    for label in np.unique(labels):
        lines = np.flatnonzero(labels == label)
        size = min(max(round(len(lines) * share), 1), len(lines) - 1)
        drawn.append(rng.choice(lines, size, replace=False))
    places: Rows = np.sort(np.concatenate(drawn)) if drawn else np.zeros(0, np.int64)
    return places


def _check(vectors: Vectors, labels: Labels) -> None:
    if len(vectors) != len(labels):
        raise ShapeError(f"{len(labels)} labels for {len(vectors)} vectors; give one each")
    if not len(labels):
        raise InputError("there are no labelled vectors to learn from")


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
