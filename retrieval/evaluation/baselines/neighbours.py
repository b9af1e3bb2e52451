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


def user_items(rows: Sequence[Rows], items: int) -> Any:  # noqa: ANN401 - scipy ships no types
    """Give a matrix (B, N) of float32 in CSR form: one where a history has an item, sorted by column."""
    sparse = import_extra("scipy.sparse", "baselines")
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([np.sort(line) for line in rows]) if len(rows) else np.empty(0, np.int64)
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, ends), (len(rows), items))


def learned_from(past: Interactions, items: ItemIds) -> Any:  # noqa: ANN401
    """Give the matrix of all users of a past, sorted by user_id."""
    return user_items([history.rows for history in histories(past, items)], len(items))


@dataclass(frozen=True)
class KNNConfig:
    """How to find and use neighbours.

    Attributes:
        neighbours: Kept of each item, itself among them.
        of_candidate: Let a candidate be scored by those of its own neighbours that are in the history, as in Sarwar et
            al. 2001; else the neighbours of each item of the history come up, as in `implicit`.
        k1: Of BM25.
        b: Of BM25: how much an item that many have is held back.
        threads: How many; 0 for all cores.
    """

    neighbours: int = 100
    of_candidate: bool = False
    k1: float = 1.2
    b: float = 0.75
    threads: int = 1


@dataclass(frozen=True, eq=False)
class ItemKNN:
    """Item-kNN: users as words of an item, weighted by BM25, and each item's nearest others.

    Attributes:
        similarity: Sparse (N, N); what having item i says for item j.
    """

    similarity: Any

    @classmethod
    def fit(cls, past: Interactions, items: ItemIds, config: KNNConfig | None = None) -> "ItemKNN":
        """Find each item's neighbours.

        Args:
            past: What users did; read it with ``min_weight`` to learn from positives only.
            items: The catalogue; other items are left out.
            config: How.

        Raises:
            MissingExtraError: Without the extra ``baselines``.
        """
        config = config or KNNConfig()
        nearest = import_extra("implicit.nearest_neighbours", "baselines")
        weighted = nearest.bm25_weight(learned_from(past, items).T, config.k1, config.b).T.tocsr()
        model = nearest.ItemItemRecommender(K=config.neighbours, num_threads=config.threads)
        model.fit(weighted, show_progress=False)
        return cls(model.similarity.T.tocsr() if config.of_candidate else model.similarity)

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""
        count = self.similarity.shape[0]

        def score(part: slice) -> NDArray[np.float64]:
            scores: NDArray[np.float64] = (user_items(histories[part], count) @ self.similarity).toarray()
            return scores

        return rank(score, histories, k, exclude)


@dataclass(frozen=True)
class ALSConfig:
    """How to factorise.

    Attributes:
        factors: Length of the vectors.
        regularisation: Keeps them short.
        alpha: How much more an interaction counts than none.
        iterations: Rounds over users and items.
        threads: How many; 0 for all cores, 1 gives the same factors everywhere.
    """

    factors: int = 32
    regularisation: float = 0.05
    alpha: float = 5.0
    iterations: int = 20
    threads: int = 1


@dataclass(frozen=True, eq=False)
class ImplicitALS:
    """A vector for each item; a user's is solved from the history, so a new user is served at once.

    Attributes:
        model: The fitted ``AlternatingLeastSquares``.
    """

    model: Any

    @classmethod
    def fit(
        cls, past: Interactions, items: ItemIds, config: ALSConfig | None = None, *, seed: int = 0
    ) -> "ImplicitALS":
        """Factorise who did what; every interaction counts alike.

        Args:
            past: What users did; read it with ``min_weight`` to learn from positives only.
            items: The catalogue; other items are left out.
            config: How.
            seed: Of the first factors.

        Raises:
            MissingExtraError: Without the extra ``baselines``.
        """
        config = config or ALSConfig()
        als = import_extra("implicit.cpu.als", "baselines")
        # More threads of BLAS inside each of its own make implicit slower, and it warns.
        with import_extra("threadpoolctl", "baselines").threadpool_limits(1, "blas"):
            model = als.AlternatingLeastSquares(
                factors=config.factors,
                regularization=config.regularisation,
                alpha=config.alpha,
                iterations=config.iterations,
                num_threads=config.threads,
                random_state=seed,
            )
            model.fit(learned_from(past, items), show_progress=False)
        return cls(model)

    def recommend(self, histories: Sequence[Rows], k: int, *, exclude: Sequence[Rows] | None = None) -> Ranked:
        """Rank the best k items for each history; see `Recommender`."""
        factors: Vectors = self.model.item_factors

        def score(part: slice) -> Vectors:
            lines = user_items(histories[part], len(factors))
            tastes: Vectors = self.model.recalculate_user(np.arange(lines.shape[0]), lines)
            return tastes @ factors.T

        return rank(score, histories, k, exclude)
