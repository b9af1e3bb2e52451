"""Peers of films and all settings that are tried of each: a setting is a sum of scores, mostly of one.

What is summed are z-scores over the items that a user has not had. Whoever has no history, or has liked nothing where
only that is asked by, is answered with what was popular; over how many days is chosen as any setting is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation.baselines import EASE, ALSConfig, ContentKNN, ImplicitALS, ItemKNN, KNNConfig, Popularity
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.interactions.interactions import Interactions
from scripts.benchmarks.recommend.film_content import centred
from scripts.benchmarks.recommend.systems import LIKED, SEEDS, WORTH, K, liked, worth

Scores: TypeAlias = NDArray[np.float32]
Key: TypeAlias = tuple[Any, ...]
"""What gives scores: its name, then its settings."""
Setting: TypeAlias = tuple[tuple[float, Key], ...]
"""Weights, and what they weigh."""

DAYS = (1.0, 2.0, 3.0, 5.0, 7.0, 10.0, 14.0, 20.0, 30.0)
RANDOM = "iALS"  # starts from random factors, so it is fitted once a seed


def _each(*keys: Key) -> list[Setting]:
    return [((1.0, key),) for key in keys]


POPULAR = _each(("popularity", None), *(("popularity", days) for days in (*DAYS, 60.0)))
_RATED = [("EASE, ratings", lam, life) for lam in (100.0, 200.0, 400.0) for life in (5.0, 10.0, 20.0, 50.0, 100.0)]
_CONTENT = [("EASE, content", text, other, life) for text, other in ((3.0, 1.5), (6.0, 1.5), (6.0, 3.0), (10.0, 3.0))
            for life in (10.0, 20.0, 50.0)]  # fmt: skip
_FACTORS = [(RANDOM, alpha, factors) for alpha in (0.5, 1.0, 2.0, 5.0) for factors in (32, 64)]
FAMILIES: dict[str, list[Setting]] = {
    "popularity": POPULAR,
    "item-kNN BM25 (liked)": _each(
        *(("kNN", of_candidate, many) for of_candidate in (True, False) for many in (20, 50, 100, 200))
    ),
    "iALS": _each(*_FACTORS),
    "EASE (liked)": _each(
        *(("EASE, liked", lam, life) for lam in (50.0, 100.0, 200.0, 400.0, 800.0) for life in (None, 10.0, 20.0, 50.0))
    ),
    "EASE (ratings as weights)": _each(*_RATED),
    "EASE (ratings as weights, content as side information)": _each(*_CONTENT),
    "mean of text vectors (liked)": _each(("content", False), ("content", True)),
    "sum of EASE (liked) and popularity of late": [
        ((1.0, ("EASE, liked", lam, None)), (weight, ("popularity", days)))
        for lam in (100.0, 200.0, 400.0)
        for weight in (0.25, 0.5, 1.0, 2.0)
        for days in DAYS
    ],
    "sum of EASE (ratings as weights) and iALS": [
        ((1.0, ("EASE, ratings", 200.0, life)), (weight, (RANDOM, alpha, 64)))
        for life in (10.0, 20.0, 50.0)
        for weight in (0.3, 0.6, 1.0)
        for alpha in (1.0, 5.0)
    ],
    "sum of EASE (content as side information) and iALS": [
        ((1.0, ("EASE, content", text, 1.5, life)), (weight, (RANDOM, alpha, 64)))
        for text in (3.0, 6.0)
        for life in (10.0, 20.0, 50.0)
        for weight in (0.3, 0.6)
        for alpha in (1.0, 5.0)
    ],
}


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of films without users.

    Attributes:
        items: The catalogue.
        texts: (N, D) float32, unit vectors, zero where there is none.
        centred: For texts and pictures, (N, D) float32, unit vectors after their mean was taken from them.
        genres: (N, G) float32, 0 and 1.
        years: (N,) float64, the usual one where none is known.
        bumps: (N, Y) float32, how near a year is to each of some.
    """

    items: ItemIds
    texts: Vectors
    centred: dict[str, Vectors]
    genres: Vectors
    years: NDArray[np.float64]
    bumps: Vectors

    @classmethod
    def of(cls, folder: Path, items: ItemIds, texts: Vectors) -> "Known":
        """Read vectors.parquet and items.parquet."""
        vectors = {name: centred(folder, items, name) for name in ("text_vector", "image_vector")}
        table = pq.read_table(folder / "items.parquet", columns=["item_id", "genres", "year"])
        line = {name: number for number, name in enumerate(table["item_id"].to_pylist())}
        table = table.take([line[name] for name in items])
        given = table["genres"].to_pylist()
        names = sorted({genre for one in given for genre in one or ()})
        genres = np.array([[genre in (one or ()) for genre in names] for one in given], np.float32)
        known_years = table["year"].to_pylist()
        usual = float(np.median([year for year in known_years if year is not None]))
        years = np.array([usual if year is None else year for year in known_years], np.float64)
        bumps = np.exp(-(((years[:, None] - np.arange(1920, 2000, 4)) / 4) ** 2)).astype(np.float32)
        return cls(items, texts, vectors, genres, years, bumps)


