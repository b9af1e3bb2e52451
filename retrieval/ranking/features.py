"""Features of a user and a candidate for the second stage, from sources, item vectors and counts of the past.

They are computed from `Candidates`, whatever found them. Ranks and z-scores are those among the candidates of a query,
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
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from retrieval.candidates import Candidates
from retrieval.interactions.histories import History
from retrieval.interactions.item_popularity import item_counts
from retrieval.models.item_space import ItemSpace
from retrieval.models.profile_model import ProfileModel
from retrieval.ranking.context_affinity import FEATURES as OF_CONTEXT
from retrieval.ranking.context_affinity import ContextAffinity
from retrieval.ranking.sources import (
    Neighbours,
    Source,
    SpaceSource,
    UserBatch,
    inner_product_scores,
    neighbour_scores,
    users_of_space,
)
from retrieval.ranking.sources.base import renumber_rows

MAX_HISTORY = 200  # last items of a history that tastes are computed from
NUM_TASTES = 4
_HALF_LIFE = 15.0


class TasteWeights(NamedTuple):
    """Weights of T history items in the four tastes of each of B users.

    Attributes:
        rows: (T,) int64, the items, one history after the other.
        weights: (4, T) float32.
        lengths: (B,) int64, of each history.
    """

    rows: Rows
    weights: Vectors
    lengths: NDArray[np.int64]


def taste_weights(batch: UserBatch, mean_weight: float, *, in_order: bool = True) -> TasteWeights:
    """Give the weight of each of the last items of a history in four tastes of the user.

    The tastes are of all items by their weight, of those above the user's mean weight, of those below it, and of the
    last item.

    Args:
        batch: Users.
        mean_weight: Stands for the user's mean in a history of one item.
        in_order: Whether the order of a history says anything; else all of its items count as the last.
    """
    rows = np.concatenate([np.empty(0, np.int64), *(array[-MAX_HISTORY:] for array in batch.histories)])
    weights = np.concatenate([np.empty(0, np.float32), *(array[-MAX_HISTORY:] for array in batch.weights)])
    lengths = np.minimum(lengths_of(batch.histories), MAX_HISTORY)
    positions_back = steps_back(lengths) if in_order else np.zeros(len(rows), np.int64)
    user_means = np.where(lengths == 1, mean_weight, segment_means(weights, lengths))
    recent, deviations = 0.5 ** (positions_back / _HALF_LIFE), weights - np.repeat(user_means, lengths)
    stacked = np.stack(
        [recent * weights, recent * np.maximum(deviations, 0), recent * np.maximum(-deviations, 0), positions_back == 0]
    )
    return TasteWeights(rows, stacked.astype(np.float32), lengths)


def taste_cosines(vectors: Vectors, weights: TasteWeights, rows: Rows) -> Vectors:
    """Give the cosine of each candidate with each taste: (4, B, K) float32; 0 where either vector is 0.

    Args:
        vectors: (N, D) float32, of length 1, or 0 for an item without one.
        weights: Of B users; see `taste_weights`.
        rows: (B, K) int64, their candidates.
    """
    tastes = weighted_sums(weights.weights, vectors, weights.rows, weights.lengths)
    lengths = np.sqrt(np.vecdot(tastes, tastes))[..., None]
    cosines = row_products(vectors, tastes, rows)
    cosines /= np.where(lengths > 1e-9, lengths, np.inf)
    return cosines.swapaxes(0, 1)


_SHRINKAGE = 10.0  # pseudo-count: interactions of the mean weight that are added to those of every item
_STORED_AS = {"first_seen": "first", "mean_weight": "usual"}  # names of arrays in files, where they differ


@dataclass(frozen=True, eq=False)
class ItemStatistics:
    """Statistics of items over a log.

    Attributes:
        counts: (N,) float32, interactions.
        liked: (N,) float32, the mean weight less that of the log, shrunk to 0 for few interactions.
        first_seen: (N,) int64, time of the first interaction, in seconds since 1970; the end of the log without any.
        mean_weight: The mean weight of the log.
        mean: Of the counts in training; it stays when items are added and deleted.
        now: Time of the last interaction of the log.
    """

    counts: Vectors
    liked: Vectors
    first_seen: NDArray[np.int64]
    mean_weight: float
    mean: float
    now: int

    names = ("popularity", "liked", "age", "confidence")

    @classmethod
    def of(cls, histories: Sequence[History], count: int) -> "ItemStatistics":
        """Compute the statistics of a log of at least one interaction."""
        rows = np.concatenate([history.rows for history in histories])
        weights = np.concatenate([history.weights for history in histories])
        times = np.concatenate([history.timestamps for history in histories])
        counts, mean_weight, now = item_counts(rows, count), float(weights.mean()), int(times.max())
        first_seen = np.full(count, now, np.int64)
        np.minimum.at(first_seen, rows, times)
        liked = item_counts(rows, count, weights - mean_weight) / (counts + _SHRINKAGE)
        return cls(
            counts.astype(np.float32), liked.astype(np.float32), first_seen, mean_weight, float(counts.mean()), now
        )

    def at(self, times: NDArray[np.int64], rows: Rows) -> Vectors:
        """Give the features of items at the time of each request: (B, K, 4) float32.

        Args:
            times: (B,) int64, in seconds since 1970.
            rows: (B, K), none of them padding.
        """
        ages = np.log1p(np.maximum(times[:, None] - self.first_seen.take(rows), 0) / SECONDS_PER_DAY)
        parts = (self._log_counts.take(rows), self.liked.take(rows), ages, self._confidence.take(rows))
        features: Vectors = np.stack([part.astype(np.float32) for part in parts]).transpose(1, 2, 0)
        return features

    @cached_property
    def _log_counts(self) -> Vectors:
        """(N,), logarithms of the counts; computed once for all queries."""
        logs: Vectors = np.log((self.counts + 1) / (self.mean + 1))
        return logs

    @cached_property
    def _confidence(self) -> Vectors:
        """(N,) from 0 to 1, the reliability of the counts."""
        trust: Vectors = self.counts / (self.counts + _SHRINKAGE)
        return trust

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "ItemStatistics":
        """Give the statistics of other rows; new items have no interactions. See `Source.carried`."""
        _, old_rows = renumber_rows(origins, keep)
        known = old_rows >= 0
        return ItemStatistics(
            np.where(known, self.counts[old_rows], np.float32(0)),
            np.where(known, self.liked[old_rows], np.float32(0)),
            np.where(known, self.first_seen[old_rows], self.now),
            self.mean_weight,
            self.mean,
            self.now,
        )

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give its arrays, for a file."""
        return {
            _STORED_AS.get(column.name, column.name): np.asarray(getattr(self, column.name)) for column in fields(self)
        }

    @classmethod
    def read(cls, tensors: dict[str, NDArray[np.generic]]) -> "ItemStatistics":
        """Read what `tensors` gave."""
        given = {column.name: tensors[_STORED_AS.get(column.name, column.name)] for column in fields(cls)}
        mean_weight, mean = (float(given.pop(name).item()) for name in ("mean_weight", "mean"))
        now = int(given.pop("now").item())
        return cls(**given, mean_weight=mean_weight, mean=mean, now=now)  # type: ignore[arg-type]


