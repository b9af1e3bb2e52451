"""Make a state that was pulled the current one of a local bundle: whole or not at all, while others read."""

from collections.abc import Callable
from pathlib import Path

from indexing.bundle.change_log import LOG, batch_number, clear_pending, mark_pending, pending_mark
from indexing.bundle.current import State, read_state, readable_states, write_state
from indexing.bundle.edits.edit import LOCK_TIMEOUT
from indexing.bundle.manifest import MANIFEST
from indexing.bundle.publish import UNFINISHED, collect_garbage, last_sequence
from indexing.errors import BundleError, DamagedFileError, StateConflictError
from indexing.exchange.object_storage.state import PushedFile, PushedState, served
from indexing.filesystem import fsops
from indexing.filesystem.file_checks import FileRecord, check_file, check_size
from indexing.filesystem.locks import write_lock


def receive(
    root: Path, pushed: PushedState, sources: Path, before: State | None, *, discard_local: bool, same_history: bool
) -> None:
    """Make a state current of which all files were downloaded.

    The bundle is that state afterwards, and nothing else: earlier generations are removed unless somebody reads them.

    Args:
        root: Folder of the bundle.
        pushed: The state.
        sources: A folder with the files that the bundle lacks, each named by its sha256.
        before: The state that was current when it was decided to pull.
        discard_local: Take away changes that are in the way; for a moment the bundle cannot be opened.
        same_history: Whether the changes that are here are known to be earlier ones of the same bundle.

    Raises:
        BundleError: When something was changed meanwhile; that stays.
        StateConflictError: When other changes have the numbers of those that were pulled.
    """
    with write_lock(root, wait=LOCK_TIMEOUT):
        now = read_state(root)
        if (now and served(now)) != (before and served(before)):
            raise BundleError(f"{root} was changed during the pull, and stays as it is now; pull again")
        if lacking(root, pushed):
            _clear_numbers(root, pushed, discard_local)
            _place_changes(root, pushed, sources)
            _place_generation(root, pushed, sources)
        if lacking(root, pushed):
            raise BundleError(f"{root} was changed during the pull; pull again")
        if now is None or served(now) != pushed.served:
            newest = max([pushed.newest, last_sequence(root)])
            write_state(root, State(pushed.generation, pushed.contains, pushed.last, pushed.digest, newest=newest))
        _tidy(root, pushed, same_history)


def _tidy(root: Path, pushed: PushedState, same_history: bool) -> None:
    """Remove what a pulled state leaves behind: other changes, and generations that nobody reads any more."""
    clear_pending(root, pushed.last)
    kept = {file.name for file in pushed.changes}
    for path in _batches(root):
        # Who reads an earlier generation needs those since; of another history they would be wrong.
        if path.name not in kept and not (same_history and batch_number(path) <= pushed.contains):
            fsops.remove(path)
    collect_garbage(root, readable_states(root)[0])


def lacking(root: Path, pushed: PushedState) -> list[PushedFile]:
    """Return the files of a state that the bundle lacks; those of a generation that it has are compared by size."""
    folder = root / pushed.generation
    has_manifest = any(_passes(check_file, folder, file) for file in pushed.files if file.name == MANIFEST)
    files = [file for file in pushed.files if not has_manifest or not _passes(check_size, folder, file)]
    return [*files, *(file for file in pushed.changes if not (root / LOG / file.name).exists())]


def _passes(check: Callable[[Path, FileRecord], object], folder: Path, file: PushedFile) -> bool:
    try:
        check(folder, file.record)
    except DamagedFileError:
        return False
    return True


def _batches(root: Path) -> list[Path]:
    folder = root / LOG
    return [path for path in (folder.iterdir() if folder.is_dir() else ()) if batch_number(path)]


def _clear_numbers(root: Path, pushed: PushedState, discard_local: bool) -> None:
    """Remove changes of another history that have the numbers of those pulled.

    Raises:
        StateConflictError: When there are any, and ``discard_local`` does not say so.
    """
    names = {batch_number(Path(file.name)): file.name for file in pushed.changes}
    others = [path for path in _batches(root) if names.get(batch_number(path), path.name) != path.name]
    if others and not discard_local:
        raise StateConflictError(
            f"{root} has another change {batch_number(others[0])} than {pushed.described()}: it was made of another "
            "bundle",
            python="pull into another folder, or with discard_local=True, during which nobody can open the bundle",
            cli="pull into another folder, or with --discard-local, during which nobody can open the bundle",
        )
    for path in others:
        mark_pending(root, batch_number(path))
        fsops.remove(path)


def _place_changes(root: Path, pushed: PushedState, sources: Path) -> None:
    """Put the changes into the log; none counts yet."""
    new = [file for file in pushed.changes if not (root / LOG / file.name).exists()]
    if new:
        fsops.make_folder(root / LOG)
    for file in new:
        mark_pending(root, batch_number(Path(file.name)))
    for file in new:
        fsops.link_or_copy(sources / file.sha256, root / LOG / file.name)


def _place_generation(root: Path, pushed: PushedState, sources: Path) -> None:
    """Put the generation where it belongs; it does not count yet."""
    target = root / pushed.generation
    folder = target if target.is_dir() else root / f"{UNFINISHED}-{pushed.generation}"
    if folder != target:
        fsops.remove(folder)  # of a pull that was killed
    for file in pushed.files:
        source = sources / file.sha256
        if source.exists():
            fsops.make_folder((folder / file.name).parent)
            fsops.remove(folder / file.name)  # one of another size
            fsops.link_or_copy(source, folder / file.name)
    if folder != target:
        fsops.write_bytes(pending_mark(root, pushed.generation), b"")
        fsops.rename_folder(folder, target)
