"""Matrix factorisation for implicit feedback (iALS), through the `implicit` library.

Hu, Koren and Volinsky, "Collaborative Filtering for Implicit Feedback Datasets", ICDM 2008.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from indexing.arrays.types import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import import_extra
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.evaluation.baselines.sparse import learned_from, user_items
from retrieval.interactions.interactions import Interactions


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
