"""The users of a log, their histories held once in a few arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError
from retrieval.batch.input_rows import Chunk, UserLines
from retrieval.interactions.histories import gathered, least_liked
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import no_known_item
from retrieval.interactions.user_profiles import Profiles


@dataclass(frozen=True, eq=False)
class LoggedHistories:
    """Histories of U users, sorted by id.

    Attributes:
        names: U strings.
        starts: (U + 1,) int64, where each history begins, and where the last one ends.
        rows: (T,) int64, one history after the other, oldest first.
        weights: (T,) float32.
        items: The items that rows point into.
        least: What weighs less was disliked, of a log of ratings; 0 of others.
    """

    names: pa.Array
    starts: NDArray[np.int64]
    rows: Rows
    weights: Vectors
    items: ItemIds
    least: float | None = None

    @classmethod
    def of(cls, log: Interactions, items: ItemIds) -> "LoggedHistories":
        """Gather what users did with the items of a bundle, as `retrieval.interactions.histories.histories` does.

        Raises:
            InputError: When nobody did anything.
        """
        found = gathered(log, items)
        if not len(found.rows):
            raise InputError(no_known_item(log, items))
        there = np.flatnonzero(found.lengths)
        least = least_liked([found], log.repeats)
        names = pa.array(found.user_ids, pa.string()).take(pa.array(there))
        return cls(names, np.append(0, np.cumsum(found.lengths[there])), found.rows, found.weights, items, least)

    def __len__(self) -> int:
        return len(self.names)

    def numbers(self, names: pa.Array) -> NDArray[np.int64]:
        """Give the numbers of users by name, -1 for those who are not among these."""
        found = pc.index_in(names, value_set=self.names).fill_null(-1)
        numbers: NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
        return numbers

    def histories(self, numbers: NDArray[np.int64]) -> tuple[tuple[Rows, ...], tuple[Vectors, ...]]:
        """Give the histories and weights of some users."""
        parts = [slice(self.starts[number], self.starts[number + 1]) for number in numbers.tolist()]
        return tuple(self.rows[part] for part in parts), tuple(self.weights[part] for part in parts)


class LogUsers:
    """Every user of a log who did something with an item of the bundle.

    Args:
        histories: What they did.
        identity: What tells the log from others.
        profiles: What is known of them beside it, if anything.
    """

    def __init__(
        self, histories: LoggedHistories, identity: Mapping[str, Any], profiles: Profiles | None = None
    ) -> None:
        self._histories, self._identity, self._profiles = histories, dict(identity), profiles

    @property
    def items(self) -> ItemIds:
        """Those that the histories are of."""
        return self._histories.items

    def __len__(self) -> int:
        return len(self._histories)

    def identity(self) -> dict[str, Any]:
        """Tell the log from others."""
        return self._identity

    def chunks(self, start: int, size: int) -> Iterator[Chunk]:
        """Give the users from one on, so many at once."""
        for first in range(start, len(self), size):
            numbers = np.arange(first, min(first + size, len(self)))
            names = tuple(self._histories.names.take(pa.array(numbers)).to_pylist())
            known = self._profiles.of(names) if self._profiles else None
            users = UserLines(names, *self._histories.histories(numbers), profiles=known, least=self._histories.least)
            yield Chunk(first, len(numbers), users)
