"""Trying many ways to serve one block: what does not change from one to the next is computed once."""

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
_SCORES = 2**22  # at once


@dataclass(frozen=True, eq=False)
class ServingTrials:
    """Users who are answered by exact search, and what the first 20 hits of each are worth.

    Attributes:
        space: Of a block, whose items stay as they are however it is served.
        pasts: What users had done; nothing of it is shown.
        wanted: For each the rows that should be found, at least one.
    """

    space: ItemSpace
    pasts: Sequence[History]
    wanted: Sequence[Rows]
    _directions: dict[tuple[float, ...], Vectors] = field(init=False, repr=False, default_factory=dict)

    def values(self, block: Behaviour) -> NDArray[np.float64]:
        """Give ndcg@20 of each user, (B,), with a block that differs in nothing but how it is served."""
        return ndcg(self.best(self.queries(block)), self.wanted, len(self.space.indexed))

    def queries(self, block: Behaviour) -> Vectors:
        """Give what `ItemSpace.asked` does."""
        histories, _ = self._liked
        tastes = self._tastes if block.content else np.zeros((len(histories), self.space.dim), np.float32)
        attended = self._attended if block.attention is not None and block.attention.share else None
        behaviour_queries = block.weighed(self._directed(block), attended, histories)
        return np.concatenate([block.content_queries(tastes, histories), behaviour_queries], axis=1)

    def best(self, queries: Vectors) -> Rows:
        """Give the rows that are found, (B, 20), -1 pads."""
        offset = 0 if queries[:, : self.space.dim].any() else self.space.dim
        items = self.space.indexed[:, offset:].T
        together = max(1, _SCORES // items.shape[1])
        rows = np.full((len(queries), min(K, items.shape[1])), -1, np.int64)
        for start in range(0, len(queries), together):
            batch = slice(start, start + together)
            rows[batch] = top_of(queries[batch, offset:] @ items, [history.rows for history in self.pasts[batch]], K)
        rows[~queries.any(axis=1)] = -1  # who has no taste is shown nothing
        return rows

    @cached_property
    def _liked(self) -> tuple[Sequence[Rows], Sequence[Vectors]]:
        histories, weights = [history.rows for history in self.pasts], [history.weights for history in self.pasts]
        liked, interaction_weights = self.space.users.liked_of(histories, weights)
        return liked, weights if interaction_weights is None else interaction_weights

    @cached_property
    def _tastes(self) -> Vectors:
        return self.space.tastes(*self._liked)

    @cached_property
    def _attended(self) -> Vectors | None:
        return None if self.space.behaviour is None else self.space.behaviour.attended(*self._liked)

    def _directed(self, block: Behaviour) -> Vectors:
        """Give what each tower is asked by itself, which only half-lives change."""
        key = tuple(half_life for tower in block.towers for half_life in tower.half_lives.tolist())
        if key not in self._directions:
            self._directions[key] = block.directions(*self._liked)
        return self._directions[key]


def ndcg(rows: Rows, targets: Sequence[Rows], items: int) -> NDArray[np.float64]:
    """Give ndcg@K of ranked rows, (B, K), by what should be found, as `retrieval.evaluation` does.

    >>> ndcg(np.array([[3, 1], [0, -1]]), [np.array([1]), np.array([0, 2])], 4).round(4).tolist()
    [0.6309, 0.6131]
    """
    discounts = 1 / np.log2(np.arange(2, rows.shape[1] + 2))
    num_relevant = [min(len(np.unique(relevant)), len(discounts)) for relevant in targets]
    ideal = np.concatenate([[0.0], np.cumsum(discounts)])[num_relevant]
    values: NDArray[np.float64] = held(rows[:, :, None], targets, items)[:, :, 0] @ discounts / ideal
    return values


def held(rows: Rows, targets: Sequence[Rows], items: int) -> Mask:
    """Say which of rows (B, K, S), -1 pads, are among what each of B users should find."""
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
