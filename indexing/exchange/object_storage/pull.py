"""Pull a state of a bundle from object storage into a folder, where it is served from."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from indexing.bundle.current import State, read_state
from indexing.bundle.manifest import MANIFEST, Manifest
from indexing.errors import BundleError, DamagedFileError, GenerationError, MissingObjectError, StateConflictError
from indexing.exchange.object_storage.base import ReadableObjects
from indexing.exchange.object_storage.places import Place, open_to_read
from indexing.exchange.object_storage.receive import lacking, receive
from indexing.exchange.object_storage.state import (
    HINT,
    PushedFile,
    PushedState,
    TransferReport,
    read_pushed_state,
    require_same_files,
    served,
    state_numbers,
)
from indexing.exchange.object_storage.transfer_record import ACTIVITY, LOCK, TRANSFERS, KnownState, TransferRecord
from indexing.exchange.object_storage.transfers import in_parallel
from indexing.filesystem import fsops
from indexing.filesystem.file_checks import FileRecord, check_file
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_flag, check_local_path, check_whole

PULLED = "pulled-files"
"""Folder of the files of a pull that is under way, or was interrupted; each was compared with its sha256."""


@dataclass(frozen=True)
class PullReport(TransferReport):
    """What a pull did.

    Attributes:
        downloaded: How many were downloaded; the others were here.
        downloaded_bytes: Size of these.
        unchanged: Whether this state was current here already.
    """

    downloaded: int = 0
    downloaded_bytes: int = 0
    unchanged: bool = False


def pushed_states(place: Place | ReadableObjects) -> list[PushedState]:
    """Return the states of a bundle that are in object storage, the newest last.

    Raises:
        StorageError: When it cannot be reached or read.
        DamagedFileError: When a state is not what was written.
    """
    objects, states = open_to_read(place), []
    for number in state_numbers(objects):
        with suppress(MissingObjectError):  # removed meanwhile
            states.append(read_pushed_state(objects, number))
    return states


def pull_bundle(
    place: Place | ReadableObjects,
    root: Path | str,
    *,
    number: int | None = None,
    discard_local: bool = False,
    progress: bool = False,
) -> PullReport:
    """Make a folder the newest state that was pushed, or another one; who serves the folder follows.

    Only files that are not here are downloaded, and compared with their sha256 on the way. After an interruption the
    next pull continues. The folder holds this one state afterwards: earlier generations go once nobody reads them.

    Args:
        place: Where it was pushed to: a folder, or a URL of any file system of fsspec.
        root: Folder of the bundle; it is made.
        number: Which state; the newest when None.
        discard_local: Pull also where the folder has what was never pushed there, which is lost then.
        progress: Show a progress bar on standard error.

    Raises:
        GenerationError: When there is no such state.
        StateConflictError: When the folder has what was never pushed there; it stays as it is.
        StorageError: When the storage cannot be reached or read.
        DamagedFileError: When what is there is not what was written; the folder stays as it is.
    """
    root = check_local_path(root, "the folder of the bundle")
    if number is not None:
        check_whole(number, "number")
    check_flag(discard_local, "discard_local")
    check_flag(progress, "progress")
    objects = open_to_read(place)
    pushed = _chosen(objects, number)
    _require_room_for_bundle(root)
    with write_lock(root, name=LOCK, activity=ACTIVITY):
        while True:
            try:
                return _Pull(root, objects, pushed, progress).run(discard_local)
            except MissingObjectError as error:
                former, pushed = pushed, _chosen(objects, number)
                if pushed.number == former.number:  # or else it was removed while it was pulled
                    raise DamagedFileError(f"{error}, though {former.described()} lists it; {HINT}") from error


def _chosen(objects: ReadableObjects, number: int | None) -> PushedState:
    numbers = state_numbers(objects)
    if not numbers:
        raise GenerationError(f"{objects.url} holds no bundle; `commonspace push` puts one there")
    if number is not None and number not in numbers:
        raise GenerationError(f"{objects.url} holds no state {number}; it holds {numbers[0]} to {numbers[-1]}")
    return read_pushed_state(objects, numbers[-1] if number is None else number)


def _require_room_for_bundle(root: Path) -> None:
    """Check that a folder is a bundle, one that was to be pulled, or empty.

    Raises:
        BundleError: When it holds something else.
    """
    names = {path.name for path in root.glob("[!.]*")} if root.is_dir() else set()
    if names and not names & {"CURRENT", "CURRENT.copy", PULLED, TRANSFERS, LOCK}:
        raise BundleError(f"{root} holds {min(names)!r} and no bundle; name an empty folder, or one that is not there")


class _Pull:
    """One pull of a state; the caller holds the lock."""

    def __init__(self, root: Path, objects: ReadableObjects, pushed: PushedState, progress: bool) -> None:
        self._root, self._objects, self._pushed, self._progress = root, objects, pushed, progress
        self._work = root / PULLED
        self._downloaded: list[PushedFile] = []

    def run(self, discard_local: bool) -> PullReport:
        pushed, before = self._pushed, read_state(self._root)
        record = TransferRecord(self._root, self._objects)
        unchanged = before is not None and served(before) == pushed.served
        if not unchanged and not discard_local:
            self._check_nothing_lost(before, record)
        missing = lacking(self._root, pushed)
        if missing:
            fsops.make_folder(self._work)
            self._fetch_manifest(missing)
            self._fetch(missing)
        same_history = self._is_same_history(before, record, unchanged) and not discard_local
        receive(self._root, pushed, self._work, before, discard_local=discard_local, same_history=same_history)
        record.agree(KnownState.of(pushed))
        fsops.remove(self._work)
        return PullReport.of(
            self._objects,
            pushed,
            downloaded=len(self._downloaded),
            downloaded_bytes=sum(file.size for file in self._downloaded),
            unchanged=unchanged and not missing,
        )

    def _check_nothing_lost(self, before: State | None, record: TransferRecord) -> None:
        """Check that what is current here is at the place.

        Raises:
            StateConflictError: When that is not known.
        """
        if before is None or (record.last is not None and record.last.served == served(before)):
            return
        raise StateConflictError(
            f"{self._root} has generation {before.generation} with changes up to number {before.last}, and nothing "
            f"says that it was pushed to {self._objects.url}; it stays as it is",
            python="push it first, pull into another folder, or pull with discard_local=True to give it up",
            cli="push it first, pull into another folder, or pull with --discard-local to give it up",
        )

    def _is_same_history(self, before: State | None, record: TransferRecord, unchanged: bool) -> bool:
        """Whether the changes that are here are earlier ones of what is pulled; not after a pull that was killed."""
        if before is None or record.last is None or (unchanged and record.last.number != self._pushed.number):
            return False
        return before.generation in (self._pushed.generation, *self._pushed.history)

    def _fetch_manifest(self, missing: Sequence[PushedFile]) -> None:
        """Read the manifest before anything large is downloaded: a later version may have written it."""
        for file in missing:
            if file.name == MANIFEST:
                self._download(file, lambda _: None)
                require_same_files(self._pushed, Manifest.read(self._work / file.sha256))

    def _fetch(self, missing: Sequence[PushedFile]) -> None:
        """Get files that the bundle lacks, from other generations here or else from the place."""
        files = {file.sha256: file for file in missing if not (self._work / file.sha256).exists()}
        local = self._local_files()

        def fetch(file: PushedFile, done: Callable[[int], None]) -> None:
            if self._link(file, local.get(file.sha256)):
                done(file.size)
            else:
                self._download(file, done)

        fsops.require_space(self._root, sum(file.size for file in files.values() if file.sha256 not in local))
        num_bytes = sum(file.size for file in files.values())
        in_parallel(fetch, list(files.values()), "pulling", num_bytes, shown=self._progress)

    def _local_files(self) -> Mapping[str, tuple[Path, FileRecord]]:
        """Return folder and record of each file of a generation that is here, by its sha256."""
        found = {}
        for folder in self._root.glob("gen-*"):
            with suppress(BundleError):  # it cannot be opened, or is being removed
                for record in Manifest.read(folder / MANIFEST).files:
                    found[record.sha256] = (folder, record)
        return found

    def _link(self, file: PushedFile, local: tuple[Path, FileRecord] | None) -> bool:
        """Take over a file of another generation if it is what was recorded, and say whether it was."""
        if local is None:
            return False
        folder, record = local
        try:
            check_file(folder, record)
            fsops.link_or_copy(folder / record.name, self._work / file.sha256)
        except (DamagedFileError, FileNotFoundError):
            return False
        return True

    def _download(self, file: PushedFile, done: Callable[[int], None]) -> None:
        """Download a file, if that was not done before.

        Raises:
            DamagedFileError: When its bytes are not those that were recorded.
        """
        name = f"{self._objects.url}/{file.object}"

        def produce(write: Callable[[bytes], None]) -> None:
            size = 0
            for chunk in self._objects.chunks(file.object):
                size += len(chunk)
                if size > file.size:
                    raise DamagedFileError(f"it has more than the {file.size} bytes that were recorded")
                write(chunk)
                done(len(chunk))

        if (self._work / file.sha256).exists():
            return
        try:
            fsops.write_stream(self._work / file.sha256, produce, file.sha256)
        except DamagedFileError as error:
            raise DamagedFileError(f"{name} is damaged: {error}; {HINT}") from error
        self._downloaded.append(file)
