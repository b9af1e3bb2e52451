"""Groups of near-duplicates and variants in a whole bundle, for `commonspace doctor`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.bundle.bundle import Bundle
from retrieval.postprocess.duplicates import MIN_SIMILARITY, Collapse, are_near, group_codes

SIMILARITIES = (0.9, 0.95, 0.98, 0.99, 0.999)
MAX_ITEMS, MAX_LEADERS = 20_000, 5_000  # of more items than the first so many are drawn that may lead a group
MAX_EXAMPLES, MAX_IDS = 5, 5
_BLOCK = 256  # items compared with all at once


@dataclass(frozen=True)
class DuplicateGroups:
    """Items that would be shown once.

    Attributes:
        by: ``"content"``, or the attribute whose value they share.
        groups: Rows of each group of at least two items, the largest first.
        compared: Items that may lead a group; all of them unless the catalogue is large.
        min_similarity: The smallest cosine of two items of a group; None for an attribute.
        with_twin: By cosine how many of the compared items have another one that is as near.
    """

    by: str
    groups: Sequence[Rows]
    compared: int
    min_similarity: float | None = None
    with_twin: dict[float, int] = field(default_factory=dict)

    @property
    def items(self) -> int:
        """How many items are in a group."""
        return sum(map(len, self.groups))

    def examples(self, item_ids: Sequence[str]) -> list[list[str]]:
        """Give the first item_ids of the largest groups."""
        return [[item_ids[row] for row in rows[:MAX_IDS].tolist()] for rows in self.groups[:MAX_EXAMPLES]]

    def to_json(self, item_ids: Sequence[str]) -> dict[str, Any]:
        """Give counts and examples as plain JSON values."""
        near = {
            "min_similarity": self.min_similarity,
            "with_twin": {f"{similarity:g}": n for similarity, n in self.with_twin.items()},
        }
        return {
            "by": self.by,
            "groups": len(self.groups),
            "items": self.items,
            "largest": max(map(len, self.groups), default=0),
            "compared": self.compared,
            **(near if self.min_similarity is not None else {}),
            "examples": self.examples(item_ids),
        }

    def in_words(self, item_ids: Sequence[str]) -> list[str]:
        """Give counts and examples as lines of text."""
        how = f"by content of cosine {self.min_similarity:g} and more" if self.min_similarity else f"by {self.by!r}"
        lines = [f"groups {how}: {len(self.groups):,}, of {self.items:,} items"]
        if self.with_twin:
            counts = ", ".join(f"{similarity:g}: {count:,}" for similarity, count in self.with_twin.items())
            lines.append(f"of {self.compared:,} items so many have another one of at least this cosine: {counts}")
        for rows, ids in zip(self.groups, self.examples(item_ids), strict=False):
            lines.append(", ".join(ids) + (f" and {len(rows) - len(ids):,} more" if len(rows) > len(ids) else ""))
        return lines


def groups_by_content(vectors: Vectors, min_similarity: float = MIN_SIMILARITY, seed: int = 0) -> DuplicateGroups:
    """Group items whose content is near, as `duplicates.collapsed` does with a list of all in their order.

    An item that is in no group yet leads one of all later ones that are near enough to it; similarity is not handed on.
    Here many items are compared with all at once, and of a large catalogue only some lead; there each list is short.

    Args:
        vectors: (N, D) float32, the content of items; those that are zero are near to none.
        min_similarity: The smallest cosine of two items of a group.
        seed: Draws the items that may lead, of a large catalogue.

    >>> groups_by_content(np.array([[1, 0], [0, 1], [2, 0.01]], np.float32)).groups
    [array([0, 2])]
    """
    Collapse(min_similarity=min_similarity)  # checks it
    units, count = unit(vectors), len(vectors)
    leaders = np.arange(count)
    if count > MAX_ITEMS:
        leaders = np.sort(np.random.default_rng(seed).choice(count, MAX_LEADERS, replace=False))
    leader_of = np.full(count, -1, np.int64)
    nearest = np.empty(len(leaders), np.float32)
    for start in range(0, len(leaders), _BLOCK):
        rows = leaders[start : start + _BLOCK]
        cosines = units[rows] @ units.T
        cosines[np.arange(len(rows)), rows] = -np.inf
        nearest[start : start + len(rows)] = cosines.max(axis=1, initial=-np.inf)
        for row, near in zip(rows.tolist(), are_near(cosines, min_similarity), strict=True):
            if leader_of[row] < 0 and near.any():
                free: Mask = near & (leader_of < 0)
                leader_of[free] = leader_of[row] = row
    with_twin = {similarity: int(are_near(nearest, similarity).sum()) for similarity in SIMILARITIES}
    return DuplicateGroups("content", _grouped(leader_of), len(leaders), min_similarity, with_twin)


def groups_by_attribute(bundle: Bundle, name: str) -> DuplicateGroups:
    """Group the items that have the same value of an attribute.

    Raises:
        FilterError: When there is none of that name.
        InputError: When an item may have several values.
    """
    return DuplicateGroups(name, _grouped(group_codes(bundle.attributes, name)), len(bundle.items))


def _grouped(codes: Rows) -> list[Rows]:
    """Give the rows of equal codes, -1 left out, of at least two items: the largest first."""
    order = np.argsort(codes, kind="stable")
    order = order[codes[order] >= 0]
    groups = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if len(order) else []
    return sorted((rows for rows in groups if len(rows) > 1), key=len, reverse=True)
