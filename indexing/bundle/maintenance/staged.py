"""A generation that is whole and was never current: what `fit` made without publishing it.

shop/staged-gen-<id>/    as a generation; its manifest says on which generation it was made

There is at most one, beside earlier ones that somebody still reads. It can be published as long as the generation that
it was made on is current, or a compaction of that, and be read by its name as long as that is kept; see `Bundle.open`.
"""

from contextlib import suppress
from pathlib import Path

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import require_bundle, require_newest
from indexing.bundle.current import read_state
from indexing.bundle.edits.edit import LOCK_TIMEOUT
from indexing.bundle.generation import STAGED, STAGED_ON, generations
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.bundle.publish import NO_TIMEOUT, make_current, may_follow, remove_unread, renumber
from indexing.errors import BundleError
from indexing.filesystem import fsops
from indexing.filesystem.file_checks import check_file
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_kind, check_local_path


def stage(root: Path, folder: Path) -> Manifest:
    """Keep what `prepare` wrote as the staged generation, in place of an earlier one, and return its manifest."""
    target = root / f"{STAGED}-{folder.name.split('-', 1)[1]}"
    with write_lock(root, wait=NO_TIMEOUT):  # what is being encoded may take its time: this was more work
        fsops.rename_folder(folder, target)
        _remove_all_but(root, target)
    return Manifest.read(target / MANIFEST)


def staged(root: Path | str) -> Manifest | None:
    """Return the manifest of the staged generation, the newest where a process was killed; None where there is none."""
    manifests = []
    for folder in Path(root).glob(f"{STAGED}-gen-*"):
        with suppress(BundleError):  # half removed
            manifests.append(Manifest.read(folder / MANIFEST))
    return max(manifests, key=lambda manifest: (manifest.sequence, manifest.generation), default=None)


def publish_staged(root: Path | str, generation: str | None = None) -> Bundle:
    """Make the staged generation current; what was added and deleted meanwhile, compacted or not, stays a change.

    Args:
        root: Folder of the bundle.
        generation: Its name, to be sure that it is the one that is meant; whichever is staged when None.

    Returns:
        The bundle as it is now.

    Raises:
        BundleError: When none is staged, or another one, or another generation became current since it was made.
        DamagedFileError: When a file of it is not what was written.
        BundleLockedError: When another process holds the lock of the bundle for too long.
    """
    root = check_local_path(root, "the folder of the bundle")
    if generation is not None:
        check_kind(generation, str, "generation", "give the name of the staged generation, or None")
    require_bundle(root)
    with write_lock(root, wait=LOCK_TIMEOUT):
        require_newest(root)
        manifest, state = staged(root), read_state(root)
        if manifest is None or generation not in (None, manifest.generation):
            raise BundleError(
                f"{root} has no staged generation {generation or ''}".rstrip()
                + (f"; {manifest.generation} is staged" if manifest else "; fit without publishing stages one")
            )
        base = manifest.learned.get(STAGED_ON)
        if not isinstance(base, str) or not may_follow(root, base):
            gone = "" if base in generations(root) else ", which is not kept any more"
            raise BundleError(
                f"{manifest.generation} was made on {base}{gone}, and {state.generation if state else 'nothing'} is "
                "current since; fit again"
            )
        folder = root / f"{STAGED}-{manifest.generation}"
        for record in manifest.files:
            check_file(folder, record)
        renumber(root, folder)
        make_current(root, folder)
        _remove_all_but(root, folder)
    return Bundle.open(root)


def _remove_all_but(root: Path, staged_folder: Path) -> None:
    """Remove other staged generations that nobody reads."""
    for other in root.glob(f"{STAGED}-gen-*"):
        if other != staged_folder:
            remove_unread(root, other)
