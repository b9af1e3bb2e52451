"""The two names of an item: its item_id (public, a string) and its row (internal, int64)."""

import re
import string
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from difflib import get_close_matches
from itertools import chain
from operator import index

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.arrays import Mask, Rows
from indexing.catalogue.arrow_values import require_utf8
from indexing.errors import InputError, UnknownItemError, examples
from indexing.filesystem.id_table import HASHED_ROWS, HASHES, IdsInMemory, IdTable, MappedIds, hashes_of, same_ids
from indexing.runtime.arguments import check_iterable, check_kind

MAX_ITEM_ID_LENGTH = 512
_MAX_COMPARED = 5_000  # ids that are compared one by one with one that is not known
_MAX_EDITED = 64  # characters of an id of which others are made by one edit
_CHARACTERS = f"{string.ascii_letters}{string.digits}-_./ "  # that an edit may put into an id


class ItemIds(Sequence[str]):
    """The item_ids of a bundle in row order; row ``i`` is item ``ids[i]``, and the length is the number of rows.

    >>> ids = ItemIds(["mug-1", "cup-7", "shoe-3"])
    >>> ids.rows(["shoe-3", "mug-1"])
    array([2, 0])
    >>> ids[1]
    'cup-7'
    """

    def __init__(self, item_ids: Iterable[str]) -> None:
        ids = tuple(check_iterable(item_ids, "item_ids"))
        _check(ids)
        self._table: IdTable = IdsInMemory(ids)  # the large table, which is shared
        self._added: tuple[str, ...] = ()
        self._changed_rows: dict[str, int | None] = {}  # what has changed since

    @classmethod
    def of_table(cls, table: MappedIds) -> "ItemIds":
        """Return the item_ids of a table, which were checked when it was made."""
        ids = cls(())
        ids._table = check_kind(table, MappedIds, "table", "give the MappedIds of a bundle")
        return ids

    def changed(self, *changes: tuple[Iterable[str], Sequence[str]]) -> "ItemIds":
        """Return these items after changes, each of which takes some out and then puts others in at the end.

        No row moves. An item that is put in again has its new row; the old one stays and is no longer live.

        >>> changed_ids = ItemIds(["a", "b"]).changed(([], ["a"]), (["b"], ["c"]))
        >>> changed_ids.rows(["a", "c"]), changed_ids.is_live.tolist(), "b" in changed_ids
        (array([2, 3]), [False, False, True, True], False)
        """
        changed_ids = copy(self)
        changed_ids._changed_rows = dict(self._changed_rows)
        added_ids, count = list(self._added), len(self._table)
        for removed, added in changes:
            if not isinstance(added, ItemIds):  # which were checked when they were made
                _check(added)
            changed_ids._changed_rows.update(dict.fromkeys(removed))
            start = count + len(added_ids)
            changed_ids._changed_rows.update({item_id: row for row, item_id in enumerate(added, start=start)})
            added_ids += added
        changed_ids._added = tuple(added_ids)
        return changed_ids

    @property
    def is_live(self) -> Mask:
        """(N,) bool: the rows that hold an item, all but those taken out or put in again."""
        is_live: Mask = np.ones(len(self), np.bool_)
        is_live[len(self._table) :] = False
        old_rows = self._table.rows(list(self._changed_rows))
        is_live[old_rows[old_rows >= 0]] = False
        is_live[[row for row in self._changed_rows.values() if row is not None]] = True
        return is_live

    def row(self, item_id: object) -> int | None:
        """Return the row of an item, or None when it is not among these."""
        if not isinstance(item_id, str):
            return None
        return self._changed_rows[item_id] if item_id in self._changed_rows else self._table.row(item_id)

    def rows(self, item_ids: Iterable[str]) -> Rows:
        """Return the row of each item_id.

        Raises:
            UnknownItemError: When an id is not among these items.
        """
        requested = list(check_iterable(item_ids, "item_ids"))
        rows = self.find(requested)
        if (rows < 0).any():
            unknown = [requested[position] for position in np.flatnonzero(rows < 0)]
            as_text = [item for item in unknown if not isinstance(item, str) and str(item) in self]
            if as_text:
                verb = "is" if len(as_text) == 1 else "are"
                raise UnknownItemError(
                    f"item ids are texts: {examples(as_text)} {verb} not in this bundle, but "
                    f"{examples(map(str, as_text))} {verb}; give text"
                )
            raise UnknownItemError(
                f"{len(unknown)} of {len(requested)} item ids are not in this bundle, e.g. {examples(unknown)}"
                f"{self.suggestion(unknown[0])}",
                python="check their spelling, or put the items in with add()",
                cli="check their spelling, or put the items in with `commonspace add`",
                http="check their spelling",
            )
        return rows

    def find(self, item_ids: Iterable[object]) -> Rows:
        """Return the row of each item_id, -1 where it is not among these items: (len(item_ids),) int64."""
        requested = list(check_iterable(item_ids, "item_ids"))
        if not all(isinstance(item_id, str) for item_id in requested):
            return np.array([-1 if (row := self.row(item_id)) is None else row for item_id in requested], np.int64)
        rows = self._table.rows(requested)
        for position, item_id in enumerate(requested) if self._changed_rows else ():
            if item_id in self._changed_rows:
                row = self._changed_rows[item_id]
                rows[position] = -1 if row is None else row
        return rows

    def suggestion(self, item_id: object) -> str:
        """Ask whether one that is spelled much alike was meant, where there is one; empty otherwise.

        Of many items it is one that differs by a single character, by two that changed places, or by its case: these
        are made of the id and looked up, as comparing all of them would take seconds.
        """
        text = str(item_id)
        if len(self) > _MAX_COMPARED:
            spelled = [text.lower(), text.upper(), text.capitalize()]
            close = self.known([*spelled, *one_edit_from(text)] if len(text) <= _MAX_EDITED else spelled)
            return f"; did you mean {close[0]!r}?" if close else ""
        candidates = (known_id for known_id in self if abs(len(known_id) - len(text)) <= 2)
        folded = {known_id.casefold(): known_id for known_id in candidates if known_id in self}
        close = get_close_matches(text.casefold(), folded, n=1, cutoff=0.75)
        return f"; did you mean {folded[close[0]]!r}?" if close else ""

    def known(self, item_ids: Iterable[str]) -> list[str]:
        """Keep those ids that are among these items, in the order given."""
        requested = list(check_iterable(item_ids, "item_ids"))
        return [item_id for item_id, row in zip(requested, self.find(requested).tolist(), strict=True) if row >= 0]

    def __contains__(self, item_id: object) -> bool:
        return self.row(item_id) is not None

    def __getitem__(self, row):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204 - int or slice, as in tuple
        count = len(self._table)
        if isinstance(row, slice):
            start, stop, step = row.indices(len(self))
            if step != 1:
                return tuple(self[position] for position in range(start, stop, step))
            ids = tuple(self._table.slice(min(start, count), min(stop, count)))
            return ids + self._added[max(start - count, 0) : max(stop - count, 0)]
        position = index(row)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return self._table[position] if position < count else self._added[position - count]

    def __iter__(self) -> Iterator[str]:
        return chain(self._table, self._added)

    def __len__(self) -> int:
        return len(self._table) + len(self._added)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, ItemIds)
            and len(self) == len(other)
            and self._changed_rows == other._changed_rows
            and (self._added == other._added and same_ids(self._table, other._table))
        )

    def __hash__(self) -> int:
        return hash((len(self), *self[:1], *self[-1:]))

    def __repr__(self) -> str:
        return f"ItemIds({len(self)} items: {examples(self[:4])})"


