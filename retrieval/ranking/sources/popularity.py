"""Sources that know nothing of the user: what all take, and what all took of late."""

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
    """How often each item was taken, as a logarithm: the same for everybody.

    Attributes:
        name: What it is called.
        logs: (N,) float32; an item that came later has 0, for nobody has met it yet.
        book: What it was learned from.
    """

    name: str
    logs: Vectors
    book: TrainingLog | None = None

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
        """Give what it is made of."""
        return {"logs": self.logs}

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Popular":
        """Read what `tensors` gave."""
        return cls(name, **tensors)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Recent:
    """How often each item was taken in the days before a user asks, as a logarithm: never what came after.

    Attributes:
        name: What it is called.
        times: (n,) int64, never falling, of what users did.
        rows: (n,) int64, what they did it with; -1 where the item is gone.
        count: N.
        days: So far back it looks.
        book: What it was learned from.
    """

    name: str
    times: NDArray[np.int64]
    rows: Rows
    count: int
    days: float
    book: TrainingLog | None = None
    _last: dict[tuple[int, int], Vectors] = field(init=False, repr=False, default_factory=dict)

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; what was done in the second in which a user asks counts."""
        times, user_time = np.unique(batch.times, return_inverse=True)
        ends = np.searchsorted(self.times, times, side="right")
        starts = np.searchsorted(self.times, times - int(self.days * SECONDS_PER_DAY), side="right")
        if rows is not None and len(times) == 1:  # as all do who ask after what was learned from
            return self._between(int(starts[0]), int(ends[0])).take(rows)
        if rows is not None:
            keys = rows * (len(self.rows) + 1)
            count_before, count_until = (
                np.searchsorted(self._places, keys + edges_of_time[user_time][:, None])
                for edges_of_time in (starts, ends)
            )
            return np.log1p((count_until - count_before).astype(np.float32))
        scores: Vectors = np.stack([self._counted(*edges) for edges in zip(starts, ends, strict=True)])[user_time]
        return scores

    def _between(self, start: int, end: int) -> Vectors:
        """Count once what all ask for; several threads may ask at once."""
        counts = self._last.get((start, end))
        if counts is None:
            counts = self._counted(start, end)
            self._last.clear()
            self._last[start, end] = counts
        return counts

    def _counted(self, start: int, end: int) -> Vectors:
        """Give (N,) float32."""
        return np.log1p(item_counts(self.rows[start:end], self.count).astype(np.float32))

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Rising, for each item where in time it was taken: ``row * (n + 1) + place``."""
        positions = np.flatnonzero(self.rows >= 0)
        return np.sort(self.rows[positions] * (len(self.rows) + 1) + positions)

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "Recent":
        """Give the source for other rows; see `Source`."""
        new_rows, old_rows = renumber_rows(origins, keep)
        return replace(self, rows=np.where(self.rows >= 0, new_rows[self.rows], -1), count=len(old_rows))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what those need who ask after all of this: the last days."""
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
