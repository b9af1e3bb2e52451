"""Records of jobs in the folder of a bundle, which every process of every service of this bundle reads.

shop/jobs/items.lock, generations.lock   held by the process that runs a job, and gone with it
shop/jobs/<job_id>/job.json              its record, replaced as a whole
shop/jobs/<job_id>/cancel                an empty file that asks it to end
shop/jobs/<job_id>/…                     what was uploaded for it

A job that says that it runs, and whose lock nobody holds, was interrupted: its process was killed.
"""

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from pydantic_core import from_json, to_json

from indexing.bundle.current import read_state
from indexing.errors import BundleError, CommonspaceError, DamagedFileError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import seal, unseal
from indexing.filesystem.locks import is_taken, take_lock
from retrieval.serving.engine.messages import in_words_of_service, split_hint

Kind: TypeAlias = Literal["add", "upsert", "update", "delete", "fit", "compact", "publish", "rollback"]
State: TypeAlias = Literal["running", "done", "failed", "cancelled", "interrupted"]
Lane: TypeAlias = Literal["items", "generations"]

LANES: dict[Kind, Lane] = {
    "add": "items",
    "upsert": "items",
    "update": "items",
    "delete": "items",
    "fit": "generations",
    "compact": "generations",
    "publish": "generations",
    "rollback": "generations",
}
"""One job of a lane runs at a time: items may change while a fit runs, but no two jobs may make generations."""

WAITS: dict[Lane, float] = {"items": 10.0, "generations": 0.5}
"""Seconds that a job waits for another of its lane: changes of items are soon done, generations are not."""

FOLDER, RECORD, CANCEL = "jobs", "job.json", "cancel"
KEPT_JOBS = 200
_LOOK_AGAIN = 0.05  # seconds
_TIME = "%Y%m%dt%H%M%S%f"
_JOB_ID = re.compile(rf"\d{{8}}t\d{{12}}-({'|'.join(LANES)})-[0-9a-f]{{6}}")
_SCHEMA = {
    "job_id": str,
    "kind": str,
    "state": str,
    "asked": dict,
    "created": float,
    "ended": (float,),
    "progress": (dict,),
    "report": (dict,),
    "error": (dict,),
    "notes": [str],
    "generation": str,
    "change": int,
    "can_be_cancelled": bool,
}


class UnknownJobError(CommonspaceError):
    """A job that nobody has a record of."""


class JobConflictError(CommonspaceError):
    """A job that cannot begin beside the one that runs, or that cannot be ended."""


@dataclass(frozen=True)
class Job:
    """One job, as its record says.

    Attributes:
        job_id: Its name, which begins with its time.
        kind: What it does.
        asked: What it was asked for, without the items themselves.
        state: What has become of it.
        created, ended: Seconds since 1970.
        progress: Where it is, or where it ended: ``step``, ``done``, ``total``, ``unit``; of a fit also ``number`` and
            ``steps``. None of what the service does itself.
        report: What came of it.
        error: Why it failed: ``type``, ``message`` and ``hint``.
        notes: Warnings.
        generation, change: The state of the bundle after it; before it while it runs.
        can_be_cancelled: Whether it runs, in a process of its own.
    """

    job_id: str
    kind: Kind
    asked: dict[str, Any]
    created: float
    generation: str
    change: int
    state: State = "running"
    ended: float | None = None
    progress: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    can_be_cancelled: bool = False

    @property
    def name(self) -> str:
        """What a message calls it."""
        return f"{self.kind} ({self.job_id})"


