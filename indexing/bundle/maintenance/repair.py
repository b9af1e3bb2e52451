"""Mend what can be mended of a bundle: which state is in force, and its index, which is a cache of the vectors."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from indexing.bundle.bundle import Bundle, check_encoders
from indexing.bundle.change_log import (
    LOG,
    Batch,
    acknowledged,
    behind,
    digest_of,
    last_published,
    names_between,
    read_batch,
    require_bundle,
)
from indexing.bundle.current import CURRENT, State, read_state, readable_states, write_state
from indexing.bundle.generation import Generation, part_of
from indexing.bundle.index_files import indexed
from indexing.bundle.maintenance.compact import Learned, folded
from indexing.bundle.maintenance.rollback import generations
from indexing.bundle.maintenance.verify import REBUILDABLE, Problem, verify
from indexing.bundle.publish import Content, last_number, publish, work_folder
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.locks import writing
from indexing.runtime.arguments import check_flag, check_path


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

    A damaged or older CURRENT is written again from its copy, or else for the newest whole generation, with every
    acknowledged change; a
    damaged index is built again from the vectors, into a new generation. Of damaged vectors, attributes or learned
    parts it says what to do.

    Args:
        root: Folder of the bundle.
        learned: Opens what a bundle has learned.
        drop_changes: Give up the first change that is damaged or lost, and those after it.

    Raises:
        BundleError: When there is no bundle.
        BundleLockedError: When another process is writing to it.
    """
    root = check_path(root, "the folder of the bundle")
    check_flag(drop_changes, "drop_changes")
    require_bundle(root)
    with writing(root):
        done: list[str] = []
        steps = [partial(_put_in_force, root), partial(_index_rebuilt, root, learned)]
        if drop_changes:
            steps.insert(1, partial(_changes_dropped, root, learned))
        try:
            for step in steps:
                with suppress(BundleError):  # `verify` says below what is left
                    done += step()
        finally:
            if (left := work_folder(root)).exists():
                fsops.remove(left)
        return RepairReport(tuple(done), tuple(verify(root)))


def _put_in_force(root: Path) -> list[str]:
    """Write CURRENT again if it is damaged, older than what was acknowledged, or names a generation that is gone."""
    with suppress(DamagedFileError):
        if (state := read_state(root)) and state.generation in generations(root) and not behind(root):
            return []
    for state in _candidates(root):
        try:
            manifest = Generation.open(root / state.generation, but=REBUILDABLE).manifest
            batches = _whole(root, manifest.batches, state.last)
            check_encoders(root, manifest, batches)
        except BundleError:
            continue
        names = names_between(root, manifest.batches, state.last)
        newest = max(state.newest, manifest.sequence)
        write_state(root, replace(state, contains=manifest.batches, digest=digest_of(names), newest=newest))
        return [f"{CURRENT} names {state.generation} and the changes up to number {state.last}"]
    return []


def _candidates(root: Path) -> list[State]:
    """Give the states that may have been in force: of CURRENT and its copy, and one for each generation, newest first.

    Each with every change that there is.
    """
    last = last_number(root)
    found = [replace(state, last=max(last, state.last)) for state in readable_states(root)]
    made = last_published(root)
    if made is not None and found and 0 < found[0].newest < made.sequence:  # both are older than what was in force
        found.insert(0, found[0].succeeded_by(made.generation, 0, "", made.sequence))
    return [*found, *(State(name, 0, last) for name in reversed(generations(root)))]


def _whole(root: Path, after: int, last: int) -> tuple[Batch, ...]:
    """Read the batches up to the first that is damaged or lost."""
    batches: list[Batch] = []
    for number in range(after + 1, last + 1):
        try:
            (name,) = names_between(root, number - 1, number)
            batches.append(read_batch(root / LOG / name))
        except DamagedFileError:
            break
    return tuple(batches)


def _changes_dropped(root: Path, learned: Callable[[Bundle], Learned]) -> list[str]:
    """Fold the changes before the first damaged one into a new generation, which then needs none of the others.

    Their numbers are not used again: whoever followed them sees another generation, never other changes.
    """
    state = read_state(root)
    if state is None:
        return []
    last = last_number(root)
    batches = _whole(root, state.contains, last)
    with suppress(DamagedFileError):
        if len(acknowledged(root, state, state.contains)) == len(batches) and last == state.last:
            return []
    generation = Generation.open(root / state.generation)
    kept = Bundle(root, generation, state, batches)
    if batches:
        manifest, files = folded(kept, learned(kept), work_folder(root))
    else:
        manifest = generation.manifest
        files = {record.name: generation.folder / record.name for record in manifest.files}
    publish(root, replace(manifest, batches=last), files)
    return [f"the changes from number {state.contains + len(batches) + 1} to {last} are given up"]


def _index_rebuilt(root: Path, learned: Callable[[Bundle], Learned]) -> list[str]:
    """Build the index of the generation in force again, if it is damaged and all else is whole."""
    state = read_state(root)
    if state is None:
        return []
    with suppress(DamagedFileError):
        Generation.open(root / state.generation, only=REBUILDABLE)
        return []
    generation = Generation.open(root / state.generation, but=REBUILDABLE)
    bundle, old = Bundle(root, generation, state, ()), generation.manifest
    known, config = learned(bundle), old.index_config()
    vectors = known.item_vectors(bundle)
    queries = known.queries(bundle, vectors, config.sample)
    index_files, index_section = indexed(bundle.modality_vectors, vectors, config, work_folder(root), queries)
    kept = [record.name for record in old.files if part_of(record.name) not in REBUILDABLE]
    files: dict[str, Content] = {name: generation.folder / name for name in kept}
    publish(root, replace(old, index=index_section), {**files, **index_files})
    return [f"the index was built again from the vectors, into {_in_force(root)}"]


def _in_force(root: Path) -> str:
    state = read_state(root)
    return state.generation if state else ""