BLOCK = 256  # queries at a time
_OF_SOURCE = ("z", "rank")
_OF_VIEW = ("taste", "liked", "disliked", "last", "missing")
_OF_USER = ("length", "mean_weight", "spread_weight")
IDLE = "idle"


class Feature(NamedTuple):
    """The name of a column, and the group that it belongs to."""

    group: str
    name: str

    def __str__(self) -> str:
        return f"{self.group}_{self.name}"


@dataclass(frozen=True, eq=False)
class StageFeatures:
    """Computes features of candidates.

    Attributes:
        sources: Each gives its score and rank among the candidates.
        views: Representations of items, such as texts, pictures or genres: for each (N, D) float32, of length 1, or 0
            for an item without one. Each compares a candidate with the tastes of the history.
        statistics: Counts of the past.
        with_idle: Whether the days since the last interaction are a feature; not for a stage of an earlier version.
        context: Affinity of items to the context of a request; None where none was learned. Its features come last.
    """

    sources: Sequence[Source]
    views: Mapping[str, Vectors]
    statistics: ItemStatistics
    with_idle: bool = True
    context: ContextAffinity | None = None

    @property
    def profiles(self) -> ProfileModel | None:
        """The model of user profiles, if there is one."""
        spaces = (source.space for source in self.sources if isinstance(source, SpaceSource))
        return next((space.profiles for space in spaces), None)

    @property
    def default_weight(self) -> float:
        """The weight of an item without one: the mean of the log, but never that of a dislike."""
        users, mean = users_of_space(self.sources), self.statistics.mean_weight
        return mean if users is None else max(users.weight_of(mean), users.min_relevance or 0.0)

    @property
    def features(self) -> tuple[Feature, ...]:
        """The F columns, in order; the first is the z-score of the first source."""
        return (
            *(Feature(source.name, name) for source in self.sources for name in _OF_SOURCE),
            *(Feature(view, name) for view in self.views for name in _OF_VIEW),
            *(Feature("item", name) for name in ItemStatistics.names),
            *(Feature("user", name) for name in (*_OF_USER, *([IDLE] if self.with_idle else []))),
            *(Feature(f"context {column}", name) for column in self.context_columns for name in OF_CONTEXT),
        )

    @property
    def context_columns(self) -> tuple[str, ...]:
        """The columns of the context that are read."""
        return () if self.context is None else tuple(self.context.columns)

    def in_space(self, space: ItemSpace) -> "StageFeatures":
        """Give the features with another space of the same items, such as one with other serving weights."""
        sources = [
            replace(source, space=space) if isinstance(source, SpaceSource) else source for source in self.sources
        ]
        return replace(self, sources=tuple(sources))

    def of(self, candidates: Candidates) -> Vectors:
        """Give the features of B queries with K candidates each: (B, K, F) float32, zero for padding."""
        return np.ascontiguousarray(self.columns(candidates).transpose(1, 2, 0))

    def columns(self, candidates: Candidates) -> Vectors:
        """Give the same as (F, B, K), the layout that is fastest to write, and to read for the neural head."""
        columns = np.zeros((len(self.features), *candidates.rows.shape), np.float32)
        if not candidates.rows.size:
            return columns
        batch = UserBatch.of(candidates, self.default_weight, self.statistics.now).liking(users_of_space(self.sources))
        for start in range(0, len(candidates), BLOCK):
            block = slice(start, min(start + BLOCK, len(candidates)))
            valid = candidates.rows[block] >= 0
            self._write(columns[:, block], batch[block], np.where(valid, candidates.rows[block], 0), valid)
        return columns

    def _write(self, columns: Vectors, batch: UserBatch, rows: Rows, valid: Mask) -> None:
        """Write the features of a block of queries."""
        start = len(self.sources) * len(_OF_SOURCE)
        scores = self._scores(batch, rows)
        columns[0:start:2], columns[1:start:2] = z_scores(scores, valid), log_ranks(scores, valid)
        users = users_of_space(self.sources)
        tastes = taste_weights(batch, self.statistics.mean_weight, in_order=users is None or users.in_order)
        for name, vectors in self.views.items():
            columns[start : start + NUM_TASTES] = taste_cosines(vectors, tastes, rows)
            columns[start + NUM_TASTES] = self._missing[name].take(rows)
            start += len(_OF_VIEW)
        columns[start : start + 4] = self.statistics.at(batch.times, rows).transpose(2, 0, 1)
        columns[start + 4 : start + 4 + len(_OF_USER)] = _user_features(batch).T[:, :, None]
        start += 4 + len(_OF_USER)
        if self.with_idle and batch.idle is not None:
            columns[start] = np.log1p(batch.idle)[:, None]
        if self.context is not None:
            columns[len(columns) - self.context.width :] = self.context.at(batch.context, rows)
        columns[:, ~valid] = 0

    def _scores(self, batch: UserBatch, rows: Rows) -> Vectors:
        """Give the scores of S sources, (S, B, K) float32; sources of one kind are scored together."""
        scores = np.empty((len(self.sources), *rows.shape), np.float32)
        spaces: dict[int, dict[int, SpaceSource]] = {}
        neighbours: dict[int, Neighbours] = {}
        for number, source in enumerate(self.sources):
            if isinstance(source, SpaceSource):
                spaces.setdefault(id(source.space.indexed), {})[number] = source
            elif isinstance(source, Neighbours):
                neighbours[number] = source
            else:
                scores[number] = source.scores(batch, rows)
        for group in spaces.values():
            scores[list(group)] = inner_product_scores(list(group.values()), batch, rows).swapaxes(0, 1)
        if neighbours:
            scores[list(neighbours)] = neighbour_scores(list(neighbours.values()), batch, rows)
        return scores

    @cached_property
    def _missing(self) -> dict[str, Vectors]:
        """(N,) float32 for each view, 1 where an item lacks it."""
        return {name: np.logical_not(vectors.any(axis=1)).astype(np.float32) for name, vectors in self.views.items()}


