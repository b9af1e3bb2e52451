"""Baselines of the `implicit` library over sparse histories: item-kNN and matrix factorisation (iALS).

Sarwar et al., "Item-based Collaborative Filtering Recommendation Algorithms", WWW 2001; Hu, Koren and Volinsky,
"Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import import_extra
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions


def user_items(rows: Sequence[Rows], num_items: int) -> Any:  # noqa: ANN401 - scipy ships no types
    """Return a CSR matrix (B, N) of float32: one where a history has an item, sorted by column."""
    sparse = import_extra("scipy.sparse", "baselines")
    offsets = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([np.sort(row) for row in rows]) if len(rows) else np.empty(0, np.int64)
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, offsets), (len(rows), num_items))


def interaction_matrix(interactions: Interactions, items: ItemIds) -> Any:  # noqa: ANN401
    """Return the user-item matrix of interactions, sorted by user_id."""
    return user_items([history.rows for history in histories(interactions, items)], len(items))


@dataclass(frozen=True)
class KNNConfig:
    """Settings of `ItemKNN`.

    Attributes:
        neighbours: Number of neighbours of each item, including itself.
        of_candidate: Score a candidate by those of its neighbours that are in the history, as in Sarwar et al. 2001;
            else by the items of the history that have it as a neighbour, as in `implicit`.
        k1: Parameter k1 of BM25.
        b: Parameter b of BM25: how strongly popular items are penalised.
        threads: Number of threads; 0 for all cores.
    """

    neighbours: int = 100
    of_candidate: bool = False
    k1: float = 1.2
    b: float = 0.75
    threads: int = 1


@dataclass(frozen=True, eq=False)
class ItemKNN:
    """Item-kNN: items are documents, their users are terms weighted by BM25.

    Attributes:
        similarity: Sparse (N, N); the weight of item i in the score of item j.
    """

    similarity: Any

    @classmethod
    def fit(cls, interactions: Interactions, items: ItemIds, config: KNNConfig | None = None) -> "ItemKNN":
        """Find each item's neighbours.

        Args:
            interactions: The interactions; read them with ``min_weight`` to fit on positives only.
            items: The catalogue; other items are left out.
            config: The settings.

        Raises:
            MissingExtraError: Without the extra ``baselines``.
        """
        config = config or KNNConfig()
        nearest = import_extra("implicit.nearest_neighbours", "baselines")
        weighted = nearest.bm25_weight(interaction_matrix(interactions, items).T, config.k1, config.b).T.tocsr()
        model = nearest.ItemItemRecommender(K=config.neighbours, num_threads=config.threads)
        model.fit(weighted, show_progress=False)
        return cls(model.similarity.T.tocsr() if config.of_candidate else model.similarity)

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""
        count = self.similarity.shape[0]

        def score(batch: slice) -> NDArray[np.float64]:
            scores: NDArray[np.float64] = (user_items(histories[batch], count) @ self.similarity).toarray()
            return scores

        return rank(score, histories, k, exclude)


@dataclass(frozen=True)
class ALSConfig:
    """Settings of `ImplicitALS`.

    Attributes:
        factors: Number of factors.
        regularisation: L2 penalty of the factors.
        alpha: Confidence of an interaction.
        iterations: Number of iterations over users and items.
        threads: Number of threads; 0 for all cores, 1 for reproducible factors.
    """

    factors: int = 32
    regularisation: float = 0.05
    alpha: float = 5.0
    iterations: int = 20
    threads: int = 1


@dataclass(frozen=True, eq=False)
class ImplicitALS:
    """Matrix factorisation; the factors of a user are solved from the history, without fitting again.

    Attributes:
        model: The fitted ``AlternatingLeastSquares``.
    """

    model: Any

    @classmethod
    def fit(
        cls, interactions: Interactions, items: ItemIds, config: ALSConfig | None = None, *, seed: int = 0
    ) -> "ImplicitALS":
        """Factorise the user-item matrix; weights are ignored.

        Args:
            interactions: The interactions; read them with ``min_weight`` to fit on positives only.
            items: The catalogue; other items are left out.
            config: The settings.
            seed: For the initial factors.

        Raises:
            MissingExtraError: Without the extra ``baselines``.
        """
        config = config or ALSConfig()
        als = import_extra("implicit.cpu.als", "baselines")
        # implicit is slower with several BLAS threads, and warns about them.
        with import_extra("threadpoolctl", "baselines").threadpool_limits(1, "blas"):
            model = als.AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularisation,
                alpha=config.alpha,
                iterations=config.iterations,
                num_threads=config.threads,
                random_state=seed,
            )
            model.fit(interaction_matrix(interactions, items), show_progress=False)
        return cls(model)

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""
        factors: Vectors = self.model.item_factors

        def score(batch: slice) -> Vectors:
            matrix = user_items(histories[batch], len(factors))
            tastes: Vectors = self.model.recalculate_user(np.arange(matrix.shape[0]), matrix)
            return tastes @ factors.T

        return rank(score, histories, k, exclude)
