"""Sources that are inner products: the served query, content, and each tower of the behaviour block."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, row_products
from retrieval.models.item_space import ItemSpace
from retrieval.models.user_model import UserModel
from retrieval.ranking.sources.base import TrainingLog, UserBatch

RETRIEVAL, CONTENT, ATTENTION, EARLY, PROFILE = "retrieval", "content", "attention", "early", "profile"
TOWERS = ("closed", "next_items")


@dataclass(frozen=True, eq=False)
class SpaceSource:
    """The inner product of a user's query with item vectors, or with some of their dimensions.

    Attributes:
        name: Prefix of its features' names.
        space: Items and queries.
        part: The dimensions that are multiplied.
        training_log: The log that the space was trained on.
        query_part: The queries of `QueryParts` that it uses.
    """

    name: str
    space: ItemSpace
    part: slice
    training_log: TrainingLog | None = None
    query_part: Literal["served", "unweighted", "attention", "new"] = "served"

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; see `Source`."""
        if rows is not None:
            return inner_product_scores([self], batch, rows)[:, 0]
        scores: Vectors = self.queries(batch) @ self.space.indexed[:, self.part].T
        return scores

    @cached_property
    def column(self) -> Vectors | None:
        """(N,) float32, the item values where ``part`` is a single dimension; None otherwise."""
        single = self.part.stop - self.part.start == 1
        return np.ascontiguousarray(self.space.indexed[:, self.part.start]) if single else None

    def queries(self, batch: UserBatch) -> Vectors:
        """Give the queries in the dimensions of ``part``: (B, d) float32."""
        queries: Vectors = getattr(batch.query_parts(self.space), self.query_part)
        return queries[:, self.part]

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "SpaceSource":
        """Raise: the sources of another space are made by `space_sources`."""
        raise NotImplementedError("a space is carried over by itself; make its sources anew")

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give nothing: the space is stored in files of its own."""
        return {}


def users_of_space(sources: Iterable[object]) -> UserModel | None:
    """Give the user model of the first source with a space; None without one."""
    return next((source.space.users for source in sources if isinstance(source, SpaceSource)), None)


def inner_product_scores(sources: Sequence[SpaceSource], batch: UserBatch, rows: Rows) -> Vectors:
    """Give the scores of S sources over the same item vectors, which are read once: (B, S, K) float32.

    Args:
        sources: One or more.
        batch: B users.
        rows: (B, K) int64, from 0 to N - 1.
    """
    vectors, dense = sources[0].space.indexed, [source for source in sources if source.column is None]
    queries = np.zeros((len(batch), len(dense), vectors.shape[1]), np.float32)
    for number, source in enumerate(dense):
        queries[:, number, source.part] = source.queries(batch)
    scores = np.empty((len(batch), len(sources), rows.shape[1]), np.float32)
    scores[:, [source.column is None for source in sources]] = row_products(vectors, queries, rows)
    for number, source in enumerate(sources):
        if source.column is not None:
            scores[:, number] = source.queries(batch) * source.column.take(rows)
    return scores


def space_sources(space: ItemSpace, training_log: TrainingLog | None = None) -> tuple[SpaceSource, ...]:
    """Give the sources of a space: the served query, each tower, attention, content, popularity and profiles.

    Attention and profiles are left out where the space has none. Popularity is that among new users, predicted for
    items without interactions.

    Args:
        space: The space that is served.
        training_log: The log that it was trained on.
    """
    whole = SpaceSource(RETRIEVAL, space, slice(0, space.indexed.shape[1]), training_log)
    if (block := space.behaviour) is None:
        return (whole,)
    starts = space.dim + np.cumsum([0, *(len(tower.start) for tower in block.towers)])
    parts = [slice(int(start), int(end)) for start, end in pairwise(starts)]
    sources = [
        whole,
        *(
            SpaceSource(name, space, part, training_log, "unweighted")
            for name, part in zip(TOWERS, parts, strict=False)
        ),
    ]
    if block.attention is not None:
        sources.append(SpaceSource(ATTENTION, space, slice(space.dim, parts[-1].stop), training_log, "attention"))
    sources.append(SpaceSource(CONTENT, space, slice(0, space.dim), training_log, "unweighted"))
    sources.append(SpaceSource(EARLY, space, slice(parts[-1].stop, space.indexed.shape[1]), training_log, "unweighted"))
    if space.profiles is not None:
        sources.append(SpaceSource(PROFILE, space, slice(space.dim, space.indexed.shape[1]), training_log, "new"))
    return tuple(sources)