def sampled_rows(ids: ItemIds, size: int, among: Mask) -> Rows:
    """Return rows that are drawn by the hashes of their item_ids, the smallest first: (min(size, n),), ascending.

    They are the same on every machine and in every state: one item more or less changes at most one of them.

    Args:
        ids: N items.
        size: How many.
        among: (N,) bool, the n rows that may be drawn: no item is in two of them.

    >>> ids = ItemIds(map(str, range(9)))
    >>> more = ids.changed(([], ["9"]))
    >>> [[one[row] for row in sampled_rows(one, 3, one.is_live)] for one in (ids, more)]
    [['2', '3', '6'], ['3', '6', '9']]
    """
    if np.count_nonzero(among) <= size:
        return np.flatnonzero(among)
    start, table = len(ids._table), ids._table.by_hash
    length = size
    while True:  # of the whole table as little as is needed
        rows = np.minimum(table[HASHED_ROWS, :length], np.uint64(max(start, 1) - 1)).astype(np.int64)
        is_drawn = among[rows]
        if length >= start or np.count_nonzero(is_drawn) >= size:
            break
        length *= 4
    added = start + np.flatnonzero(among[start:])
    hashes = hashes_of((ids._added[row - start] for row in added), len(added))
    hashes = np.concatenate([table[HASHES, :length][is_drawn], hashes])
    drawn = np.concatenate([rows[is_drawn], added])[np.argsort(hashes, kind="stable")[:size]]
    return np.sort(drawn)


