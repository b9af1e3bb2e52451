"""Items that are had by the same users, through the `implicit` library."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import import_extra
from retrieval.evaluation.baselines.recommender import Ranked, rank
from retrieval.evaluation.baselines.sparse import learned_from, user_items
from retrieval.interactions.interactions import Interactions


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
