"""Matches the items of a log with those of a bundle, and names the likely cause of unknown ones."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.catalogue.item_ids import ItemIds, other_spelling
from indexing.errors import CommonspaceWarning, InputError, examples
from indexing.runtime.warn import warn
from retrieval.interactions.interactions import Interactions

_MAX_CHECKED = 1000  # unknown ids that are checked for a cause
_SHOWN = 3


class UnknownItemsWarning(CommonspaceWarning):
    """Interactions of a log are with items that the bundle lacks, and are left out.

    Args:
        message: With the first of these items.
        counts: The same without them, for those who may not know what a user took; as the message when empty.
    """

    def __init__(self, message: str = "", counts: str = "") -> None:
        super().__init__(message)
        self._counts = counts or message

    @property
    def impersonal(self) -> str:
        """How many items are unknown, not which."""
        return self._counts


@dataclass(frozen=True)
class KnownItems:
    """Counts of the interactions with known and unknown items.

    Attributes:
        interactions: Of the log.
        users: Of the log.
        unknown: Interactions with items that are not in the bundle; they are left out.
        unknown_items: Number of these items.
        unknown_users: Users who have such an interaction.
        users_left_out: Users who have only such interactions.
        examples: The first three of these items.
        cause: The likely cause.
        respelled: Interactions whose item is known under the other spelling of a whole number, as ``1`` for ``1.0``.
    """

    interactions: int
    users: int
    unknown: int = 0
    unknown_items: int = 0
    unknown_users: int = 0
    users_left_out: int = 0
    examples: tuple[str, ...] = ()
    cause: str = ""
    respelled: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        """Describe the unknown items in one or two sentences; "" without any."""
        return self._described(f", e.g. {examples(self.examples)}")

    @property
    def without_items(self) -> str:
        """The same without the items."""
        return self._described("")

    def _described(self, named: str) -> str:
        sentences = []
        if self.unknown:
            left = f", {self.users_left_out} of whom have no other" if self.users_left_out else ""
            sentences.append(
                f"{self.unknown} of {self.interactions} interactions, by {self.unknown_users} of {self.users} users"
                f"{left}, are with {self.unknown_items} items that are not in the bundle{named}; "
                f"they are left out. {self.cause}"
            )
        if self.respelled:
            sentences.append(
                f"{self.respelled} interactions write their item with or without .0; they are read as the bundle does."
            )
        return " ".join(sentences)


def known_row(items: ItemIds, item_id: str | None) -> int | None:
    """Give the row of an item, by its id or the other spelling of a whole number; None where there is neither.

    >>> known_row(ItemIds(["1", "2.0"]), "1.0"), known_row(ItemIds(["1", "1.0"]), "1.0")
    (0, 1)
    """
    if item_id is None:
        return None
    row = items.row(item_id)
    if row is None and (other := other_spelling(item_id)) is not None:
        return items.row(other)
    return row


def known_rows(item_ids: Sequence[str], items: ItemIds) -> Rows:
    """Return the row of each of N item_ids as `known_row` does: (N,) int64, -1 for what is not among the items."""
    return np.array([-1 if (row := known_row(items, item_id)) is None else row for item_id in item_ids], np.int64)


@dataclass(frozen=True, eq=False)
class LoggedItems:
    """The items of a log with their rows in a bundle, looked up once for all that reads both.

    Attributes:
        item_ids: M distinct item_ids as the log has them, in the order of first appearance.
        codes: (N,) int64, the position in ``item_ids`` of the item of each interaction.
        rows: (M,) int64, their rows in the bundle, -1 for those that it lacks.
        items: Of the bundle.
    """

    item_ids: list[str]
    codes: NDArray[np.int64]
    rows: Rows
    items: ItemIds

    @classmethod
    def of(cls, interactions: Interactions, items: ItemIds) -> "LoggedItems":
        """Look up the items of a log."""
        encoded = interactions.table["item_id"].combine_chunks().dictionary_encode()
        item_ids = encoded.dictionary.to_pylist()
        return cls(item_ids, encoded.indices.to_numpy().astype(np.int64), known_rows(item_ids, items), items)

    def as_in_bundle(self) -> list[str]:
        """Give the item_ids as the bundle writes them."""
        pairs = zip(self.item_ids, self.rows.tolist(), strict=True)
        return [name if row < 0 else self.items[row] for name, row in pairs]

    def counted(self, user_ids: pa.ChunkedArray, among: Mask | None = None) -> KnownItems:
        """Count what is known and unknown of the interactions of the users, or of some; the cause is of all.

        Args:
            user_ids: N user_ids, of the same log.
            among: (N,) bool, the interactions that count; all when None.
        """
        codes, named = self.codes, self.as_in_bundle()
        if among is not None:
            codes, user_ids = codes[among], user_ids.filter(pa.array(among))
        users = user_ids.combine_chunks().dictionary_encode()
        numbers, is_unknown = users.indices.to_numpy(), self.rows[codes] < 0
        changed = np.array([old != new for old, new in zip(self.item_ids, named, strict=True)], np.bool_)
        known = KnownItems(len(codes), len(users.dictionary), respelled=int(changed[codes].sum()))
        if not is_unknown.any():
            return known
        first = _first_seen(codes[is_unknown])
        with_unknown, with_known = (np.zeros(known.users, np.bool_) for _ in range(2))
        with_unknown[numbers[is_unknown]] = True
        with_known[numbers[~is_unknown]] = True
        return replace(
            known,
            unknown=int(is_unknown.sum()),
            unknown_items=len(first),
            unknown_users=int(with_unknown.sum()),
            users_left_out=int((~with_known).sum()),
            examples=tuple(self.item_ids[place] for place in first[:_SHOWN].tolist()),
            cause=self._likely_cause,
        )

    @cached_property
    def _likely_cause(self) -> str:
        missing = [self.item_ids[place] for place in np.flatnonzero(self.rows < 0).tolist()]
        return _cause(missing, self.items, any_known=bool(self.rows.max(initial=-1) >= 0))


def known_items(
    interactions: Interactions, items: ItemIds, logged: LoggedItems | None = None
) -> tuple[Interactions, KnownItems]:
    """Write the item_ids of a log as a bundle does, and say which are not in it.

    Args:
        interactions: The log; interactions with unknown items stay.
        items: The items of the bundle.
        logged: Those of the log, where they were looked up before.

    >>> log = pa.table({"user": ["ann", "ann", "bob"], "item": ["1.0", "7.0", "2.0"]})
    >>> read, known = known_items(Interactions.from_arrow(log), ItemIds(["1", "2"]))
    >>> read.table["item_id"].to_pylist(), known.unknown, known.examples
    (['1', '7.0', '2'], 1, ('7.0',))
    """
    logged = LoggedItems.of(interactions, items) if logged is None else logged
    known = logged.counted(interactions.table["user_id"])
    if known.respelled:
        interactions = _with_items(interactions, pa.array(logged.as_in_bundle(), pa.string()).take(logged.codes))
    return interactions, known


def check_known(
    interactions: Interactions, items: ItemIds, user_ids: Sequence[str] = (), logged: LoggedItems | None = None
) -> None:
    """Warn of interactions with items that a bundle lacks, which are left out of histories.

    Args:
        interactions: The log.
        items: The items of the bundle.
        user_ids: The users whose interactions count; all of the log when empty.
        logged: The items of the log, where they were looked up before.

    Raises:
        InputError: When no interaction of the log is with an item of the bundle.
    """
    logged = LoggedItems.of(interactions, items) if logged is None else logged
    if logged.rows.min(initial=0) >= 0:
        return
    users = interactions.table["user_id"]
    if logged.rows.max() < 0:
        raise InputError(no_known_item(logged.counted(users), items))
    asked = pc.is_in(users, value_set=pa.array(user_ids, pa.string())).to_numpy() if user_ids else None
    if (known := logged.counted(users, asked)).unknown:
        warn(UnknownItemsWarning(str(known), known.without_items), UnknownItemsWarning)


def no_known_item(known: KnownItems, items: ItemIds) -> str:
    """Say that no interaction is with an item of a bundle, and why that may be."""
    if not known.interactions:
        return "the log has no interactions; give one in which the users have some"
    return (
        f"no interaction in the log is with an item of this bundle: the log has {examples(known.examples)}, the bundle "
        f"{examples(items)}. {known.cause}"
    )


def _first_seen(positions: Rows) -> Rows:
    """Give the distinct values in the order of first appearance."""
    distinct, first = np.unique(positions, return_index=True)
    return distinct[np.argsort(first)]


def _with_items(interactions: Interactions, item_ids: pa.Array) -> Interactions:
    table = interactions.table
    place = table.schema.get_field_index("item_id")
    return replace(interactions, table=table.set_column(place, table.schema.field(place), item_ids))


def _cause(missing: Sequence[str], items: ItemIds, *, any_known: bool) -> str:
    """Name the likely cause of unknown item_ids."""
    sample = missing[:_MAX_CHECKED]
    if any(item_id.strip() in items for item_id in sample):
        return "The log has white space around these ids: strip it."
    folded = {item_id.casefold() for item_id in items}
    if any(item_id.casefold() in folded for item_id in sample):
        return "They are written in another case than in the bundle: write both alike."
    bare = {_bare(item_id) for item_id in items if item_id[:1] in "0123456789-"}
    if any(_bare(item_id) in bare for item_id in sample):
        return "Leading zeros or decimals differ from the bundle: write both alike, and ids as text."
    if not any_known:
        return f"Are these the item_ids that the bundle was built with, e.g. {examples(items)}?"
    return "Items that were deleted, or not added yet, are a common cause."


def _bare(item_id: str) -> str:
    """Give a number without leading zeros and decimals that are zero."""
    whole, _, decimals = item_id.partition(".")
    return whole.lstrip("0") if not decimals.strip("0") else item_id
