"""What the second stage sees of a user and a candidate, from sources, vectors and counts of the past alone.

All is computed from `Candidates`, wherever they come from; ranks and spreads are those among the candidates of a query,
in training as in serving.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from indexing.types import Mask, Rows, Vectors
from retrieval.candidates import Candidates
from retrieval.item_facts import ItemFacts
from retrieval.products import products, taken
from retrieval.ragged import ages, means
from retrieval.sources import Asked, Source, SpaceSource, scored

BLOCK = 64  # queries at a time
READ = 200  # last items of a history that tastes are made of
_OF_SOURCE = ("z", "rank")
_OF_VIEW = ("taste", "liked", "disliked", "last", "missing")
_OF_USER = ("length", "mean_weight", "spread_weight")
_TASTES = 4
_HALF_LIFE = 15.0


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
    """

    sources: Sequence[Source]
    views: Mapping[str, Vectors]
    facts: ItemFacts

    @property
    def features(self) -> tuple[Feature, ...]:
        """The F columns, in order; the first is the z-score of the first source."""
        return (
            *(Feature(source.name, what) for source in self.sources for what in _OF_SOURCE),
            *(Feature(view, what) for view in self.views for what in _OF_VIEW),
            *(Feature("item", what) for what in ItemFacts.names),
            *(Feature("user", what) for what in _OF_USER),
        )

    def of(self, candidates: Candidates) -> Vectors:
        """Give the features of B queries with K candidates each: (B, K, F) float32, zero for padding."""
        return np.ascontiguousarray(self.columns(candidates).transpose(1, 2, 0))

    def columns(self, candidates: Candidates) -> Vectors:
        """Give the same as (F, B, K), the order in which they are made and in which the neural head reads fastest."""
        found = np.zeros((len(self.features), *candidates.rows.shape), np.float32)
        asked = Asked.of(candidates, self.facts.usual, self.facts.now)
        for start in range(0, len(candidates), BLOCK):
            part = slice(start, min(start + BLOCK, len(candidates)))
            kept = candidates.rows[part] >= 0
            self._fill(found[:, part], asked[part], np.where(kept, candidates.rows[part], 0), kept)
        return found

    def _fill(self, here: Vectors, asked: Asked, rows: Rows, kept: Mask) -> None:
        """Write the features of a block of queries."""
        place = len(self.sources) * len(_OF_SOURCE)
        for number, scores in self._scores(asked, rows):
            here[2 * number], here[2 * number + 1] = spread(scores, kept), ranked(scores, kept)
        counts = tastes(asked, self.facts.usual)
        for name, vectors in self.views.items():
            here[place : place + _TASTES] = compared(vectors, counts, rows).transpose(2, 0, 1)
            here[place + _TASTES] = self._missing[name].take(rows)
            place += len(_OF_VIEW)
        here[place : place + 4] = self.facts.at(asked.times, rows).transpose(2, 0, 1)
        here[place + 4 :] = _of_users(asked).T[:, :, None]
        here[:, ~kept] = 0

    def _scores(self, asked: Asked, rows: Rows) -> Iterator[tuple[int, Vectors]]:
        """Give the number and the scores, (B, K) float32, of every source; those of the same vectors read them once."""
        spaces: dict[int, dict[int, SpaceSource]] = {}
        for number, source in enumerate(self.sources):
            if isinstance(source, SpaceSource):
                spaces.setdefault(id(source.space.indexed), {})[number] = source
            else:
                yield number, source.scores(asked, rows)
        for alike in spaces.values():
            yield from zip(alike, scored(list(alike.values()), asked, rows).swapaxes(0, 1), strict=True)

    @cached_property
    def _missing(self) -> dict[str, Vectors]:
        """(N,) float32 for each view, 1 where an item lacks it."""
        return {name: np.logical_not(vectors.any(axis=1)).astype(np.float32) for name, vectors in self.views.items()}


