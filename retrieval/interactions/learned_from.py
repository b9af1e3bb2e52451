"""What a bundle has learned from, kept as hashes: an evaluation on the same interactions would measure memory."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from indexing.arrays import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, LeakError, examples
from indexing.filesystem.checked_files import read_as
from retrieval.interactions.histories import History

LEARNED_FROM = "learned_from.safetensors"
MOST = 65_536  # hashes kept, 512 KB: of more pairs a sample, those with the lowest hashes
FIRST = 3  # items by which a user is known who has no name
_WHOLE = 2**64 - 1

Hashes = NDArray[np.uint64]
Pair = tuple[str, str]


class _Sketch(NamedTuple):
    """A set of pairs, or a sample of it that depends on the pairs alone.

    Attributes:
        hashes: (n,) uint64, ascending.
        below: Pairs with a higher hash are not kept.
    """

    hashes: Hashes
    below: int

    @classmethod
    def of(cls, pairs: Iterable[Pair]) -> "_Sketch":
        hashes = np.unique(_hashes(list(pairs)))
        below = _WHOLE if len(hashes) <= MOST else int(hashes[MOST - 1])
        return cls(hashes[hashes <= np.uint64(below)], below)

    def met(self, pairs: Sequence[Pair]) -> tuple[int, list[Pair]]:
        """Say how many of some pairs can be judged, and which of these are in the set."""
        hashes = _hashes(pairs)
        judged = hashes <= np.uint64(self.below)
        known = judged & np.isin(hashes, self.hashes)
        return int(judged.sum()), [pairs[place] for place in np.flatnonzero(known).tolist()]


@dataclass(frozen=True, eq=False)
class LearnedFrom:
    """Which pairs of a user and an item were learned from.

    Attributes:
        by_user: Pairs of user_id and item_id.
        by_history: Pairs of the first three items of a history, and a later one: for users whose name is not given.
    """

    by_user: _Sketch
    by_history: _Sketch

    @classmethod
    def of(cls, pasts: Sequence[History], items: ItemIds) -> "LearnedFrom":
        """Keep what is in histories."""
        named = ((past.user_id, items[row]) for past in pasts for row in past.rows.tolist())
        nameless = (
            (begun, items[row])
            for past in pasts
            if len(past) > FIRST
            for begun in (_begun(past.rows, items),)
            for row in past.rows[FIRST:].tolist()
        )
        return cls(_Sketch.of(named), _Sketch.of(nameless))

    def refuse(
        self, user_ids: Sequence[str], histories: Sequence[Rows], relevant: Sequence[Collection[str]], items: ItemIds
    ) -> None:
        """Check that what should be found was not learned from.

        Args:
            user_ids: B names; those of a log, or else users are known by the first items of their histories, as where
                the names are the numbers of the queries.
            histories: B arrays of rows, oldest first.
            relevant: For each user the item_ids that should be found.
            items: The catalogue.

        Raises:
            LeakError: When some of it was.
        """
        numbered = all(name == str(line) for line, name in enumerate(user_ids))  # nobody named them
        named = [(user, item) for user, ids in zip(user_ids, relevant, strict=True) for item in sorted(ids)]
        judged, met = (0, []) if numbered else self.by_user.met(named)
        if not met:
            begun = [_begun(past, items) if len(past) >= FIRST else "" for past in histories]
            pairs = [(first, item) for first, ids in zip(begun, relevant, strict=True) if first for item in sorted(ids)]
            judged, met = self.by_history.met(pairs)
            # Others may have begun alike, and gone on to some of the same: so few are no sign.
            if 2 * len(met) < judged or not judged:
                return
            met = [(f"the user of {first.split(_APART)}", item) for first, item in met]
        raise LeakError(
            f"the bundle has learned from {len(met)} of {judged} interactions that should be found, e.g. "
            f"{examples(met)}: what is measured is memory",
            python="fit on the first part of hold_out_last alone, and evaluate on the second, or on what came later",
            cli="fit on the earlier part alone, with `commonspace fit BUNDLE LOG --hold-out 0.2`, and evaluate with "
            "the same --hold-out and --split, or on what came later",
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
        with read_as("what was learned from", "fit again, or go back"):
            tensors = load(data)
            by_user, by_history = tensors["by_user"], tensors["by_history"]
            first, second = tensors["below"].tolist()
        if {by_user.dtype, by_history.dtype} != {np.dtype(np.uint64)} or (by_user.ndim, by_history.ndim) != (1, 1):
            raise DamagedFileError("what was learned from is no list of hashes; fit again, or go back")
        return cls(_Sketch(by_user, int(first)), _Sketch(by_history, int(second)))


_APART = "\x1f"


def _begun(rows: Rows, items: ItemIds) -> str:
    return _APART.join(items[row] for row in rows[:FIRST].tolist())


def _hashes(pairs: Sequence[Pair]) -> Hashes:
    """Hash pairs; each name is hashed once, and the hashes of a pair are mixed (splitmix64)."""
    known: dict[str, int] = {}
    first, second = (np.array([_of(pair[side], known) for pair in pairs], np.uint64) for side in (0, 1))
    mixed = first * np.uint64(0x9E3779B97F4A7C15) + second
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    found: Hashes = mixed ^ (mixed >> np.uint64(31))
    return found


def _of(name: str, known: dict[str, int]) -> int:
    if name not in known:
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        known[name] = int.from_bytes(digest, "little")
    return known[name]
