"""Mend what can be mended of a bundle: which state is current, and its index, which is a cache of the vectors."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from indexing.bundle.bundle import Bundle, check_encoders
from indexing.bundle.change_log import (
    LOG,
    Batch,
    acknowledged,
    batches_between,
    digest_of,
    last_published,
    read_batch,
    require_bundle,
    why_outdated,
)
from indexing.bundle.current import CURRENT, State, read_state, readable_states, write_state
from indexing.bundle.generation import (
    ATTRIBUTES,
    CONTENT_SUM,
    COPIED,
    FORMER_ATTRIBUTES,
    Generation,
    generations,
    part_of,
)
from indexing.bundle.index_files import content_sum_of, index_items, item_contents
from indexing.bundle.maintenance.compact import Learned, fold_changes
from indexing.bundle.maintenance.verify import INDEXED, REBUILDABLE, Problem, verify
from indexing.bundle.publish import Content, last_number, publish, work_folder
from indexing.bundle.word_files import WordSettings, word_contents, word_settings
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_flag, check_local_path


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
        """Return the fields as plain JSON values."""
        return {"done": list(self.done), "left": [problem.to_json() for problem in self.left]}


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
    root = check_local_path(root, "the folder of the bundle")
    check_flag(drop_changes, "drop_changes")
    require_bundle(root)
    with write_lock(root):
        actions: list[str] = []
        rebuild = partial(_rebuild_index, root, learned)
        steps = [partial(_restore_current, root), rebuild, partial(_copy_items, root, learned)]
        if drop_changes:
            steps.insert(1, partial(_drop_changes, root, learned))
        try:
            for step in steps:
                with suppress(BundleError):  # `verify` says below what is left
                    actions += step()
        finally:
            if (work := work_folder(root)).exists():
                fsops.remove(work)
        return RepairReport(tuple(actions), tuple(verify(root)))


def _restore_current(root: Path) -> list[str]:
    """Write CURRENT again if it is damaged, older than what was acknowledged, or names a generation that is gone."""
    with suppress(DamagedFileError):
        if (state := read_state(root)) and state.generation in generations(root) and not why_outdated(root):
            return []
    for state in _possible_states(root):
        try:
            manifest = Generation.open(root / state.generation, skip=REBUILDABLE).manifest
            batches = _intact_batches(root, manifest.batches, state.last)
            check_encoders(root, manifest, batches)
        except BundleError:
            continue
        names = batches_between(root, manifest.batches, state.last)
        newest = max(state.newest, manifest.sequence)
        write_state(root, replace(state, contains=manifest.batches, digest=digest_of(names), newest=newest))
        return [f"{CURRENT} names {state.generation} and the changes up to number {state.last}"]
    return []


def _possible_states(root: Path) -> list[State]:
    """Return the states that may have been current: of CURRENT and its copy, and one for each generation, newest first.

    Each with every change that there is.
    """
    last = last_number(root)
    states = [replace(state, last=max(last, state.last)) for state in readable_states(root)]
    published = last_published(root)
    if (
        published is not None and states and 0 < states[0].newest < published.sequence
    ):  # both are older than the published state
        states.insert(0, states[0].succeeded_by(published.generation, 0, "", published.sequence))
    return [*states, *(State(name, 0, last) for name in reversed(generations(root)))]


def _intact_batches(root: Path, after: int, last_number: int) -> tuple[Batch, ...]:
    """Read the batches up to the first that is damaged or lost."""
    batches: list[Batch] = []
    for number in range(after + 1, last_number + 1):
        try:
            (name,) = batches_between(root, number - 1, number)
            batches.append(read_batch(root / LOG / name))
        except DamagedFileError:
            break
    return tuple(batches)


def _drop_changes(root: Path, learned: Callable[[Bundle], Learned]) -> list[str]:
    """Fold the changes before the first damaged one into a new generation, which then needs none of the others.

    Their numbers are not used again: whoever followed them sees another generation, never other changes.
    """
    state = read_state(root)
    if state is None:
        return []
    last = last_number(root)
    batches = _intact_batches(root, state.contains, last)
    with suppress(DamagedFileError):
        if len(acknowledged(root, state, state.contains)) == len(batches) and last == state.last:
            return []
    generation = Generation.open(root / state.generation)
    truncated = Bundle(root, generation, state, batches)
    if batches:
        manifest, files = fold_changes(truncated, learned(truncated), work_folder(root))
    else:
        manifest = generation.manifest
        files = {record.name: generation.folder / record.name for record in manifest.files}
    publish(root, replace(manifest, batches=last), files)
    return [f"the changes from number {state.contains + len(batches) + 1} to {last} are given up"]


def _rebuild_index(root: Path, learned: Callable[[Bundle], Learned]) -> list[str]:
    """Build the index of the current generation again, if it is damaged and all else is whole."""
    state = read_state(root)
    if state is None:
        return []
    with suppress(DamagedFileError):
        Generation.open(root / state.generation, only=INDEXED)
        return []
    generation = Generation.open(root / state.generation, skip=REBUILDABLE)
    bundle, manifest = Bundle(root, generation, state, ()), generation.manifest
    learned_parts, config = learned(bundle), manifest.index_config()
    vectors = learned_parts.item_vectors(bundle)
    queries = learned_parts.queries(bundle, vectors, config.sample)
    index_files, index_section = index_items(bundle.modality_vectors, vectors, config, work_folder(root), queries)
    kept_files = [record.name for record in manifest.files if part_of(record.name) not in REBUILDABLE]
    files: dict[str, Content] = {name: generation.folder / name for name in kept_files}
    files |= item_contents(bundle.attributes, bundle.modality_vectors)
    files.pop(FORMER_ATTRIBUTES, None)
    publish(root, replace(manifest, index=index_section), {**files, **index_files, **_rebuilt_words(bundle)})
    return [f"the index was built again from the vectors, into {_current_generation(root)}"]


def _copy_items(root: Path, learned: Callable[[Bundle], Learned]) -> list[str]:
    """Write the items of the current generation into files that are mapped, if it lacks one or one is damaged."""
    state = read_state(root)
    if state is None:
        return []
    generation = Generation.open(root / state.generation, skip=COPIED)
    manifest = generation.manifest
    names = {part_of(record.name) for record in manifest.files}
    with suppress(DamagedFileError):
        if names.issuperset(COPIED):
            Generation.open(root / state.generation, only=COPIED)
            return []
    bundle = Bundle(root, generation, state, ())
    kept = [record.name for record in manifest.files if part_of(record.name) not in (*COPIED, ATTRIBUTES)]
    files: dict[str, Content] = {name: generation.folder / name for name in kept}
    files |= item_contents(bundle.attributes, bundle.modality_vectors)
    files[CONTENT_SUM] = content_sum_of(learned(bundle).item_vectors(bundle), manifest.encoder.dim)
    publish(root, manifest, files)
    return [f"the items were written into files that are mapped, in {_current_generation(root)}"]


def _rebuilt_words(bundle: Bundle) -> dict[str, Content]:
    """Index the words of a bundle again, by its settings, or those of the manifest where these are damaged too."""
    columns = tuple(bundle.manifest.columns.get("words") or ())
    try:
        settings = word_settings(bundle)
    except DamagedFileError:
        settings = WordSettings(columns)
    return word_contents(bundle.attributes, settings) if settings else {}


def _current_generation(root: Path) -> str:
    state = read_state(root)
    return state.generation if state else ""