def spread(scores: Vectors, kept: Mask) -> Vectors:
    """Give z-scores among the candidates of a query, (B, K); 0 for padding and for what is not known.

    >>> spread(np.array([[1.0, 3.0, np.nan, 9.0]]), np.array([[True, True, True, False]])).tolist()
    [[-1.0, 1.0, 0.0, 0.0]]
    """
    there = kept & np.isfinite(scores)
    values = np.where(there, scores, 0)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    apart = np.where(there, values - values.sum(axis=1, keepdims=True) / count, 0)
    deviation = np.sqrt((apart**2).sum(axis=1, keepdims=True) / count)
    found: Vectors = apart / np.maximum(deviation, 1e-6)
    return found


def ranked(scores: Vectors, kept: Mask) -> Vectors:
    """Give the logarithm of the rank among the candidates of a query, from log 1: (B, K).

    Equals share the best of their ranks, whatever their order; what is not known comes after all others.

    >>> np.exp(ranked(np.array([[1.0, 3.0, np.nan, 3.0]]), np.array([[True, True, True, True]]))).round().tolist()
    [[3.0, 1.0, 4.0, 1.0]]
    """
    values = np.where(kept & np.isfinite(scores), scores, -np.inf)
    order = np.argsort(-values, axis=1)
    fallen = np.take_along_axis(values, order, axis=1)
    places = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    fresh = np.concatenate([np.ones_like(fallen[:, :1], np.bool_), fallen[:, 1:] != fallen[:, :-1]], axis=1)
    first = np.maximum.accumulate(np.where(fresh, places, 0), axis=1)
    ranks = np.empty(scores.shape, np.float32)
    np.put_along_axis(ranks, order, np.log1p(first).astype(np.float32), axis=1)
    return ranks


def tastes(asked: Asked, usual: float) -> list[tuple[Rows, Vectors]]:
    """Say how much each of the last items of a history counts to four tastes of the user.

    All of them by their weight, those liked more than the user's mean, those liked less, and the last one.

    Returns:
        For each user rows (H,) and counts (4, H) float32.
    """
    histories, weights = [rows[-READ:] for rows in asked.histories], [one[-READ:] for one in asked.weights]
    lengths = np.array(list(map(len, histories)), np.int64)
    told, back = np.concatenate([np.empty(0, np.float32), *weights]), ages(lengths)
    usually = np.where(lengths == 1, usual, means(told, lengths))
    recent, apart = 0.5 ** (back / _HALF_LIFE), told - np.repeat(usually, lengths)
    counts = np.stack([recent * told, recent * np.maximum(apart, 0), recent * np.maximum(-apart, 0), back == 0])
    return list(zip(histories, np.split(counts.astype(np.float32), np.cumsum(lengths)[:-1], axis=1), strict=True))


def compared(vectors: Vectors, counts: Sequence[tuple[Rows, Vectors]], rows: Rows) -> Vectors:
    """Give the cosine of each candidate with each taste: (B, K, 4) float32; 0 where either says nothing."""
    told = np.empty((len(counts), _TASTES, vectors.shape[1]), np.float32)
    room = np.empty((max((len(history) for history, _ in counts), default=0), vectors.shape[1]), np.float32)
    for (history, of_user), out in zip(counts, told, strict=True):
        np.matmul(of_user, taken(vectors, history, room), out=out)
    lengths = np.linalg.norm(told, axis=2, keepdims=True)
    told /= np.where(lengths > 1e-9, lengths, np.inf)
    return products(vectors, told, rows).swapaxes(1, 2)


def _of_users(asked: Asked) -> Vectors:
    """Give what is the same for all candidates of a user: (B, 3)."""
    lengths = np.array(list(map(len, asked.weights)), np.int64)
    weights = np.concatenate([np.empty(0), *asked.weights])
    mean = means(weights, lengths)
    variance = means((weights - np.repeat(mean, lengths)) ** 2, lengths)
    return np.stack([np.log1p(lengths), mean, np.sqrt(variance)], axis=1).astype(np.float32)
