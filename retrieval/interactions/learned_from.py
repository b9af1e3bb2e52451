"""Hashes of the training interactions of a bundle, so that it is not evaluated on them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from indexing.arrays import Rows, lengths_of
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, LeakError, examples
from indexing.filesystem.checked_files import read_as
from indexing.filesystem.id_table import hashes_of
from retrieval.interactions.histories import History

LEARNED_FROM = "learned_from.safetensors"
MAX_HASHES = 65_536  # stored, 512 KB: of more pairs a sample, those with the lowest hashes
FIRST = 3  # items that identify a user without a name
_WHOLE = 2**64 - 1

Hashes = NDArray[np.uint64]
Pair = tuple[str, str]


class _Sketch(NamedTuple):
    """A set of pairs, or a sample of it that depends on the pairs alone.

    Attributes:
        hashes: (n,) uint64, ascending.
        below: Pairs with a higher hash are not in it.
    """

    hashes: Hashes
    below: int

    @classmethod
    def of(cls, hashes: Hashes) -> "_Sketch":
        hashes = np.unique(hashes)
        below = _WHOLE if len(hashes) <= MAX_HASHES else int(hashes[MAX_HASHES - 1])
        return cls(hashes[hashes <= np.uint64(below)], below)

    def matches(self, pairs: Sequence[Pair]) -> tuple[int, list[Pair]]:
        """Count the pairs that can be checked, and give those of them that are in the set."""
        first, second = (hashes_of((pair[side] for pair in pairs), len(pairs)) for side in (0, 1))
        hashes = _mixed(first, second)
        checked = hashes <= np.uint64(self.below)
        matched = checked & np.isin(hashes, self.hashes)
        return int(checked.sum()), [pairs[position] for position in np.flatnonzero(matched).tolist()]


@dataclass(frozen=True, eq=False)
class LearnedFrom:
    """The pairs of user and item in the training interactions.

    Attributes:
        by_user: Pairs of user_id and item_id.
        by_history: Pairs of the first three items of a history, and a later one: for users without a name.
    """

    by_user: _Sketch
    by_history: _Sketch

    @classmethod
    def of(cls, histories: Sequence[History], items: ItemIds) -> "LearnedFrom":
        """Hash the pairs of histories."""
        rows = np.concatenate([np.empty(0, np.int64), *(history.rows for history in histories)])
        known, positions = np.unique(rows, return_inverse=True)
        item_hashes = hashes_of((items[row] for row in known.tolist()), len(known))[positions]
        lengths = lengths_of(histories)
        users = hashes_of((history.user_id for history in histories), len(histories))
        starts = hashes_of((_start(history.rows, items) for history in histories), len(histories))
        is_later = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths) >= FIRST
        return cls(
            _Sketch.of(_mixed(np.repeat(users, lengths), item_hashes)),
            _Sketch.of(_mixed(np.repeat(starts, lengths)[is_later], item_hashes[is_later])),
        )

    def refuse(
        self, user_ids: Sequence[str], histories: Sequence[Rows], relevant: Sequence[Collection[str]], items: ItemIds
    ) -> None:
        """Check that relevant items are no training interactions.

        Args:
            user_ids: B names, of a log. Where they are the numbers of the queries, users are identified by the first
                items of their histories.
            histories: B arrays of rows, oldest first.
            relevant: For each user the relevant item_ids.
            items: The catalogue.

        Raises:
            LeakError: When some of them are.
        """
        numbered = all(name == str(number) for number, name in enumerate(user_ids))
        named = [(user, item) for user, ids in zip(user_ids, relevant, strict=True) for item in sorted(ids)]
        num_checked, matches = (0, []) if numbered else self.by_user.matches(named)
        if not matches:
            starts = [_start(history, items) if len(history) >= FIRST else "" for history in histories]
            pairs = [
                (first, item) for first, ids in zip(starts, relevant, strict=True) if first for item in sorted(ids)
            ]
            num_checked, matches = self.by_history.matches(pairs)
            # Other users may have the same first items and some of the same later ones, so a few matches are no leak.
            if 2 * len(matches) < num_checked or not num_checked:
                return
            matches = [(f"the user of {first.split(_SEPARATOR)}", item) for first, item in matches]
        raise LeakError(
            f"the bundle was trained on {len(matches)} of {num_checked} relevant interactions, e.g. "
            f"{examples(matches)}: this would measure memory",
            python="fit on the first part of hold_out_last alone, and evaluate on the second, or on later ones",
            cli="fit on the earlier part alone, with `commonspace fit BUNDLE LOG --hold-out 0.2` and the --split of "
            "this command, or evaluate on later ones",
        )

    def to_bytes(self) -> bytes:
        """Give everything as safetensors."""
        below = np.array([self.by_user.below, self.by_history.below], np.uint64)
        return save({"by_user": self.by_user.hashes, "by_history": self.by_history.hashes, "below": below})

    @classmethod
    def from_bytes(cls, data: bytes) -> "LearnedFrom":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("the hashes of training interactions", "fit again, or go back"):
            tensors = load(data)
            by_user, by_history = tensors["by_user"], tensors["by_history"]
            first, second = tensors["below"].tolist()
        if {by_user.dtype, by_history.dtype} != {np.dtype(np.uint64)} or (by_user.ndim, by_history.ndim) != (1, 1):
            raise DamagedFileError("the hashes of training interactions are damaged; fit again, or go back")
        return cls(_Sketch(by_user, int(first)), _Sketch(by_history, int(second)))


_SEPARATOR = "\x1f"


def _start(rows: Rows, items: ItemIds) -> str:
    return _SEPARATOR.join(items[row] for row in rows[:FIRST].tolist())


def _mixed(first: Hashes, second: Hashes) -> Hashes:
    """Mix the hashes of the two names of pairs (splitmix64)."""
    mixed = first * np.uint64(0x9E3779B97F4A7C15) + second
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    hashes: Hashes = mixed ^ (mixed >> np.uint64(31))
    return hashes
