"""Batches of changes to a bundle since its generation was made: whole files, numbered, named after their own bytes.

shop/log/000000000017-<sha256>.arrow     the 17th batch: item_ids taken out, then items put in

A batch counts once CURRENT says so. While it does not yet, an empty file beside it, 000000000017.pending, says that
nobody was told of it: what lies beyond CURRENT's last number without one was acknowledged, and is never removed.
CURRENT also holds a digest over the names of the batches in use, and a name holds the digest of the bytes: none can be
damaged, lost or swapped unnoticed.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from indexing.bundle.current import COPY, CURRENT, State, no_bundle_error, readable_states
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import REPAIR_HINT, read_as, read_whole
from indexing.media.files import Modality
from indexing.store.store import Parts, check_embeddings_table, check_table

LOG = "log"

_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})\.arrow")
_PENDING = re.compile(r"(\d{12})\.pending")
_SCHEMA = pa.schema(
    {
        "number": pa.int64(),
        "fingerprint": pa.string(),
        "removed": pa.list_(pa.string()),
        "embeddings": pa.large_binary(),
        "attributes": pa.large_binary(),
    }
)
_UPDATED = pa.field("updated", pa.large_binary())


@dataclass(frozen=True, eq=False)
class Batch:
    """Changes that take effect together.

    Attributes:
        number: Its place in the order, from 1.
        fingerprint: Of the encoder that made the embeddings.
        removed: The item_ids taken out first; every item that is put in is taken out before.
        embeddings: What became of each content of the items put in, as a table of the store's schema.
        attributes: One row per item put in: item_id, text columns and attributes.
        updated: One row per item that stays and has other values now: item_id, and columns in which a missing value
            leaves what was; None when there is none.
    """

    number: int
    fingerprint: str
    removed: tuple[str, ...]
    embeddings: pa.Table
    attributes: pa.Table
    updated: pa.Table | None = None

    @cached_property
    def item_ids(self) -> ItemIds:
        """The items put in, in order."""
        return ItemIds(self.attributes.column("item_id").to_pylist())

    def parts(self, modality: Modality, dim: int) -> Parts:
        """Return the vectors of one modality of the items put in, their rows counted from 0."""
        return Parts.of_table(self.embeddings, self.item_ids, modality, dim)

    def to_bytes(self) -> bytes:
        """Return the batch as an Arrow stream."""
        row = {
            "number": [self.number],
            "fingerprint": [self.fingerprint],
            "removed": [list(self.removed)],
            "embeddings": [_to_ipc(self.embeddings)],
            "attributes": [_to_ipc(self.attributes)],
        }
        if self.updated is None:
            return _to_ipc(pa.table(row, _SCHEMA))
        return _to_ipc(pa.table(row | {"updated": [_to_ipc(self.updated)]}, _SCHEMA.append(_UPDATED)))

    @classmethod
    def from_bytes(cls, data: bytes) -> "Batch":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("a batch of changes", REPAIR_HINT):
            packed = _from_ipc(data)
            if packed.schema not in (_SCHEMA, _SCHEMA.append(_UPDATED)) or packed.num_rows != 1:
                raise ValueError(f"it has columns {str(packed.schema.names)[:200]} and {packed.num_rows} lines")
            (row,) = packed.to_pylist()
            embeddings, attributes = (_from_ipc(row[name]) for name in ("embeddings", "attributes"))
            kind = embeddings.schema.field("vector").type
            check_embeddings_table(embeddings, kind.list_size)
            updated = _from_ipc(row["updated"]) if "updated" in row else None
            batch = cls(row["number"], row["fingerprint"], tuple(row["removed"]), embeddings, attributes, updated)
            batch._check()
            return batch

    def _check(self) -> None:
        """Check that all of it is of the items that it puts in.

        Raises:
            ValueError: When it is not.
        """
        ids = self.attributes.column("item_id")
        if ids.type != pa.string() or ids.null_count or self.number is None or self.fingerprint is None:
            raise ValueError("it has no number, no fingerprint or item_ids that are no texts")
        added = set(ids.to_pylist())
        if len(added) != len(ids) or None in self.removed:
            raise ValueError("an item is put in twice, or something without a name is taken out")
        if self.updated is not None:
            names = self.updated.column("item_id")
            if self.updated.column_names[0] != "item_id" or names.type != pa.string() or names.null_count:
                raise ValueError("it updates something without a name")
        if unexpected := set(self.embeddings.column("item_id").to_pylist()) - added:
            raise ValueError(f"it has vectors of {min(unexpected)!r:.60}, which it does not put in")


def write_batch(root: Path, batch: Batch) -> str:
    """Write a batch durably, without acknowledging it, and return its name; `clear_pending` is called once it is.

    What an interrupted writer left under this number is removed. The caller holds the lock of the bundle.

    Raises:
        DamagedFileError: When a batch of this number, or a later one, was acknowledged.
    """
    folder = root / LOG
    fsops.make_folder(folder)
    if (last := last_not_pending(root)) >= batch.number:
        raise DamagedFileError(
            f"{folder} has acknowledged changes up to number {last}, {CURRENT} has not; {REPAIR_HINT}"
        )
    mark_pending(root, batch.number)
    for path in folder.iterdir():
        if batch_number(path) >= batch.number:
            fsops.remove(path)
    data = batch.to_bytes()
    name = f"{batch.number:012d}-{hashlib.sha256(data).hexdigest()[:32]}.arrow"
    fsops.write_bytes(folder / name, data)
    return name


def mark_pending(root: Path, number: int) -> None:
    """Note, before a batch is written, that nobody was told of it yet."""
    fsops.write_bytes(_pending(root, number), b"")


def clear_pending(root: Path, number: int) -> None:
    """Note that the batches up to a number are acknowledged."""
    for path in (root / LOG).glob("*.pending"):
        if (match := _PENDING.fullmatch(path.name)) and int(match[1]) <= number:
            with suppress(OSError):  # CURRENT says it too
                fsops.remove(path)


def last_not_pending(root: Path) -> int:
    """Return the largest number of a batch of which nothing says that it was never acknowledged; 0 for none."""
    folder = root / LOG
    # In this order: a writer notes that a batch is pending before it writes it.
    numbers = {batch_number(path) for path in (folder.iterdir() if folder.is_dir() else ())}
    pending = {int(match[1]) for path in folder.glob("*.pending") if (match := _PENDING.fullmatch(path.name))}
    return max(numbers - pending, default=0)


def _pending(root: Path, number: int) -> Path:
    return root / LOG / f"{number:012d}.pending"


def batches_between(root: Path, after: int, last: int) -> list[str]:
    """Return the names of the batches with numbers beyond ``after`` up to ``last``, in order.

    Raises:
        DamagedFileError: When one is missing.
    """
    if last <= after:
        return []
    folder = root / LOG
    paths = folder.iterdir() if folder.is_dir() else ()
    names_by_number = {batch_number(path): path.name for path in paths}
    missing = next((number for number in range(after + 1, last + 1) if number not in names_by_number), None)
    if missing is not None:  # the first: a number that nobody wrote may be large
        raise DamagedFileError(f"{folder} lacks batch {missing} of the changes; {REPAIR_HINT}")
    return [names_by_number[number] for number in range(after + 1, last + 1)]


def acknowledged(root: Path, state: State, after: int) -> list[str]:
    """Return the names of the acknowledged batches with numbers beyond ``after``, in order.

    Raises:
        DamagedFileError: When one is missing, or is not the one that was acknowledged.
    """
    start = min(after, state.contains)
    names = batches_between(root, start, state.last)
    if digest_of(names[state.contains - start :]) != state.digest:
        raise DamagedFileError(f"{root / LOG} holds other changes than {CURRENT} names; {REPAIR_HINT}")
    return names[after - start :]


def batch_number(path: Path) -> int:
    """Return the number in the name of a batch, 0 when it is none."""
    match = _NAME.fullmatch(path.name)
    return int(match[1]) if match else 0


def digest_of(names: Sequence[str]) -> str:
    """Return what the names of batches add up to.

    >>> digest_of([]), digest_of(["a"]) == digest_of(["b"])
    ('', False)
    """
    return hashlib.sha256("\n".join(names).encode()).hexdigest() if names else ""


def read_batch(path: Path) -> Batch:
    """Read one batch after comparing its bytes with its name.

    Raises:
        DamagedFileError: When they differ, or it is missing.
    """
    match = _NAME.fullmatch(path.name)
    data = read_whole(path)
    if match is None or hashlib.sha256(data).hexdigest()[:32] != match[2]:
        raise DamagedFileError(f"{path} is damaged: its bytes do not match its name; {REPAIR_HINT}")
    batch = Batch.from_bytes(data)
    if batch.number != int(match[1]):
        raise DamagedFileError(f"{path} says that it is batch {batch.number}; {REPAIR_HINT}")
    return batch


def remove_batches_up_to(root: Path, up_to: int) -> None:
    """Remove the batches that every kept generation contains."""
    folder = root / LOG
    for path in folder.iterdir() if folder.is_dir() else ():
        if 0 < batch_number(path) <= up_to:
            fsops.remove(path)


def _to_ipc(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _from_ipc(data: bytes) -> pa.Table:
    return check_table(pa.ipc.open_stream(pa.py_buffer(data)).read_all())


PENDING = "pending"


OUTDATED_HINT = "`commonspace repair` makes the newest state current, with every acknowledged change"


def why_outdated(root: Path) -> str | None:
    """Say what shows that CURRENT is older than what was acknowledged, or None when nothing does.

    Without the lock of the bundle it may be asked too: what CURRENT must have is read before CURRENT.
    """
    last_in_log = last_not_pending(root)
    published = last_published(root)
    copy = _state(root, COPY)
    state = _state(root, CURRENT)
    if state is None:  # missing or damaged, which is another matter
        return None
    if copy is not None and (copy.sequence > state.sequence or copy.last > state.last):
        return (
            f"{CURRENT} is older than {COPY}: it names {state.generation} and changes up to number {state.last}, the "
            f"copy {copy.generation} and changes up to number {copy.last}"
        )
    if published is not None and 0 < state.newest < published.sequence:
        return f"{CURRENT} is older than {published.generation}, which was current after {state.generation}"
    if last_in_log > state.last:
        return f"{CURRENT} is older than the log: it names changes up to number {state.last}, the log has {last_in_log}"
    return None


def last_published(root: Path) -> Manifest | None:
    """Return the manifest of the newest generation of which nothing says that it was never current."""
    # In this order: a writer notes that a generation is pending before it gives it its name.
    names = [folder.name for folder in root.glob("gen-*")]
    manifests = []
    for name in names:
        with suppress(BundleError):
            if not pending_mark(root, name).exists():
                manifests.append(Manifest.read(root / name / MANIFEST))
    return max(manifests, key=lambda manifest: manifest.sequence, default=None)


def pending_mark(root: Path, generation: str) -> Path:
    """Return the file that lies beside a generation from before it has its name until it became current."""
    return root / f"{PENDING}-{generation}"


def require_newest(root: Path) -> None:
    """Check that a bundle can be written to: changes that CURRENT does not know would be lost.

    Raises:
        DamagedFileError: When CURRENT is older than what was acknowledged.
    """
    if evidence := why_outdated(root):
        raise DamagedFileError(f"{root}: {evidence}; {OUTDATED_HINT}")


def require_bundle(root: Path) -> None:
    """Check that a folder is a bundle, before a lock or anything else is put there.

    Raises:
        BundleError: When it is none.
    """
    if not any((root / name).exists() for name in (CURRENT, COPY)) and not any(root.glob("gen-*")):
        raise no_bundle_error(root)


def _state(root: Path, name: str) -> State | None:
    return next((state for state in readable_states(root, (name,))), None)
