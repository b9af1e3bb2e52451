"""Sources that are inner products: content, behaviour as it is served, and each of its towers alone."""

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

WHOLE, CONTENT, ATTENTION, EARLY, PROFILE = "retrieval", "content", "attention", "early", "profile"
TOWERS = ("closed", "next_items")


@dataclass(frozen=True, eq=False)
class SpaceSource:
    """The inner product of a user's query with item vectors, or with some of their dimensions.

    Attributes:
        name: What it is called.
        space: Items and queries.
        part: The dimensions that count.
        book: What the space was learned from.
        asks: Whether it asks as it is served, by itself whatever its share in that, with attention alone, or as if
            nobody had done anything.
    """

    name: str
    space: ItemSpace
    part: slice
    book: TrainingLog | None = None
    asks: Literal["served", "alone", "attention", "new"] = "served"

    def scores(self, batch: UserBatch, rows: Rows | None = None) -> Vectors:
        """Give (B, N) float32, or (B, K) of given rows; see `Source`."""
        if rows is not None:
            return inner_product_scores([self], batch, rows)[:, 0]
        scores: Vectors = self.queries(batch) @ self.space.indexed[:, self.part].T
        return scores

    @cached_property
    def column(self) -> Vectors | None:
        """(N,) float32 where a single dimension counts, for a product would read all the others too; None otherwise."""
        single = self.part.stop - self.part.start == 1
        return np.ascontiguousarray(self.space.indexed[:, self.part.start]) if single else None

    def queries(self, batch: UserBatch) -> Vectors:
        """Give what users ask the part with, (B, d) float32."""
        queries: Vectors = getattr(batch.of_space(self.space), self.asks)
        return queries[:, self.part]

    def carried(self, origins: Rows, keep: NDArray[np.bool_]) -> "SpaceSource":
        """Refuse: whoever changes the space makes its sources anew, by `space_sources`."""
        raise NotImplementedError("a space is carried over by itself; make its sources anew")

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give nothing: the space has files of its own."""
        return {}


def users_of_space(sources: Iterable[object]) -> UserModel | None:
    """Give what makes tastes of histories, as the first of these sources that has a space has it."""
    return next((source.space.users for source in sources if isinstance(source, SpaceSource)), None)


def inner_product_scores(sources: Sequence[SpaceSource], batch: UserBatch, rows: Rows) -> Vectors:
    """Give the scores of S sources over the same vectors, each of which is read once: (B, S, K) float32.

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


def space_sources(space: ItemSpace, book: TrainingLog | None = None) -> tuple[SpaceSource, ...]:
    """Give what is served, then each tower, attention if there is one, content, popularity, and profiles if they speak.

    Popularity is that with those who begin, and is foretold of items that nobody has met.

    Args:
        space: As it is served.
        book: What it was learned from.
    """
    whole = SpaceSource(WHOLE, space, slice(0, space.indexed.shape[1]), book)
    if (block := space.behaviour) is None:
        return (whole,)
    starts = space.dim + np.cumsum([0, *(len(tower.start) for tower in block.towers)])
    parts = [slice(int(start), int(end)) for start, end in pairwise(starts)]
    sources = [
        whole,
        *(SpaceSource(name, space, part, book, "alone") for name, part in zip(TOWERS, parts, strict=False)),
    ]
    if block.attention is not None:
        sources.append(SpaceSource(ATTENTION, space, slice(space.dim, parts[-1].stop), book, "attention"))
    sources.append(SpaceSource(CONTENT, space, slice(0, space.dim), book, "alone"))
    sources.append(SpaceSource(EARLY, space, slice(parts[-1].stop, space.indexed.shape[1]), book, "alone"))
    if space.profiles is not None:
        sources.append(SpaceSource(PROFILE, space, slice(space.dim, space.indexed.shape[1]), book, "new"))
    return tuple(sources)
