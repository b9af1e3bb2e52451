"""The recommenders that baselines.py compares, fitted on a past and asked the questions of a split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from retrieval.evaluation.baselines import (
    EASE,
    ALSConfig,
    ContentKNN,
    ImplicitALS,
    ItemKNN,
    KNNConfig,
    Popularity,
    Ranked,
    Recommender,
)
from retrieval.evaluation.baselines.recommender import rank
from retrieval.evaluation.splits.queries import EvaluationQueries
from retrieval.interactions.interactions import Interactions

SEED = 0
SEEDS = (0, 1, 2)  # of what starts from random factors
K = 20
LIKED = 4.0
DECAY_DAYS = 30.0
# How much a rating says of the next one; looked at on the test part by whoever first measured it, so flattering.
WORTH = {1: 0.2, 2: 0.4, 3: 0.7, 4: 1.0, 5: 1.2}


Answer = Callable[[EvaluationQueries], Sequence[Ranked]]
"""Ranked lists for all questions, once a seed."""


def systems(
    past: Interactions, items: ItemIds, texts: Vectors, wrap: Callable[[Recommender], Recommender] = lambda usual: usual
) -> dict[str, Answer]:
    """Fit all baselines on a past."""
    positives = Interactions(past.table.filter(pa.array(past.table["weight"].to_numpy() >= LIKED)))

    def plain(*models: Recommender) -> Answer:
        return lambda asked: [wrap(model).recommend(asked.histories, K) for model in models]

    def of_liked(model: Recommender) -> Answer:
        return lambda asked: [wrap(model).recommend(liked(asked), K, exclude=asked.histories)]

    weighted = EASE.fit(worth(past), items, regularisation=200.0, half_life=20.0, weighted=True)
    return {
        "popularity": plain(Popularity.fit(past, items)),
        "popularity, decayed over 30 days": plain(Popularity.fit(past, items, decay_days=DECAY_DAYS)),
        "item-kNN BM25 (liked, 100 neighbours of the candidate)": of_liked(
            ItemKNN.fit(positives, items, KNNConfig(of_candidate=True))
        ),
        "item-kNN BM25 (liked, 100 neighbours of the history)": of_liked(ItemKNN.fit(positives, items)),
        "iALS (all, 32 factors, alpha 5; three seeds)": plain(
            *(ImplicitALS.fit(past, items, seed=seed) for seed in SEEDS)
        ),
        "EASE (liked, lambda 200)": of_liked(EASE.fit(positives, items, regularisation=200.0)),
        "EASE (all, lambda 200), half-life 20": plain(EASE.fit(past, items, regularisation=200.0, half_life=20.0)),
        "EASE (ratings as weights, lambda 200), half-life 20": lambda asked: by_worth(weighted, asked, wrap),
        "mean of text vectors (liked)": of_liked(ContentKNN(texts, centred=False)),
        "mean of text vectors (liked), centred": of_liked(ContentKNN(texts)),
    }


@dataclass(frozen=True, eq=False)
class _Weighted:
    """EASE with the weights of the histories that it is about to be asked for."""

    model: EASE
    weights: Sequence[Vectors]

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank for just those histories; see `Recommender`."""
        return self.model.recommend(histories, k, exclude=exclude, weights=self.weights)


@dataclass(frozen=True)
class Random:
    """Any order, another for each user: what knowing nothing gives."""

    items: int

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank at random; see `Recommender`."""
        rng = np.random.default_rng(SEED)
        return rank(lambda part: rng.random((part.stop - part.start, self.items)), histories, k, exclude)


def by_worth(
    model: EASE, asked: EvaluationQueries, wrap: Callable[[Recommender], Recommender] = lambda usual: usual
) -> list[Ranked]:
    """Ask EASE with the worth of each rating in the history."""
    weights = [np.array([WORTH[int(one)] for one in line], np.float32) for line in asked.weights]
    return [wrap(_Weighted(model, weights)).recommend(asked.histories, K)]


def worth(log: Interactions) -> Interactions:
    """Put the worth of a rating in its place."""
    values = [WORTH[int(rating)] for rating in log.table["weight"].to_pylist()]
    return Interactions(log.table.set_column(3, "weight", pa.array(values, pa.float32())))


def by_liked(model: Recommender, exclude: Sequence[Rows], asked: EvaluationQueries) -> list[Ranked]:
    """Ask with what was liked."""
    return [model.recommend(liked(asked), K, exclude=exclude)]


def by_factors(past: Interactions, items: ItemIds, config: ALSConfig) -> Answer:
    """Fit iALS, once a seed."""
    models = [ImplicitALS.fit(past, items, config, seed=seed) for seed in SEEDS]
    return lambda asked: [model.recommend(asked.histories, K) for model in models]


def liked(asked: EvaluationQueries) -> list[Rows]:
    """Keep of each history what was liked."""
    return [rows[weights >= LIKED] for rows, weights in zip(asked.histories, asked.weights, strict=True)]
