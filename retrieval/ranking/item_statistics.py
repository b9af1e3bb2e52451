"""What a log says of each item up to a moment: how many took it, how they liked it, since when it is known."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from retrieval.interactions.histories import History
from retrieval.ranking.sources.base import renumbered

_DOUBT = 10.0  # as many interactions of the usual weight are assumed of every item
_DAY = 86_400


@dataclass(frozen=True, eq=False)
class ItemStatistics:
    """Counts over a past alone.

    Attributes:
        counts: (N,) float32, interactions.
        liked: (N,) float32, the mean weight against that of the log, drawn to 0 where few say so.
        first: (N,) int64, when somebody first took it, in seconds since 1970; the end of the past if nobody has.
        usual: The mean weight of the log.
        mean: Of the counts when they were taken; it stays when items come and go.
        now: The end of the past.
    """

    counts: Vectors
    liked: Vectors
    first: NDArray[np.int64]
    usual: float
    mean: float
    now: int

    names = ("popularity", "liked", "age", "confidence")

    @classmethod
    def of(cls, pasts: Sequence[History], count: int) -> "ItemStatistics":
        """Count what users did; at least one of them did something."""
        rows = np.concatenate([past.rows for past in pasts])
        weights = np.concatenate([past.weights for past in pasts])
        times = np.concatenate([past.timestamps for past in pasts])
        counts, usual, now = np.bincount(rows, minlength=count), float(weights.mean()), int(times.max())
        first = np.full(count, now, np.int64)
        np.minimum.at(first, rows, times)
        liked = np.bincount(rows, weights - usual, minlength=count) / (counts + _DOUBT)
        return cls(counts.astype(np.float32), liked.astype(np.float32), first, usual, float(counts.mean()), now)

    def at(self, times: NDArray[np.int64], rows: Rows) -> Vectors:
        """Give what is known of items when users ask: (B, K, 4) float32.

        Args:
            times: (B,) int64, in seconds since 1970.
            rows: (B, K), none of them padding.
        """
        ages = np.log1p(np.maximum(times[:, None] - self.first.take(rows), 0) / _DAY)
        parts = (self._logs.take(rows), self.liked.take(rows), ages, self._trust.take(rows))
        found: Vectors = np.stack([part.astype(np.float32) for part in parts]).transpose(1, 2, 0)
        return found

    @cached_property
    def _logs(self) -> Vectors:
        """(N,), of the counts; computed once for all who ask."""
        logs: Vectors = np.log((self.counts + 1) / (self.mean + 1))
        return logs

    @cached_property
    def _trust(self) -> Vectors:
        """(N,) from 0 to 1, how much the counts tell."""
        trust: Vectors = self.counts / (self.counts + _DOUBT)
        return trust

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "ItemStatistics":
        """Give the facts of other rows; nobody has met a new item. See `Source.carried`."""
        _, came = renumbered(origins, kept)
        old = came >= 0
        return ItemStatistics(
            np.where(old, self.counts[came], np.float32(0)),
            np.where(old, self.liked[came], np.float32(0)),
            np.where(old, self.first[came], self.now),
            self.usual,
            self.mean,
            self.now,
        )

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give everything, for a file."""
        return {one.name: np.asarray(getattr(self, one.name)) for one in fields(self)}

    @classmethod
    def read(cls, tensors: dict[str, NDArray[np.generic]]) -> "ItemStatistics":
        """Read what `tensors` gave."""
        given = dict(tensors)
        usual, mean = (float(given.pop(name).item()) for name in ("usual", "mean"))
        now = int(given.pop("now").item())
        return cls(**given, usual=usual, mean=mean, now=now)  # type: ignore[arg-type]
