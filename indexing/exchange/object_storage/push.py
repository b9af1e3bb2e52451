"""Push the state of a bundle that is current to object storage, where it counts once its list of files is written."""

import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import LOG, acknowledged, require_bundle, require_newest
from indexing.bundle.manifest import MANIFEST
from indexing.errors import DamagedFileError, StateConflictError, StorageError
from indexing.exchange.object_storage.base import WritableObjects
from indexing.exchange.object_storage.expire import GRACE, expire, lasting_objects
from indexing.exchange.object_storage.places import Place, open_to_write
from indexing.exchange.object_storage.state import (
    OBJECTS,
    PUSHING,
    PushedFile,
    PushedState,
    TransferReport,
    read_pushed_state,
    served,
    state_name,
    state_numbers,
)
from indexing.exchange.object_storage.transfer_record import ACTIVITY, LOCK, KnownState, TransferRecord
from indexing.exchange.object_storage.transfers import in_parallel
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import MAX_SEALED_BYTES, seal
from indexing.filesystem.file_checks import FileRecord, check_file
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_flag, check_local_path, check_whole

LARGE_BYTES = 8 << 20  # a file that is searched for among all objects before it is uploaded


@dataclass(frozen=True)
class PushReport(TransferReport):
    """What a push did.

    Attributes:
        uploaded: How many of them were not there and have been uploaded.
        uploaded_bytes: Size of these.
        unchanged: Whether this state was there as the newest already.
        removed_states: How many earlier states were removed.
        removed_objects: How many files that no state needs were removed.
    """

    uploaded: int = 0
    uploaded_bytes: int = 0
    unchanged: bool = False
    removed_states: int = 0
    removed_objects: int = 0


def push_bundle(
    root: Path | str,
    place: Place,
    *,
    keep: int | None = None,
    supersede: bool = False,
    reupload: bool = False,
    progress: bool = False,
) -> PushReport:
    """Copy the current generation of a bundle, with the changes since, to object storage as its newest state.

    Files that the newest state there has are not uploaded again. The state counts once its list of files is written,
    which is the last thing done and replaces nothing: whatever fails before, the state before stays the newest.

    Args:
        root: Folder of the bundle.
        place: A folder, or a URL as ``s3://bucket/shop``; the environment says how to reach it.
        keep: Remove earlier states but for so many of the newest in all, and those that were the newest within a day;
            all stay when None.
        supersede: Push also where the newest state is not the one that this bundle pushed or pulled last.
        reupload: Upload every file, also those that are there: for when some are damaged or gone there.
        progress: Show a progress bar on standard error.

    Raises:
        StateConflictError: When the newest state is of somebody else, or became so meanwhile; theirs stays.
        InputError: When the storage cannot refuse to replace an object.
        StorageError: When it cannot be reached or written to, or the push took longer than half a day.
        DamagedFileError: When a file of the bundle is not what was written.
    """
    root = check_local_path(root, "the folder of the bundle")
    if keep is not None:
        check_whole(keep, "keep")
    for flag, name in ((supersede, "supersede"), (reupload, "reupload"), (progress, "progress")):
        check_flag(flag, name)
    objects = open_to_write(place)
    require_bundle(root)
    with write_lock(root, name=LOCK, activity=ACTIVITY):
        require_newest(root)
        return _Push(root, objects, reupload, progress).run(keep, supersede)


