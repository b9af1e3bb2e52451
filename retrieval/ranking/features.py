"""What the second stage sees of a user and a candidate, from sources, vectors and counts of the past alone.

All is computed from `Candidates`, wherever they come from; ranks and spreads are those among the candidates of a query,
in training as in serving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import (
    Mask,
    Rows,
    Vectors,
    lengths_of,
    row_products,
    segment_means,
    steps_back,
    weighted_sums,
)
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.interactions.item_counts import SECONDS_PER_DAY, item_counts
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.ranking.sources import Neighbours, Source, SpaceSource, UserBatch, said, scored, users_of_space
from retrieval.ranking.sources.base import renumbered

READ = 200  # last items of a history that tastes are made of
TASTES = 4
_HALF_LIFE = 15.0


class Told(NamedTuple):
    """What T items of histories, which follow each other, count to four tastes of each of B users.

    Attributes:
        rows: (T,) int64, the items.
        counts: (4, T) float32.
        lengths: (B,) int64, of each history.
    """

    rows: Rows
    counts: Vectors
    lengths: NDArray[np.int64]


def tastes(asked: UserBatch, usual: float, *, in_order: bool = True) -> Told:
    """Say how much each of the last items of a history counts to four tastes of the user.

    All of them by their weight, those liked more than the user's mean, those liked less, and the last one.

    Args:
        asked: Users.
        usual: What the only item of a history is compared with.
        in_order: Whether the order of a history says anything; else all of it is the last.
    """
    rows = np.concatenate([np.empty(0, np.int64), *(one[-READ:] for one in asked.histories)])
    told = np.concatenate([np.empty(0, np.float32), *(one[-READ:] for one in asked.weights)])
    lengths = np.minimum(lengths_of(asked.histories), READ)
    back = steps_back(lengths) if in_order else np.zeros(len(rows), np.int64)
    usually = np.where(lengths == 1, usual, segment_means(told, lengths))
    recent, apart = 0.5 ** (back / _HALF_LIFE), told - np.repeat(usually, lengths)
    counts = np.stack([recent * told, recent * np.maximum(apart, 0), recent * np.maximum(-apart, 0), back == 0])
    return Told(rows, counts.astype(np.float32), lengths)


def compared(vectors: Vectors, told: Told, rows: Rows) -> Vectors:
    """Give the cosine of each candidate with each taste: (4, B, K) float32; 0 where either says nothing.

    Args:
        vectors: (N, D) float32, of length 1, or 0 where an item says nothing.
        told: Of B users.
        rows: (B, K) int64, their candidates.
    """
    found = weighted_sums(told.counts, vectors, told.rows, told.lengths)
    lengths = np.sqrt(np.vecdot(found, found))[..., None]
    cosines = row_products(vectors, found, rows)
    cosines /= np.where(lengths > 1e-9, lengths, np.inf)
    return cosines.swapaxes(0, 1)


_DOUBT = 10.0  # as many interactions of the usual weight are assumed of every item


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
        counts, usual, now = item_counts(rows, count), float(weights.mean()), int(times.max())
        first = np.full(count, now, np.int64)
        np.minimum.at(first, rows, times)
        liked = item_counts(rows, count, weights - usual) / (counts + _DOUBT)
        return cls(counts.astype(np.float32), liked.astype(np.float32), first, usual, float(counts.mean()), now)

    def at(self, times: NDArray[np.int64], rows: Rows) -> Vectors:
        """Give what is known of items when users ask: (B, K, 4) float32.

        Args:
            times: (B,) int64, in seconds since 1970.
            rows: (B, K), none of them padding.
        """
        ages = np.log1p(np.maximum(times[:, None] - self.first.take(rows), 0) / SECONDS_PER_DAY)
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


BLOCK = 256  # queries at a time
_OF_SOURCE = ("z", "rank")
_OF_VIEW = ("taste", "liked", "disliked", "last", "missing")
_OF_USER = ("length", "mean_weight", "spread_weight")
IDLE = "idle"


class Feature(NamedTuple):
    """The name of a column, and what it belongs to."""

    group: str
    what: str

    def __str__(self) -> str:
        return f"{self.group}_{self.what}"


@dataclass(frozen=True, eq=False)
class StageFeatures:
    """Computes features of candidates.

    Attributes:
        sources: Each gives its score and rank among the candidates.
        views: Ways to look at items, as their texts, pictures or genres: for each (N, D) float32, of length 1, or 0
            where an item lacks it. Each compares a candidate with what the history tells of taste.
        facts: Counts of the past.
        with_idle: Whether the days since a user did the last are read; not by a stage of an earlier version.
    """

    sources: Sequence[Source]
    views: Mapping[str, Vectors]
    facts: ItemStatistics
    with_idle: bool = True

    @property
    def profiles(self) -> ProfileModel | None:
        """What reads profiles of users, if anything does."""
        spaces = (source.space for source in self.sources if isinstance(source, SpaceSource))
        return next((space.profiles for space in spaces), None)

    @property
    def usual(self) -> float:
        """The weight of what has none."""
        users = users_of_space(self.sources)
        return self.facts.usual if users is None else users.weight_of(self.facts.usual)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The F columns, in order; the first is the z-score of the first source."""
        return (
            *(Feature(source.name, what) for source in self.sources for what in _OF_SOURCE),
            *(Feature(view, what) for view in self.views for what in _OF_VIEW),
            *(Feature("item", what) for what in ItemStatistics.names),
            *(Feature("user", what) for what in (*_OF_USER, *([IDLE] if self.with_idle else []))),
        )

    def in_space(self, space: ItemSpace) -> "StageFeatures":
        """Give the features of another space of the same items, as one that is served otherwise."""
        sources = [replace(one, space=space) if isinstance(one, SpaceSource) else one for one in self.sources]
        return replace(self, sources=tuple(sources))

    def of(self, candidates: Candidates) -> Vectors:
        """Give the features of B queries with K candidates each: (B, K, F) float32, zero for padding."""
        return np.ascontiguousarray(self.columns(candidates).transpose(1, 2, 0))

    def columns(self, candidates: Candidates) -> Vectors:
        """Give the same as (F, B, K), the order in which they are made and in which the neural head reads fastest."""
        found = np.zeros((len(self.features), *candidates.rows.shape), np.float32)
        if not candidates.rows.size:
            return found
        asked = UserBatch.of(candidates, self.usual, self.facts.now).liking(users_of_space(self.sources))
        for start in range(0, len(candidates), BLOCK):
            part = slice(start, min(start + BLOCK, len(candidates)))
            kept = candidates.rows[part] >= 0
            self._fill(found[:, part], asked[part], np.where(kept, candidates.rows[part], 0), kept)
        return found

    def _fill(self, here: Vectors, asked: UserBatch, rows: Rows, kept: Mask) -> None:
        """Write the features of a block of queries."""
        place = len(self.sources) * len(_OF_SOURCE)
        scores = self._scores(asked, rows)
        here[0:place:2], here[1:place:2] = spread(scores, kept), ranked(scores, kept)
        users = users_of_space(self.sources)
        counts = tastes(asked, self.facts.usual, in_order=users is None or users.in_order)
        for name, vectors in self.views.items():
            here[place : place + TASTES] = compared(vectors, counts, rows)
            here[place + TASTES] = self._missing[name].take(rows)
            place += len(_OF_VIEW)
        here[place : place + 4] = self.facts.at(asked.times, rows).transpose(2, 0, 1)
        here[place + 4 : place + 4 + len(_OF_USER)] = _of_users(asked).T[:, :, None]
        if self.with_idle and asked.idle is not None:
            here[-1] = np.log1p(asked.idle)[:, None]
        here[:, ~kept] = 0

    def _scores(self, asked: UserBatch, rows: Rows) -> Vectors:
        """Give the scores of S sources, (S, B, K) float32; those that are alike are asked together."""
        found = np.empty((len(self.sources), *rows.shape), np.float32)
        spaces: dict[int, dict[int, SpaceSource]] = {}
        sparse: dict[int, Neighbours] = {}
        for number, source in enumerate(self.sources):
            if isinstance(source, SpaceSource):
                spaces.setdefault(id(source.space.indexed), {})[number] = source
            elif isinstance(source, Neighbours):
                sparse[number] = source
            else:
                found[number] = source.scores(asked, rows)
        for alike in spaces.values():
            found[list(alike)] = scored(list(alike.values()), asked, rows).swapaxes(0, 1)
        if sparse:
            found[list(sparse)] = said(list(sparse.values()), asked, rows)
        return found

    @cached_property
    def _missing(self) -> dict[str, Vectors]:
        """(N,) float32 for each view, 1 where an item lacks it."""
        return {name: np.logical_not(vectors.any(axis=1)).astype(np.float32) for name, vectors in self.views.items()}


