"""Write a generation, make it current, and collect those that nobody needs any more."""

import hashlib
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import (
    LOG,
    PENDING,
    acknowledged,
    batch_number,
    digest_of,
    last_not_pending,
    pending_mark,
    remove_batches_up_to,
    require_newest,
)
from indexing.bundle.current import State, read_state, readable_states, write_state
from indexing.bundle.generation import generations
from indexing.bundle.manifest import FORMAT_VERSION, MANIFEST, Manifest
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.file_checks import FileRecord
from indexing.filesystem.locks import is_unread, write_lock
from indexing.index.tuning.recall import HeldOutQueries
from indexing.index.tuning.sample_queries import SampleQueries
from indexing.store.collect import ModalityVectors

NUM_KEPT_GENERATIONS = 3
UNFINISHED, COMPACTING, FITTING = "unfinished", "compacting", "fitting"
NO_TIMEOUT = -1.0

Content: TypeAlias = bytes | Path | Callable[[Path], str]
"""Bytes to write, an immutable file to link to, or a function that writes the path it is given and gives its sha256."""


def publish(root: Path, manifest: Manifest, files: Mapping[str, Content]) -> None:
    """Write a new generation and make it current. The caller holds the lock of the bundle.

    Args:
        root: Folder of the bundle.
        manifest: All but ``generation``, ``created`` and ``files``, which are filled in here.
        files: For each name the bytes to write, an immutable file to link to, or a function that writes the path.
    """
    make_current(root, prepare(root, manifest, files))


def work_folder(root: Path, kind: str = UNFINISHED) -> Path:
    """Return the folder for files that a new generation will link to.

    Making a generation current removes that of ``unfinished``, also what a killed process left; who prepares another
    kind removes it.
    """
    return root / f"{kind}-gen-files"


def prepare(
    root: Path,
    manifest: Manifest,
    files: Mapping[str, Content],
    kind: str = UNFINISHED,
    compacts: Sequence[str] = (),
) -> Path:
    """Write a new generation under a temporary name, and return its folder; see `publish`.

    ``compacts`` names what it is a compaction of, as its manifest says then; whatever the given one says.
    """
    now = datetime.now(UTC)
    generation = f"gen-{now:%Y%m%dt%H%M%S%fz}-{secrets.token_hex(4)}"
    folder = root / f"{kind}-{generation}"
    fsops.require_space(root, sum(len(content) for content in files.values() if isinstance(content, bytes)))
    try:
        fsops.make_folder(folder)
        records = tuple(_write_file(folder, name, files[name]) for name in sorted(files))
        complete = replace(
            manifest,
            generation=generation,
            created=now.isoformat(timespec="seconds"),
            files=records,
            sequence=1 + last_sequence(root),
            format_version=FORMAT_VERSION,
            compacts=tuple(compacts),
        )
        fsops.write_bytes(folder / MANIFEST, complete.to_bytes())
    except BaseException:  # on a full disk every byte counts
        fsops.remove(folder)
        raise
    return folder


def _write_file(folder: Path, name: str, content: Content) -> FileRecord:
    """Write one file of a generation, and return its record."""
    path = folder / name
    fsops.make_folder(path.parent)
    if isinstance(content, bytes):
        fsops.write_bytes(path, content)
        digest = hashlib.sha256(content).hexdigest()
    elif isinstance(content, Path):
        fsops.link_or_copy(content, path)
        digest = fsops.sha256(path)
    else:
        digest = content(path)
    return FileRecord(name, path.stat().st_size, digest)


def make_current(root: Path, folder: Path) -> None:
    """Return what `prepare` wrote its name and make it current. The caller holds the lock of the bundle."""
    generation = folder.name.split("-", 1)[1]
    manifest = Manifest.read(folder / MANIFEST)
    batches = manifest.batches
    current = _readable_state(root)
    if batches < last_number(root):
        require_newest(root)
    # A generation that contains everything, as a new build does, needs nothing of the log: it may be damaged.
    pending = acknowledged(root, current, batches) if current and batches < current.last else []
    if current is None:
        state = State(generation, batches, batches, newest=manifest.sequence)
    else:
        state = replace(current, last=max(batches, current.last))
        state = state.succeeded_by(generation, batches, digest_of(pending), manifest.sequence)
    fsops.write_bytes(pending_mark(root, generation), b"")
    fsops.rename_folder(folder, root / generation)
    write_state(root, state)
    collect_garbage(root, state)


def may_follow(root: Path, base: str) -> bool:
    """Whether what was made of a generation may become current: that one is, or a compaction of it.

    A compaction differs by changes alone, which stay changes of what becomes current: they are kept as long as the
    generation is.

    Raises:
        BundleError: When the manifest of the current generation cannot be read.
    """
    state = read_state(root)
    if state is None or state.generation == base:
        return state is not None
    return base in generations(root) and base in Manifest.read(root / state.generation / MANIFEST).compacts


def renumber(root: Path, folder: Path) -> None:
    """Give what `prepare` wrote the next number, where others were made since. The caller holds the lock."""
    manifest = Manifest.read(folder / MANIFEST)
    last = replace(manifest, sequence=1 + last_sequence(root))
    if last != manifest:  # readers hold the file as it is
        fsops.write_bytes(folder / MANIFEST, last.to_bytes())


