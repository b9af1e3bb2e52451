"""The two names of an item: its item_id (public, a string) and its row (internal, int64)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np

from indexing.errors import InputError, UnknownItemError, examples
from indexing.types import Rows

LONGEST_ITEM_ID = 512


class ItemIds(Sequence[str]):
    """The item_ids of a bundle in row order; row ``i`` is item ``ids[i]``.

    >>> ids = ItemIds(["mug-1", "cup-7", "shoe-3"])
    >>> ids.rows(["shoe-3", "mug-1"])
    array([2, 0])
    >>> ids[1]
    'cup-7'
    """

    def __init__(self, item_ids: Iterable[str]) -> None:
        self._ids = tuple(item_ids)
        if problems := [bad for bad in self._ids if item_id_problem(bad)]:
            raise InputError(f"{item_id_problem(problems[0])}: {examples(problems)}; give each item a usable item_id")
        if len(self._row_of) != len(self._ids):
            seen: set[str] = set()
            twice = [i for i in self._ids if i in seen or seen.add(i)]  # type: ignore[func-returns-value]
            raise InputError(f"{len(twice)} item ids appear more than once, e.g. {examples(twice)}; make them unique")

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self._ids)}

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """Give the row of each item_id.

        Raises:
            UnknownItemError: When an id is not among these items.
        """
        wanted = list(item_ids)
        if unknown := [item_id for item_id in wanted if item_id not in self._row_of]:
            raise UnknownItemError(
                f"{len(unknown)} of {len(wanted)} item ids are not in this bundle, e.g. {examples(unknown)}; "
                "check their spelling, or add the items and build again"
            )
        return np.fromiter((self._row_of[item_id] for item_id in wanted), dtype=np.int64, count=len(wanted))

    def known(self, item_ids: Iterable[str]) -> list[str]:
        """Keep those ids that are among these items, in the order given."""
        return [item_id for item_id in item_ids if item_id in self._row_of]

    def __contains__(self, item_id: object) -> bool:
        return item_id in self._row_of

    def __getitem__(self, row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 - int or slice, as in tuple
        return self._ids[row]

    def __iter__(self) -> Iterator[str]:
        return iter(self._ids)

    def __len__(self) -> int:
        return len(self._ids)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ItemIds) and self._ids == other._ids

    def __hash__(self) -> int:
        return hash(self._ids)

    def __repr__(self) -> str:
        return f"ItemIds({len(self)} items: {examples(self._ids)})"


def item_id_problem(item_id: object) -> str | None:
    """Say what makes a value unusable as an item_id, or None when it is fine.

    >>> item_id_problem("mug-1") is None
    True
    >>> item_id_problem(" ")
    'blank item_id'
    """
    if not isinstance(item_id, str):
        return f"item_id of type {type(item_id).__name__} instead of str"
    if not item_id.strip():
        return "blank item_id"
    if len(item_id) > LONGEST_ITEM_ID:
        return f"item_id longer than {LONGEST_ITEM_ID} characters"
    if not item_id.isprintable():
        return "item_id with control characters"
    return None