def spread(scores: Vectors, kept: Mask) -> Vectors:
    """Give z-scores among the candidates of a query, (…, B, K); 0 for padding and for what is not known.

    >>> spread(np.array([[1.0, 3.0, np.nan, 9.0]]), np.array([[True, True, True, False]])).tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
    """
    there = kept & np.isfinite(scores)
    count = np.maximum(there.sum(axis=-1, keepdims=True), 1)
    apart = np.where(there, scores, 0)
    apart -= apart.sum(axis=-1, keepdims=True) / count
    np.copyto(apart, 0, where=~there)
    deviation = np.sqrt(np.vecdot(apart, apart)[..., None] / count)
    apart /= np.maximum(deviation, 1e-6)
    return apart


def ranked(scores: Vectors, kept: Mask) -> Vectors:
    """Give the logarithm of the rank among the candidates of a query, from log 1: (…, B, K).

    Equals share the best of their ranks, whatever their order; what is not known comes after all others.

    >>> np.exp(ranked(np.array([[1.0, 3.0, np.nan, 3.0]]), np.array([[True, True, True, True]]))).round().tolist()
    [[3.0, 1.0, 4.0, 1.0]]
    """
    width = scores.shape[-1]
    falling = np.where(kept & np.isfinite(scores), -scores, np.inf).reshape(-1, width)
    order = falling.argsort(axis=1)
    order += np.arange(0, falling.size, width)[:, None]
    fallen = falling.ravel().take(order)
    places = np.zeros(falling.shape, np.int64)
    np.multiply(fallen[:, 1:] != fallen[:, :-1], np.arange(1, width), out=places[:, 1:])
    np.maximum.accumulate(places, axis=1, out=places)
    ranks = np.empty(scores.size, np.float32)
    ranks[order] = np.log1p(np.arange(width, dtype=np.float32)).take(places)
    return ranks.reshape(scores.shape)


def _of_users(asked: UserBatch) -> Vectors:
    """Give what is the same for all candidates of a user: (B, 3)."""
    lengths = lengths_of(asked.weights)
    weights = np.concatenate([np.empty(0), *asked.weights])
    mean = segment_means(weights, lengths)
    variance = segment_means((weights - np.repeat(mean, lengths)) ** 2, lengths)
    return np.stack([np.log1p(lengths), mean, np.sqrt(variance)], axis=1).astype(np.float32)