class _Push:
    """One push, which has a name of its own."""

    def __init__(self, root: Path, objects: WritableObjects, reupload: bool, progress: bool) -> None:
        self._root, self._objects, self._reupload, self._progress = root, objects, reupload, progress
        self._name, self._started = secrets.token_hex(8), monotonic()

    def run(self, keep: int | None, supersede: bool) -> PushReport:
        bundle = Bundle.open(self._root, check="lazy")
        with self._announced() as now:
            record = TransferRecord(self._root, self._objects)
            numbers = state_numbers(self._objects)
            newest = self._newest(numbers, supersede)
            if newest is not None and newest.served == served(bundle.state) and not self._reupload:
                record.agree(KnownState.of(newest))
                report = PushReport.of(self._objects, newest, unchanged=True)
            else:
                self._check_base(newest, record, supersede)
                report = self._write(bundle, max(numbers, default=0) + 1, newest, record, now)
            if keep is None:
                return report
            states, unneeded = expire(self._objects, keep, now)
            return replace(report, removed_states=states, removed_objects=unneeded)

    @contextmanager
    def _announced(self) -> Iterator[datetime]:
        """Say there that a push is under way, which shows that an object can be written and is not replaced.

        Yields:
            The time, by the clock of the storage.
        """
        name = f"{PUSHING}/{self._name}.json"
        who = {"pushed_by": socket.gethostname(), "began": _now()}
        self._objects.create(name, seal(who))
        try:
            if self._objects.create(name, seal({**who, "again": True})):
                raise StorageError(
                    f"{self._objects.url} cannot be pushed to: it replaced an object that it was asked not to replace, "
                    "so that two pushes could overwrite each other; storage of S3 must know If-None-Match"
                )
            times = [info.modified for info in self._objects.find(PUSHING) if info.name == name]
            if not times or times[0] is None:
                raise StorageError(f"{self._objects.url} does not list {name}, which was just written there")
            yield times[0]
        finally:
            with suppress(StorageError):  # it is removed with what is old
                self._objects.remove([name])

    def _check_base(self, newest: PushedState | None, record: TransferRecord, supersede: bool) -> None:
        """Check that what is newest there is what this bundle continues.

        Raises:
            StateConflictError: When it is not.
        """
        if newest is None or supersede or KnownState.of(newest) == record.last:
            return
        known = f"its last there is state {record.last.number}" if record.last else "it has pushed or pulled none there"
        raise _conflict(self._objects.url, f"holds {newest.described()}, which is not of {self._root}: {known}")

    def _newest(self, numbers: Sequence[int], supersede: bool) -> PushedState | None:
        """Read the newest state; None where there is none, or a damaged one is to be superseded."""
        try:
            return read_pushed_state(self._objects, numbers[-1]) if numbers else None
        except DamagedFileError:
            if not supersede:
                raise
            return None

    def _write(
        self, bundle: Bundle, number: int, newest: PushedState | None, record: TransferRecord, now: datetime
    ) -> PushReport:
        """Upload what is not there, and then the state."""
        files = self._files(bundle)
        known = self._known_objects([record for _, record in files], newest, now)
        missing = {record.sha256: (path, record) for path, record in files if record.sha256 not in known}
        self._upload(list(missing.values()))
        known |= {sha256: self._object(sha256) for sha256 in missing}
        listed = [PushedFile(file.name, file.size, file.sha256, known[file.sha256]) for _, file in files]
        split, state = len(bundle.manifest.files) + 1, bundle.state
        pushed = PushedState(
            number=number,
            generation=state.generation,
            contains=state.contains,
            last=state.last,
            digest=state.digest,
            newest=state.newest,
            history=state.history,
            items=bundle.manifest.items,
            pushed=_now(),
            pushed_by=socket.gethostname(),
            files=listed[:split],
            changes=listed[split:],
        )
        return self._publish(pushed, record, [file for _, file in missing.values()])

    def _publish(self, state: PushedState, record: TransferRecord, uploaded: Sequence[FileRecord]) -> PushReport:
        if monotonic() - self._started > GRACE.total_seconds() / 2:
            raise StorageError(
                f"the push to {self._objects.url} took longer than {GRACE / 2}, so that what was uploaded first may be "
                "removed by others; push again: what was uploaded lately is taken over"
            )
        data = state.to_bytes()
        if len(data) > MAX_SEALED_BYTES:
            raise StorageError(
                f"the list of {len(state.files) + len(state.changes)} files has {len(data)} bytes, and at most "
                f"{MAX_SEALED_BYTES} are read; run `commonspace compact {self._root}` and push again"
            )
        record.intend(KnownState.of(state))
        if not self._objects.create(state_name(state.number), data):
            winner = read_pushed_state(self._objects, state.number)
            if winner.served != state.served:
                raise _conflict(self._objects.url, f"got {winner.described()} during this push")
            state = winner  # the same from elsewhere
        record.agree(KnownState.of(state))
        num_bytes = sum(file.size for file in uploaded)
        return PushReport.of(self._objects, state, uploaded=len(uploaded), uploaded_bytes=num_bytes)

    def _files(self, bundle: Bundle) -> list[tuple[Path, FileRecord]]:
        """Return path and record of the manifest, of each file of the generation, and of each change."""
        changes = [self._root / LOG / name for name in acknowledged(self._root, bundle.state, bundle.state.contains)]
        own = [(path, _record(path)) for path in (bundle.folder / MANIFEST, *changes)]
        files = [(bundle.folder / record.name, record) for record in bundle.manifest.files]
        return [own[0], *files, *own[1:]]

    def _known_objects(
        self, records: Sequence[FileRecord], newest: PushedState | None, now: datetime
    ) -> dict[str, str]:
        """Return the objects that hold files already, by their sha256."""
        if self._reupload:
            return {}
        known = {file.sha256: file.object for file in (*newest.files, *newest.changes)} if newest else {}
        if {record.sha256 for record in records if record.size >= LARGE_BYTES} - known.keys():
            known = lasting_objects(self._objects, now) | known
        return known

    def _upload(self, files: Sequence[tuple[Path, FileRecord]]) -> None:
        def upload(file: tuple[Path, FileRecord], done: Callable[[int], None]) -> None:
            path, record = file
            check_file(path.parents[record.name.count("/")], record)
            self._objects.upload(self._object(record.sha256), path)
            done(record.size)

        in_parallel(upload, files, "pushing", sum(record.size for _, record in files), shown=self._progress)

    def _object(self, sha256: str) -> str:
        return f"{OBJECTS}/{sha256}.{self._name}"


def _record(path: Path) -> FileRecord:
    return FileRecord(path.name, path.stat().st_size, fsops.sha256(path))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _conflict(url: str, what: str) -> StateConflictError:
    return StateConflictError(
        f"{url} {what}; nothing was replaced",
        python="pull that state into another folder to have its changes, or push with supersede=True to supersede it",
        cli="pull that state into another folder to have its changes, or push with --supersede to supersede it",
    )