class Jobs:
    """The jobs of a bundle.

    Args:
        root: Folder of the bundle.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.folder = root, root / FOLDER

    def take(self, lane: Lane, seconds: float | None = None) -> int:
        """Take a lane; whoever closes the descriptor last gives it back.

        Args:
            lane: Which one.
            seconds: For how long another job is waited for; as `WAITS` says when None.

        Raises:
            JobConflictError: When another job is still running then.
        """
        until = time.monotonic() + (WAITS[lane] if seconds is None else seconds)
        while (descriptor := take_lock(self._lock(lane))) is None:
            if time.monotonic() > until:
                running = self.running(lane)
                name = "another job" if running is None else running.name
                can_end = running is not None and running.can_be_cancelled
                hint = f", or end it by DELETE /admin/jobs/{running.job_id}" if running and can_end else ""
                raise JobConflictError(f"{name} is running; wait until it has ended{hint}")
            time.sleep(_LOOK_AGAIN)
        return descriptor

    def begin(
        self, kind: Kind, asked: Mapping[str, Any], *, can_be_cancelled: bool = False, resumed: str | None = None
    ) -> Job:
        """Write the record of a new job, whose lane the caller has taken.

        The oldest records are removed, and what was uploaded for jobs of the lane but the one that is ``resumed``.
        A folder without a record, of a job that did not come to begin, is none of a job, and is removed.
        """
        names, lane = self._names(), LANES[kind]
        for name in self._unrecorded(lane):
            fsops.remove(self.folder_of(name))
        before = self._last_of(lane, names)
        if before is not None and (job := self._read(before)).state == "running":
            self.save(_interrupted(job))
        for name in [name for name in names[KEPT_JOBS - 1 :] if name not in map(self._last_of, get_args(Lane))]:
            fsops.remove(self.folder_of(name))
        for name in names:
            if LANES[_kind_in(name)] == lane and name != resumed:
                for path in self.files_of(name):
                    fsops.remove(path)
        job_id = _new_name(kind, names)
        fsops.make_folder(self.folder_of(job_id))
        generation, change = self.bundle_state()
        return self.save(
            Job(job_id, kind, dict(asked), time.time(), generation, change, can_be_cancelled=can_be_cancelled)
        )

    def save(self, job: Job) -> Job:
        """Write the record of a job; its values become those of JSON."""
        values = from_json(to_json(asdict(job), inf_nan_mode="null", serialize_unknown=True))
        fsops.write_bytes(self.folder_of(job.job_id) / RECORD, seal(values))
        return Job(**values)

    def end(self, job: Job, state: State, **outcome: Any) -> Job:  # noqa: ANN401 - fields of the record
        """Write what has become of a job, with the state of the bundle."""
        generation, change = self.bundle_state()
        ended = replace(job, state=state, ended=time.time(), generation=generation, change=change, **outcome)
        return self.save(replace(ended, can_be_cancelled=False))

    def get(self, job_id: str) -> Job:
        """Read a job.

        Raises:
            UnknownJobError: When there is none of this name.
        """
        job = self._read(job_id)
        if job.state != "running" or self._is_last_and_held(job):
            return job
        job = self._read(job_id)  # it may have ended between the two looks
        return job if job.state != "running" else _interrupted(job)

    def listed(self, most: int = KEPT_JOBS) -> list[Job]:
        """Read the latest jobs, the last first."""
        jobs = []
        for job_id in self._names()[:most]:
            with suppress(UnknownJobError):  # removed meanwhile
                jobs.append(self.get(job_id))
        return jobs

    def running(self, lane: Lane) -> Job | None:
        """Give the job that runs in a lane."""
        with suppress(UnknownJobError):
            if (name := self._last_of(lane)) is not None and (job := self.get(name)).state == "running":
                return job
        return None

    def ask_to_cancel(self, job_id: str) -> Job:
        """Ask a job to end.

        Raises:
            UnknownJobError: When there is none of this name.
            JobConflictError: When it has ended, or ends by itself soon.
        """
        job = self.get(job_id)
        if job.state != "running":
            raise JobConflictError(f"{job.name} is {job.state}; only a job that runs can be ended")
        if not job.can_be_cancelled:
            raise JobConflictError(f"{job.name} is done by the service itself, and will end soon; ask for it again")
        fsops.write_bytes(self.folder_of(job_id) / CANCEL, b"")
        return job

    def is_to_cancel(self, job_id: str) -> bool:
        """Say whether a job was asked to end."""
        return (self.folder_of(job_id) / CANCEL).exists()

    def folder_of(self, job_id: str) -> Path:
        """Give the folder of a job.

        Raises:
            UnknownJobError: When the name is none of a job.
        """
        if not _JOB_ID.fullmatch(job_id):
            raise UnknownJobError(f"there is no job {job_id[:60]!r}; GET /admin/jobs lists them")
        return self.folder / job_id

    def files_of(self, job_id: str) -> list[Path]:
        """Give what was uploaded for a job and is still there, whole."""
        found = (path for path in self.folder_of(job_id).glob("*") if path.name not in (RECORD, CANCEL))
        return sorted(path for path in found if path.suffix != fsops.TEMPORARY_SUFFIX)

    def bundle_state(self) -> tuple[str, int]:
        """Give the current generation, and the number of the last change; "" and 0 where CURRENT cannot be read."""
        with suppress(BundleError):
            if (state := read_state(self.root)) is not None:
                return state.generation, state.last
        return "", 0

    def _read(self, job_id: str) -> Job:
        path = self.folder_of(job_id) / RECORD
        if not path.exists():
            raise UnknownJobError(f"there is no job {job_id!r}; GET /admin/jobs lists them")
        try:
            values = unseal(path, _SCHEMA)
            if values["job_id"] != job_id or values["state"] not in get_args(State):
                raise DamagedFileError(f"{path} is that of another job, or of a state that is not known")
            return Job(**values)
        except (DamagedFileError, TypeError) as error:
            error_ = {"type": type(error).__name__, "message": f"the record cannot be read: {error}", "hint": ""}
            return Job(job_id, _kind_in(job_id), {}, 0.0, "", 0, state="failed", error=error_)

    def _names(self) -> list[str]:
        """Give the names of all jobs that have a record, the last first."""
        return sorted((path.name for path in self._folders() if (path / RECORD).exists()), reverse=True)

    def _unrecorded(self, lane: Lane) -> list[str]:
        """Give folders whose record was never written: by a full disk or a kill, where the caller holds their lane."""
        found = (path.name for path in self._folders() if not (path / RECORD).exists())
        return [name for name in found if LANES[_kind_in(name)] == lane]

    def _folders(self) -> list[Path]:
        return [path for path in self.folder.glob("*-*-*") if _JOB_ID.fullmatch(path.name) and path.is_dir()]

    def _last_of(self, lane: Lane, names: Sequence[str] | None = None) -> str | None:
        """Give the name of the last job of a lane, which alone can hold its lock."""
        return next((name for name in names or self._names() if LANES[_kind_in(name)] == lane), None)

    def _is_last_and_held(self, job: Job) -> bool:
        lane = LANES[job.kind]
        return self._last_of(lane) == job.job_id and is_taken(self._lock(lane))

    def _lock(self, lane: Lane) -> Path:
        return self.folder / f"{lane}.lock"


def _interrupted(job: Job) -> Job:
    return replace(job, state="interrupted", can_be_cancelled=False)


def _kind_in(job_id: str) -> Kind:
    """Give the kind that the name of a job tells."""
    return job_id.split("-")[1]  # type: ignore[return-value]


def _now() -> str:
    return f"{datetime.now(UTC):{_TIME}}"


def _new_name(kind: Kind, names: Sequence[str]) -> str:
    """Name a job so that it comes after all others, even if the clock was set back."""
    now = _now()
    if names and now <= (last := names[0].split("-")[0]):
        now = f"{datetime.strptime(last, _TIME) + timedelta(microseconds=1):{_TIME}}"
    return f"{now}-{kind}-{secrets.token_hex(3)}"


def error_of(error: Exception) -> dict[str, str]:
    """Give an error of this project, or of the operating system, as a record has it.

    >>> error_of(ValueError("k is 0; give a whole number"))
    {'type': 'ValueError', 'message': 'k is 0', 'hint': 'give a whole number'}
    """
    message, hint = split_hint(in_words_of_service(error))
    return {"type": type(error).__name__, "message": message, "hint": hint}
