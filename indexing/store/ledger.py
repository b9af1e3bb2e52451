"""What a store knows of each content, in some 300 bytes: a catalogue of millions must fit beside the model."""

import hashlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from indexing.filesystem.checked_files import HASH_BYTES
from indexing.media.files import Modality

_ROW_BITS = 32
_HASH = re.compile(rf"[0-9a-f]{{{2 * HASH_BYTES}}}")


class LedgerEntry(NamedTuple):
    """The content in one slot of an item: its hash, why it is quarantined (empty if encoded), and where in its file."""

    digest: str
    reason: str
    label: str


class Ledger:
    """Which content each item has in each slot, and in which shard and row the vector of each content is.

    Names and hashes are kept as 128-bit digests in few large objects instead of as strings in many small ones.
    """

    def __init__(self) -> None:
        self._slots: dict[bytes, int] = {}
        self._positions: dict[bytes, int] = {}
        self._digests = bytearray()
        self._current = bytearray()
        self._notes: dict[int, LedgerEntry] = {}  # what a digest alone does not say, of those few that need it
        self._last_part: dict[tuple[str, Modality], int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def begin_run(self) -> None:
        """Forget for now what is known of items, until it is touched again; vectors stay known."""
        self._current = bytearray(len(self._slots))

    def add(self, item_id: str, modality: Modality, part: int, known: LedgerEntry, shard: int, line: int) -> None:
        """Note the content at a place of an item, and where its vector is; it replaces what was noted there."""
        slot = self._slots.setdefault(_slot_key(item_id, modality, part), len(self._slots))
        if slot == len(self._current):
            self._digests += bytes(HASH_BYTES)
            self._current.append(1)
        self._current[slot] = 1
        plain = _hash_bytes(known.digest)
        self._digests[slot * HASH_BYTES : (slot + 1) * HASH_BYTES] = plain or bytes(HASH_BYTES)
        if known.reason or known.label or plain is None:
            self._notes[slot] = known
        else:
            self._notes.pop(slot, None)
        if part:
            self._last_part[item_id, modality] = max(part, self._last_part.get((item_id, modality), 0))
        if not known.reason:
            self._positions[_content_key(modality, known.digest)] = shard << _ROW_BITS | line

    def touch(self, item_id: str, modality: Modality, part: int) -> None:
        """Note that an item still has the same content in a slot."""
        self._current[self._slots[_slot_key(item_id, modality, part)]] = 1

    def in_any_run(self, item_id: str, modality: Modality, part: int) -> LedgerEntry | None:
        """Return the entry of a slot, of this run or an earlier one."""
        slot = self._slots.get(_slot_key(item_id, modality, part))
        return None if slot is None else self._at(slot)

    def in_this_run(self, item_id: str, modality: Modality, part: int) -> LedgerEntry | None:
        """Return the entry of a slot of this run."""
        slot = self._slots.get(_slot_key(item_id, modality, part))
        return None if slot is None or not self._current[slot] else self._at(slot)

    def parts_of_item(self, item_id: str, modality: Modality) -> Iterator[tuple[int, LedgerEntry]]:
        """Return the parts of an item in this run, in order."""
        for part in range(self._last_part.get((item_id, modality), 0) + 1):
            if (known := self.in_this_run(item_id, modality, part)) is not None:
                yield part, known

    def position(self, modality: Modality, digest: str) -> tuple[int, int] | None:
        """Return shard and row of the vector of a content."""
        position = self._positions.get(_content_key(modality, digest))
        return None if position is None else (position >> _ROW_BITS, position & (1 << _ROW_BITS) - 1)

    def reasons(self) -> Iterator[str]:
        """Return the reason of everything that is quarantined."""
        return (known.reason for slot, known in self._notes.items() if known.reason and self._current[slot])

    def _at(self, slot: int) -> LedgerEntry:
        note = self._notes.get(slot)
        return note or LedgerEntry(self._digests[slot * HASH_BYTES : (slot + 1) * HASH_BYTES].hex(), "", "")


def _slot_key(item_id: str, modality: Modality, part: int) -> bytes:
    text = f"{item_id}\0{modality}\0{part}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).digest()


def _content_key(modality: Modality, digest: str) -> bytes:
    plain = _hash_bytes(digest)
    return modality[:1].encode() + (digest.encode() if plain is None else plain)


def _hash_bytes(digest: str) -> bytes | None:
    """Return a hash as bytes, unless it is of a frame or there is none."""
    return bytes.fromhex(digest) if _HASH.fullmatch(digest) else None
