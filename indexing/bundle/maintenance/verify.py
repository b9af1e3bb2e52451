"""Look at every byte of a bundle that counts: one line for each thing that is wrong, with the way out."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import LOG, OLDER, acknowledged, behind, names_between, read_batch
from indexing.bundle.current import COPY, CURRENT, State, read_state
from indexing.bundle.generation import INDEX, PROMISE, check_file, missing_names, part_of, unlisted
from indexing.bundle.maintenance.rollback import generations
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import last_number
from indexing.errors import BundleError, DamagedFileError
from indexing.runtime.arguments import check_call, check_path

REBUILDABLE = (INDEX, PROMISE)
REBUILT = "`commonspace repair` builds the index again from the vectors"
REWRITTEN = "`commonspace repair` puts the newest whole generation in force"
BUILT = "`commonspace rollback` to a whole generation, or build (and fit) again"
REMOVED = "delete it, or move it to where it belongs"
DROPPED = "`commonspace repair --drop-changes` gives up this batch and those after it; or build again"


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a bundle.

    Attributes:
        path: The file, from the folder of the bundle.
        what: What is wrong.
        way_out: What to do.
        serving: Whether what is in force needs the file.
    """

    path: str
    what: str
    way_out: str
    serving: bool

    def to_json(self) -> dict[str, str | bool]:
        """Give the fields as plain JSON values."""
        return asdict(self)


def verify(root: Path | str, progress: Callable[[str], None] | None = None) -> list[Problem]:
    """Compare every file of every kept generation, and every change, with what was written.

    Args:
        root: Folder of the bundle.
        progress: Called with the name of each file before it is read.

    Returns:
        What is wrong, what is in force first; nothing when all is well.

    Raises:
        BundleError: When there is no bundle at all.
    """
    root = check_path(root, "the folder of the bundle")
    told = check_call(progress, "progress") or (lambda _: None)
    state: State | None = None
    problems: list[Problem] = []
    try:
        state = read_state(root)
        if state is None and not generations(root):
            Bundle.open(root)  # says that there is no bundle
    except DamagedFileError as error:
        problems.append(Problem(CURRENT, str(error), REWRITTEN, True))
    if state is None and not problems:
        problems.append(Problem(CURRENT, "it is missing, though there are generations", REWRITTEN, True))
    try:
        read_state(root, COPY)
    except DamagedFileError as error:
        problems.append(Problem(COPY, str(error), "the next change writes it again", False))
    if older := behind(root):
        problems.append(Problem(CURRENT, older, OLDER, True))
    serving = state.generation if state else ""
    if serving and serving not in generations(root):
        problems.append(Problem(serving, "the generation in force is missing", REWRITTEN, True))
    for name in sorted(generations(root), key=lambda name: (name != serving, name)):
        problems += _of_generation(root, name, name == serving, told)
    problems += _of_changes(root, state, told)
    return problems


def _of_generation(root: Path, name: str, serving: bool, told: Callable[[str], None]) -> Iterator[Problem]:
    folder = root / name
    told(f"{name}/{MANIFEST}")
    try:
        manifest = Manifest.read(folder / MANIFEST)
    except BundleError as error:
        yield Problem(f"{name}/{MANIFEST}", str(error), BUILT, serving)
        return
    if manifest.generation != name:
        yield Problem(f"{name}/{MANIFEST}", f"it is that of {manifest.generation!r}", BUILT, serving)
    for lacked in missing_names(manifest):
        yield Problem(f"{name}/{MANIFEST}", f"it lists no file {lacked!r}", BUILT, serving)
    for path in unlisted(folder, manifest):
        yield Problem(f"{name}/{path}", "the manifest does not list it: it is not read", REMOVED, False)
    for record in manifest.files:
        told(f"{name}/{record.name}")
        try:
            check_file(folder, record)
        except DamagedFileError as error:
            way_out = REBUILT if part_of(record.name) in REBUILDABLE else BUILT
            yield Problem(f"{name}/{record.name}", str(error), way_out, serving)


def _of_changes(root: Path, state: State | None, told: Callable[[str], None]) -> Iterator[Problem]:
    """Look at the batches that any kept generation lacks; those in force must be exactly the ones acknowledged."""
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
        yield Problem(LOG, str(error), DROPPED, True)
        return
    try:
        names = names_between(root, after, last)
    except DamagedFileError as error:
        yield Problem(LOG, str(error), DROPPED, state is None)
        return
    for name in names:
        told(f"{LOG}/{name}")
        try:
            read_batch(root / LOG / name)
        except DamagedFileError as error:
            serving = state is None or int(name[:12]) > state.contains
            yield Problem(f"{LOG}/{name}", str(error), DROPPED, serving)
