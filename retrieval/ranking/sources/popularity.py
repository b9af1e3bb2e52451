"""Popularity sources: counts of interactions over the whole log, and over recent days; the same for all users."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.interactions.item_popularity import item_counts
from retrieval.ranking.sources.base import TrainingLog, UserBatch, renumber_rows


@dataclass(frozen=True, eq=False)
class Popular:
    """The logarithm of the number of interactions of each item.

    Attributes:
        name: Prefix of its features' names.
        logs: (N,) float32; 0 for a new item.
        training_log: The log that it was trained on.
    """

    name: str
    logs: Vectors
    training_log: TrainingLog | None = None

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; see `Source`."""
        if rows is not None:
            return self.logs.take(rows)
        return np.broadcast_to(self.logs, (len(batch), len(self.logs)))

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Popular":
        """Give the source for other rows; see `Source`."""
        _, old_rows = renumber_rows(origins, keep)
        return replace(self, logs=np.where(old_rows >= 0, self.logs[old_rows], np.float32(0)))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give its arrays by their names in files."""
        return {"logs": self.logs}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Popular":
        """Read what `tensors` gave."""
        return cls(name, **tensors)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Recent:
    """The logarithm of the number of interactions of each item in the days before a request, or before the log's end.

    A request after the last known interaction counts the last days of the log. In training requests come right after
    the interactions that a source was learned from. Days before a later request would be partly, then wholly after the
    log: the counts would shrink to nothing with the age of a bundle, all items would tie, and the first rows of the
    catalogue would be candidates. Counts of the last days that are known mean the same in training and in serving.

    Attributes:
        name: Prefix of its features' names.
        times: (n,) int64, ascending times of interactions.
        rows: (n,) int64, their items; -1 for an item that is gone.
        count: N.
        days: Length of the period.
        training_log: The log that it was trained on.
    """

    name: str
    times: NDArray[np.int64]
    rows: Rows
    count: int
    days: float
    training_log: TrainingLog | None = None
    _last: dict[tuple[int, int], Vectors] = field(init=False, repr=False, default_factory=dict)

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; an interaction in the second of the request counts."""
        known_until = self.times[-1] if len(self.times) else 0
        times, user_time = np.unique(np.minimum(batch.times, known_until), return_inverse=True)
        ends = np.searchsorted(self.times, times, side="right")
        starts = np.searchsorted(self.times, times - int(self.days * SECONDS_PER_DAY), side="right")
        if rows is not None and len(times) == 1:  # the usual case: one time for all requests
            return self._counts_between(int(starts[0]), int(ends[0])).take(rows)
        if rows is not None:
            keys = rows * (len(self.rows) + 1)
            count_before, count_until = (
                np.searchsorted(self._item_times, keys + edges_of_time[user_time][:, None])
                for edges_of_time in (starts, ends)
            )
            return np.log1p((count_until - count_before).astype(np.float32))
        scores: Vectors = np.stack([self._log_counts(*edges) for edges in zip(starts, ends, strict=True)])[user_time]
        return scores

    def _counts_between(self, start: int, end: int) -> Vectors:
        """Give `_log_counts`, cached for the last period; safe for several threads."""
        counts = self._last.get((start, end))
        if counts is None:
            counts = self._log_counts(start, end)
            self._last.clear()
            self._last[start, end] = counts
        return counts

    def _log_counts(self, start: int, end: int) -> Vectors:
        """Give the logarithms of the counts in a slice of the log: (N,) float32."""
        return np.log1p(item_counts(self.rows[start:end], self.count).astype(np.float32))

    @cached_property
    def _item_times(self) -> NDArray[np.int64]:
        """Ascending keys of interactions by item, then time: ``row * (n + 1) + position``."""
        positions = np.flatnonzero(self.rows >= 0)
        return np.sort(self.rows[positions] * (len(self.rows) + 1) + positions)

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Recent":
        """Give the source for other rows; see `Source`."""
        new_rows, old_rows = renumber_rows(origins, keep)
        return replace(self, rows=np.where(self.rows >= 0, new_rows[self.rows], -1), count=len(old_rows))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give the arrays that requests after the log need: the last days."""
        last = int(self.times[-1]) if len(self.times) else 0
        recent = self.times > last - int(self.days * SECONDS_PER_DAY)
        return {
            "times": self.times[recent],
            "rows": self.rows[recent],
            "settings": np.array([self.count, self.days], np.float64),
        }

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Recent":
        """Read what `tensors` gave."""
        count, days = np.asarray(tensors["settings"], np.float64).tolist()
        return cls(
            name, np.asarray(tensors["times"], np.int64), np.asarray(tensors["rows"], np.int64), int(count), days
        )
