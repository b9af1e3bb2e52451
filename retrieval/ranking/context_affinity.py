"""How much the context of a request speaks for an item: by who took it in that context, and by what is like it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import DamagedFileError
from retrieval.interactions.context import UNKNOWN, Context, ContextColumns
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import item_counts
from retrieval.ranking.sources.base import renumber_rows

_SHRINKAGE = 10.0  # pseudo-count: interactions in the usual contexts that are added to those of every item
FEATURES = ("item", "content")


@dataclass(frozen=True, eq=False)
class ContextAffinity:
    """The affinity of items to V values of C columns of the context.

    Attributes:
        columns: The columns and their values; V values in all.
        items: (N, V) float16, log of p(value | item) over p(value), shrunk to 0 for few interactions.
        directions: For each view of the items (V, D) float32: the mean of what was taken with a value, less the mean of
            all that was taken.
        views: The views, each (N, D) float32; see `StageFeatures`.
    """

    columns: ContextColumns
    items: NDArray[np.float16]
    directions: Mapping[str, Vectors]
    views: Mapping[str, Vectors]

    @classmethod
    def of(
        cls, histories: Sequence[History], views: Mapping[str, Vectors], count: int, names: Sequence[str]
    ) -> "ContextAffinity | None":
        """Learn from what ``count`` items were taken in; None where no history has one of these columns.

        Args:
            histories: What users liked.
            views: Of the items.
            count: N.
            names: The columns to learn; others of the histories are left out.
        """
        contexts = [history.context for history in histories if history.context is not None]
        columns = {name: contexts[0].columns[name] for name in names if contexts and name in contexts[0].columns}
        if not columns:
            return None
        with_context = [history for history in histories if history.context is not None]
        rows = np.concatenate([history.rows for history in with_context])
        codes = np.concatenate([context.in_columns(columns).codes for context in contexts])
        items, directions = [], {name: list[Vectors]() for name in views}
        for column, values in enumerate(columns.values()):
            known = codes[:, column] != UNKNOWN
            counts = np.stack(
                [item_counts(rows[codes[:, column] == code], count) for code in range(len(values))]
                or [np.empty((0, count))]
            )
            items.append(_log_ratios(counts.reshape(len(values), count)))
            for name, vectors in views.items():
                directions[name].append(_directions(counts.reshape(len(values), count), vectors, int(known.sum())))
        return cls(
            columns,
            np.concatenate(items, axis=1).astype(np.float16),
            {name: np.concatenate(parts) for name, parts in directions.items()},
            views,
        )

    @property
    def width(self) -> int:
        """How many features it gives a candidate."""
        return len(FEATURES) * len(self.columns)

    @cached_property
    def content(self) -> NDArray[np.float16]:
        """(N, V), the sum over views of the inner product of an item with the direction of a value."""
        parts = [self.views[name] @ directions.T for name, directions in self.directions.items()]
        content: NDArray[np.float16] = np.sum(parts, axis=0).astype(np.float16) if parts else np.zeros_like(self.items)
        return content

    def at(self, context: Context | None, rows: Rows) -> Vectors:
        """Give the features of candidates: (2 C, B, K) float32, 0 where the context is unknown.

        Args:
            context: Of B requests, or None.
            rows: (B, K) int64, none of them padding.
        """
        features = np.zeros((self.width, *rows.shape), np.float32)
        if context is None:
            return features
        codes, start = context.in_columns(self.columns).codes, 0
        for column, values in enumerate(self.columns.values()):
            known = np.flatnonzero(codes[:, column] != UNKNOWN)
            places = start + codes[known, column].astype(np.int64)
            for offset, table in enumerate((self.items, self.content)):
                features[len(FEATURES) * column + offset, known] = table[rows[known], places[:, None]]
            start += len(values)
        return features

    def carried(self, origins: Rows, keep: Mask) -> "ContextAffinity":
        """Give the affinities of other rows, without views; new items have none of their own. See `Source.carried`."""
        _, old_rows = renumber_rows(origins, keep)
        items = np.where((old_rows >= 0)[:, None], self.items[old_rows], np.float16(0))
        return ContextAffinity(self.columns, items, self.directions, {})

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give its arrays, for a file."""
        directions = {f"direction.{name}": array for name, array in self.directions.items()}
        return {"items": np.asarray(self.items), **directions}

    @classmethod
    def read(
        cls, columns: Mapping[str, Sequence[str]], tensors: Mapping[str, NDArray[np.generic]]
    ) -> "ContextAffinity":
        """Read what `tensors` gave, without views.

        Raises:
            DamagedFileError: When the arrays do not fit the columns.
        """
        known = {str(name): tuple(map(str, values)) for name, values in columns.items()}
        count = sum(map(len, known.values()))
        arrays = {name.removeprefix("direction."): array for name, array in tensors.items() if name != "items"}
        if any(len(array) != count for array in arrays.values()) or tensors["items"].shape[1:] != (count,):
            raise DamagedFileError(f"the context has {count} values, and arrays of other sizes: fit again, or go back")
        return cls(known, tensors["items"], arrays, {})  # type: ignore[arg-type]


def _log_ratios(counts: NDArray[np.float64]) -> Vectors:
    """Give log p(value | item) / p(value) of counts (V, N) with shrinkage: (N, V) float32."""
    usual = counts.sum(axis=1, keepdims=True) / max(counts.sum(), 1)
    smoothed = (counts + _SHRINKAGE * usual) / (counts.sum(axis=0) + _SHRINKAGE)
    ratios: Vectors = np.log(np.divide(smoothed, usual, out=np.ones_like(smoothed), where=usual > 0))
    return ratios.T


def _directions(counts: NDArray[np.float64], vectors: Vectors, total: int) -> Vectors:
    """Give the mean vector of what was taken with each value less that of all: (V, D) float32, shrunk as counts are."""
    sums = counts.astype(np.float32) @ vectors
    taken = counts.sum(axis=1, keepdims=True)
    means: Vectors = (sums - taken * sums.sum(axis=0) / max(total, 1)) / (taken + _SHRINKAGE)
    return means.astype(np.float32)
