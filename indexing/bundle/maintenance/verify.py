"""Checks every file of a bundle: one line for each problem, with a hint how to solve it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import LOG, OUTDATED_HINT, acknowledged, batches_between, read_batch, why_outdated
from indexing.bundle.current import COPY, CURRENT, State, read_state
from indexing.bundle.generation import (
    COPIED,
    INDEX,
    KEPT_HINT,
    RECALL_CHECK,
    STORE,
    WORDS,
    generations,
    missing_names,
    part_of,
    unlisted,
)
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import last_number
from indexing.errors import BundleError, DamagedFileError
from indexing.filesystem.checked_files import REPAIR_HINT
from indexing.filesystem.file_checks import check_file
from indexing.runtime.arguments import check_call, check_local_path

INDEXED = (INDEX, RECALL_CHECK, WORDS)
REBUILDABLE = (*INDEXED, *COPIED)
REBUILD_HINT = "`commonspace repair` builds the index again from the vectors"
COPY_HINT = "`commonspace repair` makes the file again from the store"
REWRITE_HINT = "`commonspace repair` makes the newest intact generation current"
ROLLBACK_HINT = "put it back from a copy, `commonspace rollback` to a whole generation, or build (and fit) again"
STORE_HINT = "put it back from a copy, or build (and fit) again, which encodes the items of damaged shards alone"
REMOVE_HINT = "delete it, or move it to where it belongs"
KEPT_LOG_HINT = "the current state does not need it: it is removed once no earlier generation that lacks it is kept"
DROP_HINT = "`commonspace repair --drop-changes` gives up this batch and those after it; or build again"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a bundle.

    Attributes:
        path: The file, from the folder of the bundle.
        message: What is wrong.
        hint: What to do.
        serving: Whether the current state needs the file.
    """

    path: str
    message: str
    hint: str
    serving: bool

    def to_json(self) -> dict[str, str | bool]:
        """Return the fields as plain JSON values."""
        return {"path": self.path, "what": self.message, "way_out": self.hint, "serving": self.serving}


def verify(root: Path | str, progress: Callable[[str], None] | None = None) -> list[Problem]:
    """Compare every file of every kept generation, and every change, with what was written.

    Args:
        root: Folder of the bundle.
        progress: Called with the name of each file before it is read.

    Returns:
        What is wrong, of the current state first; nothing when all is well.

    Raises:
        BundleError: When there is no bundle at all.
    """
    root = check_local_path(root, "the folder of the bundle")
    report = check_call(progress, "progress") or (lambda _: None)
    state: State | None = None
    problems: list[Problem] = []
    try:
        state = read_state(root)
        if state is None and not generations(root):
            Bundle.open(root)  # says that there is no bundle
    except DamagedFileError as error:
        problems.append(Problem(CURRENT, _what(error), REWRITE_HINT, True))
    if state is None and not problems:
        problems.append(Problem(CURRENT, "it is missing, though there are generations", REWRITE_HINT, True))
    try:
        read_state(root, COPY)
    except DamagedFileError as error:
        problems.append(Problem(COPY, _what(error), "the next change writes it again", False))
    if outdated := why_outdated(root):
        problems.append(Problem(CURRENT, outdated, OUTDATED_HINT, True))
    serving = state.generation if state else ""
    if serving and serving not in generations(root):
        problems.append(Problem(serving, "the current generation is missing", REWRITE_HINT, True))
    for name in sorted(generations(root), key=lambda name: (name != serving, name)):
        found = _check_generation(root, name, name == serving, report)
        problems += found if serving in ("", name) else map(_of_kept, found)
    problems += _check_log(root, state, report)
    return problems


def _check_generation(root: Path, name: str, serving: bool, report: Callable[[str], None]) -> Iterator[Problem]:
    folder = root / name
    report(f"{name}/{MANIFEST}")
    try:
        manifest = Manifest.read(folder / MANIFEST)
    except BundleError as error:
        yield Problem(f"{name}/{MANIFEST}", _what(error), ROLLBACK_HINT, serving)
        return
    if manifest.generation != name:
        yield Problem(f"{name}/{MANIFEST}", f"it is that of {manifest.generation!r}", ROLLBACK_HINT, serving)
    for missing in missing_names(manifest):
        yield Problem(f"{name}/{MANIFEST}", f"it lists no file {missing!r}", ROLLBACK_HINT, serving)
    for path in unlisted(folder, manifest):
        yield Problem(f"{name}/{path}", "the manifest does not list it: it is not read", REMOVE_HINT, False)
    for record in manifest.files:
        report(f"{name}/{record.name}")
        try:
            check_file(folder, record)
        except DamagedFileError as error:
            part = part_of(record.name)
            hint = REBUILD_HINT if part in INDEXED else COPY_HINT if part in COPIED else ROLLBACK_HINT
            hint = STORE_HINT if part == STORE else hint
            yield Problem(f"{name}/{record.name}", _what(error), hint, serving)


def _of_kept(problem: Problem) -> Problem:
    """Give a problem of a generation that is not current with what to do: `repair` mends the current one alone."""
    return problem if problem.hint == REMOVE_HINT else replace(problem, hint=KEPT_HINT)


def _what(error: BundleError) -> str:
    """Say what is wrong, without the hint to `repair`: that of the problem takes its place."""
    return str(error).removesuffix(f"; {REPAIR_HINT}")


def _check_log(root: Path, state: State | None, report: Callable[[str], None]) -> Iterator[Problem]:
    """Check the batches that any kept generation lacks; those of the current state must be the acknowledged ones."""
    contained = {}
    for name in generations(root):
        try:
            contained[name] = Manifest.read(root / name / MANIFEST).batches
        except BundleError:
            continue
    after, last = min(contained.values(), default=0), last_number(root)
    try:
        if state:
            acknowledged(root, state, state.contains)
    except DamagedFileError as error:
        yield Problem(LOG, _what(error), DROP_HINT, True)
        return
    try:
        names = batches_between(root, after, last)
    except DamagedFileError as error:
        yield Problem(LOG, _what(error), DROP_HINT, state is None)
        return
    for name in names:
        report(f"{LOG}/{name}")
        try:
            read_batch(root / LOG / name)
        except DamagedFileError as error:
            serving = state is None or int(name[:12]) > state.contains
            yield Problem(f"{LOG}/{name}", _what(error), DROP_HINT if serving else KEPT_LOG_HINT, serving)
