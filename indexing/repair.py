"""Mend what can be mended of a bundle: which generation is in force, and its index, which is a cache of the vectors."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from indexing.bundle import Bundle
from indexing.changes import LOG, digest_of, names_between, read_batch
from indexing.compact import Learned
from indexing.errors import BundleError, DamagedFileError
from indexing.fusion import fuse
from indexing.generation import INDEX, Generation
from indexing.index import IndexConfig
from indexing.indexed import indexed
from indexing.lock import writing
from indexing.manifest import MANIFEST, Manifest
from indexing.publish import Content, last_number, publish
from indexing.rollback import generations
from indexing.state import CURRENT, State, read_state, write_state
from indexing.verify import REBUILDABLE, REWRITTEN, Problem, verify


@dataclass(frozen=True)
class RepairReport:
    """What was done, and what is left.

    Attributes:
        done: One line for each thing that was mended.
        left: What could not be.
    """

    done: tuple[str, ...]
    left: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def repair(root: Path | str, learned: Callable[[Bundle], Learned], *, drop_changes: bool = False) -> RepairReport:
    """Mend a bundle as far as its vectors allow.

    A damaged CURRENT is written again for the newest whole generation; a damaged index is built again from the vectors,
    into a new generation. Of damaged vectors, attributes or learned parts it says what to do.

    Args:
        root: Folder of the bundle.
        learned: Opens what a bundle has learned.
        drop_changes: Give up the first change that is damaged or lost, and those after it.

    Raises:
        BundleError: When there is no bundle.
        BundleLockedError: When another process is writing to it.
    """
    root = Path(root)
    with writing(root):
        done: list[str] = []
        if any(problem.way_out == REWRITTEN for problem in verify(root)):
            done += _put_newest_in_force(root)
        if drop_changes:
            done += _dropped(root)
        done += _index_rebuilt(root, learned)
        return RepairReport(tuple(done), tuple(verify(root)))


def _put_newest_in_force(root: Path) -> list[str]:
    """Write CURRENT for the newest generation whose files are whole, its index apart."""
    for name in reversed(generations(root)):
        try:
            manifest = Generation.open(root / name, but=REBUILDABLE).manifest
        except BundleError:
            continue
        last = _last_whole(root, manifest.batches)
        write_state(root, State(name, last, digest_of(names_between(root, manifest.batches, last))))
        return [f"{CURRENT} names {name}, the newest whole generation, and the changes up to number {last}"]
    return []


def _last_whole(root: Path, after: int) -> int:
    """Give the number up to which all changes are whole."""
    last = after
    for number in range(after + 1, last_number(root) + 1):
        try:
            (name,) = names_between(root, number - 1, number)
            read_batch(root / LOG / name)
        except DamagedFileError:
            break
        last = number
    return last


def _dropped(root: Path) -> list[str]:
    state = read_state(root)
    if state is None:
        return []
    batches = Manifest.read(root / state.generation / MANIFEST).batches
    last = _last_whole(root, batches)
    digest = digest_of(names_between(root, batches, last))
    if (last, digest) == (state.last, state.digest):
        return []
    write_state(root, replace(state, last=last, digest=digest))
    return [f"the changes from number {last + 1} to {max(state.last, last + 1)} are given up"]


def _index_rebuilt(root: Path, learned: Callable[[Bundle], Learned]) -> list[str]:
    """Build the index of the generation in force again, if it is damaged and all else is whole."""
    state = read_state(root)
    damaged = {problem.path for problem in verify(root) if problem.serving}
    if state is None or not damaged & {f"{state.generation}/{name}" for name in REBUILDABLE}:
        return []
    try:
        generation = Generation.open(root / state.generation, but=REBUILDABLE)
    except BundleError:
        return []
    old, frozen = generation.manifest, generation.modality_vectors
    vectors = learned(Bundle(root, generation, state, ())).project(fuse(frozen))
    config = IndexConfig(**old.index["config"])
    index_files, index_section = indexed(frozen, vectors, config)
    files: dict[str, Content] = {record.name: generation.folder / record.name for record in old.files}
    publish(root, replace(old, index=index_section), {**files, **index_files})
    return [f"{INDEX} was built again from the vectors, into {_in_force(root)}"]


def _in_force(root: Path) -> str:
    state = read_state(root)
    return state.generation if state else ""