@dataclass(eq=False)
class Fits:
    """All peers, fitted on one past when they are first asked for, and asked one split's questions."""

    films: Known
    past: Interactions
    asked: EvaluationQueries
    _models: dict[Key, Any] = field(default_factory=dict)
    _scores: dict[Key, Scores] = field(default_factory=dict)

    def lists(self, setting: Setting) -> list[Ranked]:
        """Rank by a setting: once, or once a seed."""
        return [self.ranked(setting, seed) for seed in (SEEDS if is_random(setting) else SEEDS[:1])]

    def ranked(self, setting: Setting, seed: int) -> Ranked:
        """Rank by the sum, with one seed."""
        given = [(weight, self.scores((*key, seed) if key[0] == RANDOM else key)) for weight, key in setting]
        if len(given) == 1:
            total = given[0][1].copy()
        else:
            total = np.sum([weight * z_scores(one) for weight, one in given], axis=0, dtype=np.float32)
        return rank(lambda part: total[part], self.asked.histories, K, None, needs_history=False)

    def scores(self, key: Key) -> Scores:
        """Score all items for all users, (B, N); -inf is what they have had."""
        if key not in self._scores:
            rows, scores = self._answered(key)
            found = np.full((len(self.asked), len(self.films.items)), -np.inf, np.float32)
            line, place = np.nonzero(rows >= 0)
            found[line, rows[line, place]] = scores[line, place]
            self._scores[key] = found
        return self._scores[key]

    def _answered(self, key: Key) -> Ranked:
        """Let a model rank all items; nothing where it has nothing to say."""
        every, histories = len(self.films.items), self.asked.histories
        match key:
            case ("popularity", days):
                model = Popularity.fit(self.past, self.films.items, decay_days=days)
                return model.recommend(histories, every)
            case ("kNN", of_candidate, many):
                config = KNNConfig(neighbours=many, of_candidate=of_candidate)
                knn = ItemKNN.fit(self.positives, self.films.items, config)
                return knn.recommend(liked(self.asked), every, exclude=histories)
            case (name, alpha, factors, seed) if name == RANDOM:
                als = ImplicitALS.fit(self.past, self.films.items, ALSConfig(factors, alpha=alpha), seed=seed)
                return als.recommend(histories, every)
            case ("EASE, liked", lam, life):
                ease = replace(self._ease("liked", lam), half_life=life)
                return ease.recommend(liked(self.asked), every, exclude=histories)
            case ("EASE, ratings", lam, life):
                return self._by_worth(replace(self._ease("ratings", lam), half_life=life))
            case ("EASE, content", text, other, life):
                return self._by_worth(replace(self._ease("content", text, other), half_life=life))
            case ("content", centred):
                content = ContentKNN(self.films.texts, centred=centred)
                return content.recommend(liked(self.asked), every, exclude=histories)
        raise ValueError(f"{key} is no peer")

    def _by_worth(self, model: EASE) -> Ranked:
        weights = [np.array([WORTH[int(one)] for one in line], np.float32) for line in self.asked.weights]
        return model.recommend(self.asked.histories, len(self.films.items), weights=weights)

    def _ease(self, *key: Any) -> EASE:  # noqa: ANN401 - a name, and settings
        if key not in self._models:
            match key:
                case ("liked", lam):
                    made = EASE.fit(self.positives, self.films.items, regularisation=lam)
                case ("ratings", lam):
                    made = EASE.fit(worth(self.past), self.films.items, weighted=True, regularisation=lam)
                case (_, text, other):
                    made = self._with_content(text, other)
            self._models[key] = made
        return self._models[key]  # type: ignore[no-any-return]

    def _with_content(self, text: float, other: float, lam: float = 200.0) -> EASE:
        """Let what is known of films stand beside what users did: more rows of the same matrix."""
        rated = self._rated.astype(np.float64)
        known = self.films
        parts = [text * known.centred["text_vector"], other * known.genres, other * known.bumps]
        sides = np.concatenate(parts, axis=1).astype(np.float64)
        gram = rated.T @ rated + sides @ sides.T
        gram[np.diag_indices_from(gram)] += lam
        inverse = np.linalg.inv(gram)
        weights = inverse / -np.diag(inverse)
        np.fill_diagonal(weights, 0.0)
        return EASE(weights)

    @cached_property
    def positives(self) -> Interactions:
        """What was liked."""
        return Interactions(self.past.table.filter(pa.array(self.past.table["weight"].to_numpy() >= LIKED)))

    @cached_property
    def _rated(self) -> Vectors:
        """What each rating of each user is worth, (U, N)."""
        return matrix(worth(self.past), self.films.items, sorted(set(self.past.table["user_id"].to_pylist())))