def make_current_when_unlocked(root: Path, folder: Path, generation: str, work: str) -> None:
    """Publish a generation that was prepared without the lock of a bundle, once nobody else is writing to it.

    What was added to the bundle meanwhile stays a change of the new generation, also where a compaction folded it in.

    Args:
        root: Folder of the bundle.
        folder: What `prepare` wrote; it is removed when it cannot be made current.
        generation: What it was made of.
        work: What made it, for the message.

    Raises:
        BundleError: When another generation became current meanwhile; that one stays.
    """
    try:
        with write_lock(root, wait=NO_TIMEOUT):  # what is being encoded may take its time: this was more work
            if not may_follow(root, generation):
                raise BundleError(f"{root} has got another generation during {work}; run it again if it is due")
            renumber(root, folder)
            make_current(root, folder)
    except BaseException:
        fsops.remove(folder)
        raise


def _readable_state(root: Path) -> State | None:
    try:
        return read_state(root)
    except DamagedFileError:
        return None


def last_number(root: Path) -> int:
    """Return the number of the last acknowledged batch of changes, or the largest there was when nobody can say."""
    if _readable_state(root):
        return max(last_not_pending(root), *(state.last for state in readable_states(root)))
    return max([*map(batch_number, (root / LOG).glob("*.arrow")), *_contained_batches(root)], default=0)


def _contained_batches(root: Path) -> list[int]:
    """Return the last batch that each generation contains, but for those that cannot be opened."""
    return [manifest.batches for manifest in _manifests(root)]


def last_sequence(root: Path) -> int:
    """Return the largest number that a generation had, which is not given again: `newest` compares them."""
    known = [state.newest for state in readable_states(root)]
    return max([*known, *(manifest.sequence for manifest in _manifests(root))], default=0)


def _manifests(root: Path) -> list[Manifest]:
    manifests = []
    for folder in root.glob("gen-*"):
        with suppress(BundleError):
            manifests.append(Manifest.read(folder / MANIFEST))
    return manifests


def collect_garbage(root: Path, state: State) -> None:
    """Remove what is unfinished, what was not current lately and nobody reads, and batches that all contain."""
    for unfinished_ in [*root.glob(f"{UNFINISHED}-gen-*"), *root.glob(f"{PENDING}-gen-*")]:
        fsops.remove(unfinished_)
    keep = {state.generation, *state.history[-(NUM_KEPT_GENERATIONS - 1) :]}
    for folder in sorted(folder for folder in root.glob("gen-*") if folder.name not in keep):
        remove_unread(root, folder)
    remove_batches_up_to(root, min(_contained_batches(root), default=0))


def remove_unread(root: Path, folder: Path) -> None:
    """Remove the folder of a generation, if nobody reads it."""
    with is_unread(folder / MANIFEST) as is_free:
        if is_free:
            # Half removed it must not be taken for a generation, should this end in between.
            unfinished = root / f"{UNFINISHED}-gen-{folder.name.partition('gen-')[2]}"
            fsops.rename_folder(folder, unfinished)
            fsops.remove(unfinished)


@dataclass(frozen=True)
class NewItems:
    """The M items of a new generation.

    Attributes:
        ids: Their item_ids, in row order.
        frozen: Their frozen vectors.
        attributes: Their attributes, one row per item.
        sample: So many queries of each kind the index is tuned on.
        queries: Those that were given to the build.
    """

    ids: ItemIds
    frozen: ModalityVectors
    attributes: pa.Table
    sample: int
    queries: SampleQueries = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class CarriedOver:
    """The learned parts of a bundle, carried over to other items.

    Attributes:
        vectors: (M, E) float32, the vectors to index.
        queries: Held-out queries of each kind.
        files: The learned files.
        learned: Its section of the manifest.
        features: The learned parts.
    """

    vectors: Vectors
    queries: HeldOutQueries
    files: Mapping[str, bytes]
    learned: Mapping[str, Any]
    features: tuple[str, ...]


Carry: TypeAlias = Callable[[Bundle, NewItems], CarriedOver]


def bundle_to_carry_over(root: Path, fingerprint: str, carry: Carry | None, *, drop: bool) -> Bundle | None:
    """Open the bundle whose learned parts a new build takes over; None when it has none, or these are dropped.

    Raises:
        BundleError: When what was learned would be lost, and nobody said that it may be.
    """
    try:
        state = read_state(root)
        manifest = None if state is None else Manifest.read(root / state.generation / MANIFEST)
    except BundleError:  # what cannot be read is built anew
        return None
    if drop or manifest is None or not manifest.features:
        return None
    learned = f"{root} has learned {', '.join(manifest.features)}"
    if manifest.encoder.fingerprint != fingerprint:
        raise _would_be_lost(
            f"{learned} in the space of {manifest.encoder.name!r}, which is not that of the encoder given"
        )
    if carry is None:
        raise _would_be_lost(learned, "give carry=retrieval.carry_over to keep that, or ")
    try:
        return Bundle.open(root)
    except BundleError as error:
        raise _would_be_lost(f"{learned}, but cannot be opened: {error}") from error


def _would_be_lost(message: str, python_hint: str = "") -> BundleError:
    return BundleError(
        message,
        python=f"{python_hint}drop_learned=True to build without it and fit again",
        cli="build with --drop-learned, and fit again",
    )
