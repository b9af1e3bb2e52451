"""A log as numbers, and the part of it that is still kept."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays.types import Mask, Rows, Vectors

DAY = 86_400


@dataclass(frozen=True, eq=False)
class CodedLog:
    """N interactions in time order.

    Attributes:
        places: (N,) int64, their rows in the log that was handed in.
        users: (N,) int64, positions in ``user_ids``.
        items: (N,) int64, positions in ``item_ids``.
        times: (N,) int64, seconds since 1970 (UTC).
        weights: (N,) float32.
        user_ids: Of all users of the log that was handed in.
        item_ids: Of all its items.
    """

    places: Rows
    users: Rows
    items: Rows
    times: NDArray[np.int64]
    weights: Vectors
    user_ids: list[str]
    item_ids: list[str]

    @classmethod
    def of(cls, table: pa.Table) -> "CodedLog":
        """Number the users and items of a table of interactions, in the order in which they appear."""
        users, items = (table[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
        return cls(
            np.arange(len(table)),
            users.indices.to_numpy().astype(np.int64),
            items.indices.to_numpy().astype(np.int64),
            table["timestamp"].to_numpy(),
            table["weight"].to_numpy(),
            users.dictionary.to_pylist(),
            items.dictionary.to_pylist(),
        )

    def __len__(self) -> int:
        return len(self.places)

    @property
    def pairs(self) -> Rows:
        """(N,) int64, one number for each user and item."""
        pairs: Rows = self.users * max(len(self.item_ids), 1) + self.items
        return pairs

    def where(self, kept: Mask) -> "CodedLog":
        """Keep some interactions; users and items keep their numbers."""
        columns = ("places", "users", "items", "times", "weights")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def once(self) -> tuple[Rows, Rows]:
        """Give users and items of all different pairs, sorted by user: two (P,) int64."""
        users, items = np.divmod(np.unique(self.pairs), max(len(self.item_ids), 1))
        return users, items

    def users_of_items(self) -> Rows:
        """Count the different users of each item: (items,) int64."""
        counts: Rows = np.bincount(self.once()[1], minlength=len(self.item_ids))
        return counts
