"""What a bundle has in common with places in object storage: which state it pushed there or pulled from there last.

shop/TRANSFERS    for each place a number, the sha256 of that state as it was written there, and what it serves

A push continues the state that this names, so that nobody else's is lost; a pull replaces only what the place has.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexing.errors import DamagedFileError, MissingObjectError
from indexing.exchange.object_storage.base import ReadableObjects
from indexing.exchange.object_storage.state import PushedState, read_state_bytes
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import read_whole, seal, unseal_bytes

TRANSFERS = "TRANSFERS"
LOCK, ACTIVITY = "TRANSFERRING", "pushing or pulling"
_MAX_BYTES = 1_000_000
_STATE = {"number": int, "sha256": str, "served": str}
_SCHEMA = {"places": {"*": {"last": (_STATE,), "pending": (_STATE,)}}}


@dataclass(frozen=True)
class KnownState:
    """A state at a place: its number, the sha256 of its bytes, and what it serves, see `PushedState.served`."""

    number: int
    sha256: str
    served: str

    @classmethod
    def of(cls, state: PushedState) -> "KnownState":
        """Return what is kept of a state."""
        return cls(state.number, hashlib.sha256(state.to_bytes()).hexdigest(), state.served)


class TransferRecord:
    """What a bundle and one place have in common, kept in the folder of the bundle.

    Args:
        root: Folder of the bundle.
        objects: The place.

    Attributes:
        last: The state that was pushed or pulled last; None for none.

    Raises:
        DamagedFileError: When the file is damaged.
        StorageError: When a push was interrupted, and the place cannot say what became of it.
    """

    def __init__(self, root: Path, objects: ReadableObjects) -> None:
        self._root, self._url = root, objects.url
        place = self._places().get(self._url, {})
        self.last = _known(place.get("last"))
        if (pending := _known(place.get("pending"))) is not None:
            try:
                if hashlib.sha256(read_state_bytes(objects, pending.number)).hexdigest() == pending.sha256:
                    self.last = pending
            except MissingObjectError:  # it did not come to that
                pass

    def intend(self, state: KnownState) -> None:
        """Note a state before it is written to the place: a kill must not leave it unknown."""
        self._write(self.last, state)

    def agree(self, state: KnownState) -> None:
        """Note that the bundle and the place have a state in common, if that is not noted yet."""
        if state != self.last or self._places().get(self._url, {}).get("pending") is not None:
            self._write(state, None)
        self.last = state

    def _write(self, last: KnownState | None, pending: KnownState | None) -> None:
        place = {"last": last and asdict(last), "pending": pending and asdict(pending)}
        fsops.write_bytes(self._root / TRANSFERS, seal({"places": {**self._places(), self._url: place}}))

    def _places(self) -> Mapping[str, Any]:
        path = self._root / TRANSFERS
        if not path.exists():
            return {}
        hint = "delete it; a push or pull then asks for --supersede or --discard-local where it could lose something"
        places: Mapping[str, Any] = unseal_bytes(read_whole(path, _MAX_BYTES), str(path), hint, _SCHEMA)["places"]
        return places


def _known(entry: Mapping[str, Any] | None) -> KnownState | None:
    if entry is None:
        return None
    try:
        return KnownState(**entry)
    except TypeError as error:
        raise DamagedFileError(f"{TRANSFERS} of the bundle has one field too many ({error}); delete it") from error