def z_scores(scores: Vectors, valid: Mask) -> Vectors:
    """Give z-scores among the candidates of a query, (…, B, K); 0 for padding and unknown scores.

    >>> z_scores(np.array([[1.0, 3.0, np.nan, 9.0]]), np.array([[True, True, True, False]])).tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
    """
    known = valid & np.isfinite(scores)
    count = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    deviations = np.where(known, scores, 0)
    deviations -= deviations.sum(axis=-1, keepdims=True) / count
    np.copyto(deviations, 0, where=~known)
    std = np.sqrt(np.vecdot(deviations, deviations)[..., None] / count)
    deviations /= np.maximum(std, 1e-6)
    return deviations


def log_ranks(scores: Vectors, valid: Mask) -> Vectors:
    """Give the logarithm of the rank among the candidates of a query, from log 1: (…, B, K).

    Equal scores share the best of their ranks, whatever their order; unknown scores come after all others.

    >>> np.exp(log_ranks(np.array([[1.0, 3.0, np.nan, 3.0]]), np.array([[True, True, True, True]]))).round().tolist()
    [[3.0, 1.0, 4.0, 1.0]]
    """
    width = scores.shape[-1]
    negated = np.where(valid & np.isfinite(scores), -scores, np.inf).reshape(-1, width)
    order = negated.argsort(axis=1)
    order += np.arange(0, negated.size, width)[:, None]
    sorted_scores = negated.ravel().take(order)
    positions = np.zeros(negated.shape, np.int64)
    np.multiply(sorted_scores[:, 1:] != sorted_scores[:, :-1], np.arange(1, width), out=positions[:, 1:])
    np.maximum.accumulate(positions, axis=1, out=positions)
    ranks = np.empty(scores.size, np.float32)
    ranks[order] = np.log1p(np.arange(width, dtype=np.float32)).take(positions)
    return ranks.reshape(scores.shape)


def _user_features(batch: UserBatch) -> Vectors:
    """Give the features that are the same for all candidates of a user: (B, 3)."""
    lengths = lengths_of(batch.weights)
    weights = np.concatenate([np.empty(0), *batch.weights])
    mean = segment_means(weights, lengths)
    variance = segment_means((weights - np.repeat(mean, lengths)) ** 2, lengths)
    return np.stack([np.log1p(lengths), mean, np.sqrt(variance)], axis=1).astype(np.float32)
