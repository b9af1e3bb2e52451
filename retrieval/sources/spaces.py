"""Sources that are inner products: content, behaviour as it is served, and each of its towers alone."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from indexing.types import Rows, Vectors
from retrieval.item_space import ItemSpace
from retrieval.sources.source import Asked, Book

WHOLE, CONTENT = "retrieval", "content"
TOWERS = ("closed", "next_items")


@dataclass(frozen=True, eq=False)
class SpaceSource:
    """The inner product of a user's query with item vectors, or with some of their dimensions.

    Attributes:
        name: What it is called.
        space: Items and queries.
        part: The dimensions that count.
        book: What the space was learned from.
    """

    name: str
    space: ItemSpace
    part: slice
    book: Book | None = None

    def scores(self, asked: Asked) -> Vectors:
        """Give (B, N) float32."""
        found: Vectors = (
            self.space.asked(asked.histories, asked.weights)[:, self.part] @ self.space.indexed[:, self.part].T
        )
        return found

    def carried(self, origins: Rows, kept: NDArray[np.bool_]) -> "SpaceSource":
        """Refuse: whoever changes the space makes its sources anew, by `space_sources`."""
        raise NotImplementedError("a space is carried over by itself; make its sources anew")

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """Give nothing: the space has files of its own."""
        return {}


def space_sources(space: ItemSpace, book: Book | None = None) -> tuple[SpaceSource, ...]:
    """Give what is served, content alone, and each tower alone, weighed by itself whatever its share in what is served.

    Args:
        space: As it is served.
        book: What it was learned from.
    """
    whole = SpaceSource(WHOLE, space, slice(0, space.indexed.shape[1]), book)
    if (block := space.behaviour) is None:
        return (whole,)
    towers = tuple(replace(tower, share=1.0) for tower in block.towers)
    even = replace(block, towers=towers, content=1.0, attention=None)  # which would speak in both towers' dimensions
    alone = replace(space, behaviour=even)
    starts = space.dim + np.cumsum([0, *(len(tower.start) for tower in block.towers)])
    parts = [slice(int(start), int(end)) for start, end in pairwise(starts)]
    each = [SpaceSource(name, alone, part, book) for name, part in zip(TOWERS, parts, strict=False)]
    return (whole, *each, SpaceSource(CONTENT, alone, slice(0, space.dim), book))
