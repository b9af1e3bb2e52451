"""The item space: content and behaviour vectors side by side, and queries for them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from indexing.arrays import Mask, Rows, Vectors, masked_sum
from indexing.errors import ShapeError
from retrieval.models.behaviour import Behaviour, QueryWeights
from retrieval.models.profile_model import ProfileModel
from retrieval.models.user_model import ALL_ALIKE, UserModel

# The behaviour of new items is predicted: it follows long-term preferences, not the next step. Selected on films that
# were held out of the log; see docs/log.md, 2026-11-27.
FOR_NEW_ITEMS = QueryWeights(half_life=ALL_ALIKE, share=0.6, popular=0.2, content=0.2)


class QueryParts(NamedTuple):
    """Queries of B users, each (B, D + R) float32.

    Attributes:
        served: As they are served.
        unweighted: Content, every tower and popularity with length 1, whatever their weights; without attention.
        attention: The queries of attention alone; None without it.
        new: The queries for an empty history; None where these are the same for all users.
    """

    served: Vectors
    unweighted: Vectors
    attention: Vectors | None
    new: Vectors | None = None


@dataclass(frozen=True, eq=False)
class ItemSpace:
    """The item vectors ``[z ; c]``, one inner product for every kind of query.

    Attributes:
        indexed: (N, D + R) float32.
        dim: D, the dimensions of content.
        users: The user model.
        behaviour: The behaviour block with the other R dimensions, or None.
        profiles: The profile model, or None.
        is_live: (N,) bool, the rows that are not deleted; all when None.
    """

    indexed: Vectors
    dim: int
    users: UserModel
    behaviour: Behaviour | None = None
    profiles: ProfileModel | None = None
    is_live: Mask | None = None

    @classmethod
    def of(
        cls,
        content: Vectors,
        users: UserModel,
        behaviour: Behaviour | None = None,
        profiles: ProfileModel | None = None,
    ) -> "ItemSpace":
        """Join content, (N, D) float32, and behaviour."""
        joined = content if behaviour is None else behaviour.joined(content)
        return cls(joined, content.shape[1], users, behaviour, profiles)

    @cached_property
    def centre(self) -> Vectors:
        """(D,) float32, the mean content of the live rows."""
        if self.is_live is None:
            mean: Vectors = self.content.mean(axis=0)
            return mean
        return (masked_sum(self.content, self.is_live) / np.count_nonzero(self.is_live)).astype(np.float32)

    @cached_property
    def for_returning(self) -> "ItemSpace":
        """The space with the query weights of returning users; this space if these are the same."""
        if (block := self.behaviour) is None or block.returning is None:
            return self
        return replace(self, behaviour=block.with_weights(block.returning))

    @cached_property
    def for_new_items(self) -> "ItemSpace":
        """The space for recommending items without interactions: a history counts equally; see `FOR_NEW_ITEMS`."""
        if (block := self.behaviour) is None:
            return self
        return replace(self, behaviour=replace(block.with_weights(FOR_NEW_ITEMS), returning=None))

    def is_new(self, rows: Rows | Mask) -> Mask:
        """Say which rows have no interactions in the behaviour block: bool, one for each row."""
        if self.behaviour is None:
            return np.zeros(np.count_nonzero(rows) if rows.dtype == np.bool_ else len(rows), np.bool_)
        new: Mask = self.behaviour.confidence[rows] == 0
        return new

    def has_only_new(self, rows: Rows) -> bool:
        """Say whether there are rows, (R,) int64, and none of them has interactions."""
        return bool(len(rows)) and bool(self.is_new(rows).all())

    def liking(self, min_weight: float | None) -> "ItemSpace":
        """Give the space in which interactions of a smaller weight are dislikes; this one when None."""
        users = self.users.liking(min_weight)
        return self if users is self.users else replace(self, users=users)

    @property
    def content(self) -> Vectors:
        """(N, D) float32, ``z``."""
        return self.indexed[:, : self.dim]

    def content_queries(self, queries: Vectors) -> Vectors:
        """Give queries for content alone, ``[q ; 0]``: (B, D + R) float32 of queries (B, D)."""
        return queries if self.behaviour is None else self.behaviour.padded(queries)

    def user_queries(
        self,
        histories: Sequence[Rows],
        weights: Sequence[Vectors] | None = None,
        centre: Vectors | None = None,
        new: Vectors | None = None,
    ) -> Vectors:
        """Give users' queries: (B, D + R) float32.

        Args:
            histories: B arrays of rows, oldest first. The query of an empty one is popularity; without a behaviour
                block it is zero.
            weights: The interaction weights of each history, on the scale of the training log. Items that
                `users` counts as disliked are left out; with nothing left the history is empty.
            centre: (D,) float32, the catalogue's mean content; that of all items when None.
            new: (B, R) float32, the behaviour query of each for an empty history; popularity when None.

        Raises:
            ShapeError: When weights and histories do not fit.
        """
        if weights is not None and list(map(len, weights)) != list(map(len, histories)):
            raise ShapeError("weights and histories differ in length; give one weight for each row of each history")
        return self._queries_of_liked(*self.users.liked_items(histories, weights), centre, new)

    def _queries_of_liked(
        self,
        histories: Sequence[Rows],
        weights: Sequence[Vectors] | None,
        centre: Vectors | None = None,
        new: Vectors | None = None,
    ) -> Vectors:
        """Give the queries of users from their liked items."""
        if self.behaviour is None or self.behaviour.content:
            tastes = self.tastes(histories, weights, centre)
        else:
            tastes = np.zeros((len(histories), self.dim), np.float32)
        return tastes if self.behaviour is None else self.behaviour.user_queries(tastes, histories, weights, new)

    def tastes(
        self,
        histories: Sequence[Rows],
        weights: Sequence[Vectors] | None = None,
        centre: Vectors | None = None,
    ) -> Vectors:
        """Give content tastes: (B, D) float32 of length 1, zero for an empty history; see `user_queries`."""
        tastes = np.zeros((len(histories), self.dim), np.float32)
        if users := [user for user, rows in enumerate(histories) if len(rows)]:
            centre = self.centre if centre is None else centre
            liked = None if weights is None else [weights[user] for user in users]
            tastes[users] = self.users.taste(self.content, [histories[user] for user in users], centre, liked)
        return tastes

    def query_parts(
        self, histories: Sequence[Rows], weights: Sequence[Vectors], new: Vectors | None = None
    ) -> QueryParts:
        """Give queries as `user_queries` does, and their parts, from liked items; see `UserModel.liked_items`."""
        if (block := self.behaviour) is None:
            served = self._queries_of_liked(histories, weights)
            return QueryParts(served, served, None)
        tastes, tower_queries = self.tastes(histories, weights), block.tower_queries(histories, weights)
        attention_queries = block.attention_queries(histories, weights)
        behaviour = block.combine(tower_queries, attention_queries, histories, new)
        served = np.concatenate([block.content_queries(tastes, histories), behaviour], axis=1)
        unweighted = np.pad(np.concatenate([tastes, tower_queries], axis=1), ((0, 0), (0, 1)), constant_values=1)
        if attention_queries is not None:
            attention_queries = np.pad(attention_queries, ((0, 0), (self.dim, 1)))
        if self.profiles is None:
            return QueryParts(served, unweighted, attention_queries)
        if new is None:
            new = block.popularity_queries(len(histories))
        return QueryParts(served, unweighted, attention_queries, np.pad(new, ((0, 0), (self.dim, 0))))