def _check(item_ids: Sequence[str]) -> None:
    if problems := [item_id for item_id in item_ids if item_id_problem(item_id)]:
        raise InputError(f"{item_id_problem(problems[0])}: {examples(problems)}; give each item a usable item_id")
    if len(set(item_ids)) != len(item_ids):
        seen: set[str] = set()
        duplicates = [i for i in item_ids if i in seen or seen.add(i)]  # type: ignore[func-returns-value]
        raise InputError(
            f"{len(duplicates)} item ids appear more than once, e.g. {examples(duplicates)}; make them unique"
        )


def one_edit_from(text: str) -> Iterator[str]:
    """Give what becomes of a text by one edit: two characters change places, one is left out, another, or put in.

    >>> {"ba", "a", "cb", "acb"} <= set(one_edit_from("ab"))
    True
    """
    yield from (text[:at] + text[at + 1] + text[at] + text[at + 2 :] for at in range(len(text) - 1))
    yield from (text[:at] + text[at + 1 :] for at in range(len(text)))
    characters = dict.fromkeys(text + _CHARACTERS)
    yield from (text[:at] + other + text[at + 1 :] for at in range(len(text)) for other in characters)
    yield from (text[:at] + other + text[at:] for at in range(len(text) + 1) for other in characters)


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
    if len(item_id) > MAX_ITEM_ID_LENGTH:
        return f"item_id longer than {MAX_ITEM_ID_LENGTH} characters"
    if not item_id.isprintable():
        return "item_id with control characters"
    return None


_DECIMAL = re.compile(r"(-?\d+)\.0+")
_WHOLE = re.compile(r"-?\d+")


def id_texts(column: pa.Array | pa.ChunkedArray, name: str) -> pa.Array:
    """Return ids as strings, null where there is none.

    Text stays as it is written. Floating and decimal numbers are taken where they are whole, which is how pandas keeps
    whole numbers beside missing ones, and databases those of a NUMBER column; what is not finite is missing.

    Raises:
        InputError: When the column holds something else, or a number that is not whole; names the first one.

    >>> id_texts(pa.array([7.0, None, float("nan")]), "item_id").to_pylist()
    ['7', None, None]
    """
    values = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    kind = values.type
    if _is_text(kind):
        require_utf8(values, name)
    if pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_finite(values), values, None)
        _check_whole(values, pc.equal(pc.floor(values), values), name)
        return pc.cast(values, pa.int64(), safe=False).cast(pa.string())
    if pa.types.is_decimal(kind):
        values = values.cast(pa.decimal128(kind.precision, kind.scale)) if kind.bit_width < 128 else values
        _check_whole(values, pc.equal(pc.floor(values), values), name)
        return pa.array([None if value is None else str(int(value)) for value in values.to_pylist()], pa.string())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        raise InputError(f"column {name!r} holds bytes ({kind}), which are no ids; write them as text")
    if not (_is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        raise InputError(f"column {name!r} of type {kind} cannot hold ids; give text or whole numbers")
    return values.cast(pa.string())


def without_decimal_zero(ids: pa.Array) -> pa.Array | None:
    """Write ids without ``.0`` where all of them have it; None where they have not.

    That is how pandas writes whole numbers to text as soon as one of them is missing.

    >>> without_decimal_zero(pa.array(["1.0", None, "12.0"])).to_pylist(), without_decimal_zero(pa.array(["1.0", "2"]))
    (['1', None, '12'], None)
    """
    if ids.null_count == len(ids) or not pc.all(pc.match_substring_regex(ids, r"^-?\d+\.0$")).as_py():
        return None
    return pc.replace_substring_regex(ids, r"\.0$", "")


def other_spelling(item_id: str) -> str | None:
    """Return the other spelling of a whole number as an id, ``"1"`` for ``"1.0"`` and vice versa; None for other ids.

    >>> other_spelling("1.0"), other_spelling("1"), other_spelling("v1.0")
    ('1', '1.0', None)
    """
    if match := _DECIMAL.fullmatch(item_id):
        return match[1]
    return f"{item_id}.0" if _WHOLE.fullmatch(item_id) else None


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_whole(values: pa.Array, whole: pa.Array, name: str) -> None:
    """Check that numbers are whole, and small enough for that to be certain."""
    not_whole = pc.fill_null(pc.invert(whole), False)
    if pa.types.is_floating(values.type):
        not_whole = pc.or_(not_whole, pc.fill_null(pc.greater(pc.abs(values), 2.0**53), False))
    if pc.any(not_whole).as_py():
        row = pc.index(not_whole, True).as_py()
        raise InputError(
            f"column {name!r} of type {values.type} cannot hold ids: {values[row].as_py()} in row {row} (from 0) is no "
            "whole number that it can hold exactly; write ids as text"
        )
