"""Write a generation, put it in force, and collect those that nobody needs any more."""

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from indexing import fsops
from indexing.changes import LOG, batch_number, digest_of, forget_batches, names_between
from indexing.errors import BundleError, DamagedFileError
from indexing.manifest import MANIFEST, FileRecord, Manifest
from indexing.reading import is_read
from indexing.state import State, read_state, write_state

KEPT_GENERATIONS = 3
UNFINISHED, COMPACTING = "unfinished", "compacting"

Content: TypeAlias = bytes | Path | Callable[[Path], str]
"""Bytes to write, an immutable file to link to, or a function that writes the path it is given and gives its sha256."""


def publish(root: Path, manifest: Manifest, files: Mapping[str, Content]) -> None:
    """Write a new generation and put it in force. The caller holds the lock of the bundle.

    Args:
        root: Folder of the bundle.
        manifest: All but ``generation``, ``created`` and ``files``, which are filled in here.
        files: For each name the bytes to write, an immutable file to link to, or a function that writes the path.
    """
    put_in_force(root, prepare(root, manifest, files))


def prepare(root: Path, manifest: Manifest, files: Mapping[str, Content], kind: str = UNFINISHED) -> Path:
    """Write a new generation under a temporary name, and give its folder; see `publish`."""
    now = datetime.now(UTC)
    generation = f"gen-{now:%Y%m%dt%H%M%S%fz}-{secrets.token_hex(4)}"
    folder = root / f"{kind}-{generation}"
    fsops.make_folder(folder)
    records = tuple(_written(folder, name, files[name]) for name in sorted(files))
    complete = replace(manifest, generation=generation, created=now.isoformat(timespec="seconds"), files=records)
    fsops.write_bytes(folder / MANIFEST, complete.to_bytes())
    return folder


def _written(folder: Path, name: str, content: Content) -> FileRecord:
    """Write one file of a generation, and give its record."""
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


def put_in_force(root: Path, folder: Path) -> None:
    """Give what `prepare` wrote its name and put it in force. The caller holds the lock of the bundle."""
    generation = folder.name.split("-", 1)[1]
    batches = Manifest.read(folder / MANIFEST).batches
    last = max(batches, last_number(root))
    state = State(generation, last, digest_of(names_between(root, batches, last)))
    fsops.rename_folder(folder, root / generation)
    write_state(root, state)
    collect_garbage(root)


def last_number(root: Path) -> int:
    """Give the number of the last acknowledged batch of changes, or the largest there is when nobody can say."""
    try:
        state = read_state(root)
    except DamagedFileError:
        state = None
    return state.last if state else max(map(batch_number, (root / LOG).glob("*.arrow")), default=0)


def collect_garbage(root: Path) -> None:
    """Remove unfinished generations, all but the newest few that nobody reads, and batches that all contain."""
    for folder in root.glob(f"{UNFINISHED}-gen-*"):
        fsops.remove(folder)
    state = read_state(root)
    current = state.generation if state else ""
    others = sorted(folder for folder in root.glob("gen-*") if folder.name != current)
    for folder in others[: -(KEPT_GENERATIONS - 1)]:
        if not is_read(folder / MANIFEST):
            # Half removed it must not be taken for a generation, should this end in between.
            unfinished = root / f"{UNFINISHED}-{folder.name}"
            fsops.rename_folder(folder, unfinished)
            fsops.remove(unfinished)
    contained = []
    for folder in root.glob("gen-*"):
        try:
            contained.append(Manifest.read(folder / MANIFEST).batches)
        except BundleError:  # one that cannot be opened needs no changes
            continue
    forget_batches(root, min(contained, default=0))
