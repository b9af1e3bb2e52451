"""Quality of many serving weights for one block; what does not depend on the weights is computed once."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from retrieval.interactions.histories import History
from retrieval.models.behaviour import Behaviour
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.sources.pool import top_of

K = 20
_MAX_SCORES = 2**22  # in memory at once


@dataclass(frozen=True, eq=False)
class ServingTrials:
    """Exact search for users with some serving weights, and its ndcg@20.

    Attributes:
        space: The space of a block; its item vectors do not depend on the serving weights.
        histories: U histories; their items are not recommended.
        relevant: For each user at least one row of a relevant item.
    """

    space: ItemSpace
    histories: Sequence[History]
    relevant: Sequence[Rows]
    _tower_queries: dict[tuple[float, ...], Vectors] = field(init=False, repr=False, default_factory=dict)

    def values(self, block: Behaviour) -> NDArray[np.float64]:
        """Give ndcg@20 of each user, (U,) float64, with a block that differs in its serving weights alone."""
        return ndcg(self.best(self.queries(block)), self.relevant, len(self.space.indexed))

    def queries(self, block: Behaviour) -> Vectors:
        """Give the queries, as `ItemSpace.user_queries` does: (U, D) float32."""
        histories, _ = self._liked
        tastes = self._tastes if block.content else np.zeros((len(histories), self.space.dim), np.float32)
        attention_queries = self._attention_queries if block.attention is not None and block.attention.share else None
        behaviour_queries = block.combine(self._cached_tower_queries(block), attention_queries, histories)
        return np.concatenate([block.content_queries(tastes, histories), behaviour_queries], axis=1)

    def best(self, queries: Vectors) -> Rows:
        """Give the rows of the best items: (U, 20) int64, -1 pads."""
        offset = 0 if queries[:, : self.space.dim].any() else self.space.dim
        items = self.space.indexed[:, offset:].T
        batch_size = max(1, _MAX_SCORES // items.shape[1])
        rows = np.full((len(queries), min(K, items.shape[1])), -1, np.int64)
        for start in range(0, len(queries), batch_size):
            batch = slice(start, start + batch_size)
            rows[batch] = top_of(
                queries[batch, offset:] @ items, [history.rows for history in self.histories[batch]], K
            )
        rows[~queries.any(axis=1)] = -1  # no query, no recommendations
        return rows

    @cached_property
    def _liked(self) -> tuple[Sequence[Rows], Sequence[Vectors]]:
        histories, weights = (
            [history.rows for history in self.histories],
            [history.weights for history in self.histories],
        )
        liked, interaction_weights = self.space.users.liked_items(histories, weights)
        return liked, weights if interaction_weights is None else interaction_weights

    @cached_property
    def _tastes(self) -> Vectors:
        return self.space.tastes(*self._liked)

    @cached_property
    def _attention_queries(self) -> Vectors | None:
        return None if self.space.behaviour is None else self.space.behaviour.attention_queries(*self._liked)

    def _cached_tower_queries(self, block: Behaviour) -> Vectors:
        """Give the query of each tower, which depends on half-lives alone."""
        key = tuple(half_life for tower in block.towers for half_life in tower.half_lives.tolist())
        if key not in self._tower_queries:
            self._tower_queries[key] = block.tower_queries(*self._liked)
        return self._tower_queries[key]


def ndcg(rows: Rows, targets: Sequence[Rows], items: int) -> NDArray[np.float64]:
    """Give ndcg@K of ranked rows, (B, K), by relevant rows, as `retrieval.evaluation` does.

    >>> ndcg(np.array([[3, 1], [0, -1]]), [np.array([1]), np.array([0, 2])], 4).round(4).tolist()
    [0.6309, 0.6131]
    """
    discounts = 1 / np.log2(np.arange(2, rows.shape[1] + 2))
    num_relevant = [min(len(np.unique(relevant)), len(discounts)) for relevant in targets]
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[num_relevant]
    values: NDArray[np.float64] = target_mask(rows[:, :, None], targets, items)[:, :, 0] @ discounts / ideal
    return values


def target_mask(rows: Rows, targets: Sequence[Rows], items: int) -> Mask:
    """Mark the rows (B, K, S), -1 pads, that are targets of each of B users: (B, K, S) bool."""
    pairs = np.sort(
        np.concatenate(
            [np.empty(0, np.int64), *(user * items + target_rows for user, target_rows in enumerate(targets))]
        )
    )
    if not len(pairs):
        return np.zeros(rows.shape, np.bool_)
    keys = rows + (np.arange(len(rows)) * items)[:, None, None]
    position = np.minimum(np.searchsorted(pairs, keys), len(pairs) - 1)
    hits: Mask = (rows >= 0) & (pairs[position] == keys)
    return hits