def matrix(log: Interactions, items: ItemIds, users: Sequence[str]) -> Vectors:
    """Give the weights of a log, (U, N) float32, a line for each of these users."""
    lines = {user: line for line, user in enumerate(users)}
    found = np.zeros((len(users), len(items)), np.float32)
    there = np.array([lines[user] for user in log.table["user_id"].to_pylist()], np.int64)
    found[there, items.rows(log.table["item_id"].to_pylist())] = log.table["weight"].to_numpy()
    return found


def z_scores(scores: Scores) -> Scores:
    """Give scores of each line mean 0 and deviation 1 over what is not -inf; zeros where nothing is said."""
    there = np.isfinite(scores)
    count = np.maximum(there.sum(axis=1, keepdims=True), 1)
    values = np.where(there, scores, 0.0).astype(np.float64)
    mean = values.sum(axis=1, keepdims=True) / count
    deviation = np.sqrt(np.where(there, (values - mean) ** 2, 0.0).sum(axis=1, keepdims=True) / count)
    shares = (values - mean) / np.maximum(deviation, 1e-9)
    said = there.any(axis=1, keepdims=True)
    return np.where(there, shares, np.where(said, -np.inf, 0.0)).astype(np.float32)


def is_random(setting: Setting) -> bool:
    """Whether a setting starts from random factors."""
    return any(key[0] == RANDOM for _, key in setting)


def named(setting: Setting) -> str:
    """Write a setting down."""
    return " + ".join(f"{weight:g} x {', '.join(map(str, key))}" for weight, key in setting)


def silent(setting: Setting, asked: EvaluationQueries) -> NDArray[np.bool_]:
    """Say which users a setting knows nothing of: no history, or nothing liked where only that counts."""
    if any(key[0] == "popularity" for _, key in setting):
        return np.zeros(len(asked), np.bool_)
    of_liked = all(key[0] in ("kNN", "EASE, liked", "content") for _, key in setting)
    known: Sequence[Rows] = liked(asked) if of_liked else asked.histories
    return np.array([not len(rows) for rows in known])
