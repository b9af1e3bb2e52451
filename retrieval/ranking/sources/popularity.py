"""Sources that know nothing of the user: what all take, and what all took of late."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from retrieval.interactions.item_counts import SECONDS_PER_DAY, item_counts
from retrieval.ranking.sources.base import TrainingLog, UserBatch, renumbered


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

    def scores(self, asked: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; see `Source`."""
        if rows is not None:
            return self.logs.take(rows)
        return np.broadcast_to(self.logs, (len(asked), len(self.logs)))

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "Popular":
        """Give the source for other rows; see `Source`."""
        _, came = renumbered(origins, kept)
        return replace(self, logs=np.where(came >= 0, self.logs[came], np.float32(0)))

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

    def scores(self, asked: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; what was done in the second in which a user asks counts."""
        moments, line = np.unique(asked.times, return_inverse=True)
        ends = np.searchsorted(self.times, moments, side="right")
        starts = np.searchsorted(self.times, moments - int(self.days * SECONDS_PER_DAY), side="right")
        if rows is not None and len(moments) == 1:  # as all do who ask after what was learned from
            return self._between(int(starts[0]), int(ends[0])).take(rows)
        if rows is not None:
            keys = rows * (len(self.rows) + 1)
            before, until = (np.searchsorted(self._places, keys + edge[line][:, None]) for edge in (starts, ends))
            return np.log1p((until - before).astype(np.float32))
        found: Vectors = np.stack([self._counted(*edges) for edges in zip(starts, ends, strict=True)])[line]
        return found

    def _between(self, start: int, end: int) -> Vectors:
        """Count once what all ask for; several threads may ask at once."""
        found = self._last.get((start, end))
        if found is None:
            found = self._counted(start, end)
            self._last.clear()
            self._last[start, end] = found
        return found

    def _counted(self, start: int, end: int) -> Vectors:
        """Give (N,) float32."""
        return np.log1p(item_counts(self.rows[start:end], self.count).astype(np.float32))

    @cached_property
    def _places(self) -> NDArray[np.int64]:
        """Rising, for each item where in time it was taken: ``row * (n + 1) + place``."""
        there = np.flatnonzero(self.rows >= 0)
        return np.sort(self.rows[there] * (len(self.rows) + 1) + there)

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "Recent":
        """Give the source for other rows; see `Source`."""
        places, came = renumbered(origins, kept)
        return replace(self, rows=np.where(self.rows >= 0, places[self.rows], -1), count=len(came))

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give what those need who ask after all of this: the last days."""
        last = int(self.times[-1]) if len(self.times) else 0
        late = self.times > last - int(self.days * SECONDS_PER_DAY)
        return {
            "times": self.times[late],
            "rows": self.rows[late],
            "settings": np.array([self.count, self.days], np.float64),
        }

    @classmethod
    def read(cls, name: str, tensors: dict[str, NDArray[np.generic]]) -> "Recent":
        """Read what `tensors` gave."""
        count, days = np.asarray(tensors["settings"], np.float64).tolist()
        return cls(
            name, np.asarray(tensors["times"], np.int64), np.asarray(tensors["rows"], np.int64), int(count), days
        )
