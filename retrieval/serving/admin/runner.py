"""Begins jobs: short ones in a thread of the service, long ones in a process of their own."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from indexing.bundle.change_log import require_bundle
from indexing.errors import BundleError, CommonspaceError
from indexing.filesystem import fsops
from retrieval.serving.admin.child import settings_for
from retrieval.serving.admin.jobs import LANES, Job, JobConflictError, Jobs, Kind, error_of
from retrieval.serving.admin.learning import UPLOAD
from retrieval.serving.config import TOKENS, ServiceConfig
from retrieval.serving.engine.request import current_request
from retrieval.serving.engine.served_bundle import ServedBundle

LOG = logging.getLogger("commonspace.serving")
PACKAGES = Path(__file__).resolve().parents[3]
CHUNK = 1 << 20
RESUMABLE = ("cancelled", "failed", "interrupted")
FAULT = {"type": "InternalError", "message": "the service failed", "hint": "the log has the place"}


class JobRunner:
    """Begins the jobs of a service, whose other processes have runners of their own.

    Args:
        config: The settings of the service.
        served: What it serves, which follows what jobs change.

    Attributes:
        jobs: The records.
    """

    def __init__(self, config: ServiceConfig, served: ServedBundle) -> None:
        self.config, self.served = config, served
        self.root = Path(config.bundle).absolute()
        self.jobs = Jobs(self.root)

    def run_here(
        self,
        kind: Kind,
        asked: Mapping[str, Any],
        work: Callable[[], dict[str, Any]],
        begun: Callable[[Job], None] = lambda _: None,
    ) -> Job:
        """Do a short job in this thread; when this returns, this process serves what it changed.

        Args:
            kind: What it does.
            asked: What its record says of the request.
            work: Does it, and gives the report.
            begun: Called with the job when it begins.

        Raises:
            JobConflictError: When another job of the lane is running for too long.
            CommonspaceError: What the work raises; the record has it.
            BundleError: When the disk is full, or something else of the operating system fails.
        """
        request = current_request()
        with self._begun(kind, asked) as (job, _):
            begun(job)
            report = work()
            self.served.follow()
            if self.served.problem is not None:
                request.notes.append(f"what is current now cannot be served: {self.served.problem}")
            return self.jobs.end(job, "done", report=report, notes=list(request.notes))

    def start(
        self,
        kind: Kind,
        asked: Mapping[str, Any],
        upload: tuple[str, BinaryIO] | None = None,
        resumed: str | None = None,
    ) -> Job:
        """Begin a job in a process of its own.

        Args:
            kind: What it does.
            asked: What its record says of the request.
            upload: A file for the job, and the name to keep it under.
            resumed: The job whose upload it takes.

        Raises:
            JobConflictError: When another job of the lane is running.
            BundleError: When the disk is full, or something else of the operating system fails.
        """
        with self._begun(kind, asked, can_be_cancelled=True, resumed=resumed) as (job, lock):
            folder = self.jobs.folder_of(job.job_id)
            if upload is not None:
                _copy(upload[1], folder / upload[0])
            for path in self.jobs.files_of(resumed) if resumed else ():
                fsops.link_or_copy(path, folder / path.name)
            process = self._process(job, lock)
        threading.Thread(target=self._await, args=(process, job), name="commonspace-job", daemon=True).start()
        return job

    def resumed_fit(self, job_id: str) -> dict[str, Any]:
        """Give what a fit that did not end was asked for.

        Raises:
            UnknownJobError: When there is no such job.
            JobConflictError: When it is no fit, or has ended by itself.
        """
        job = self.jobs.get(job_id)
        if job.kind != "fit" or job.state not in RESUMABLE:
            raise JobConflictError(f"{job.name} is {job.state}; only a fit that was ended or has failed is resumed")
        if job.asked.get("log") == UPLOAD and not self.jobs.files_of(job_id):
            raise JobConflictError(f"the log that was uploaded for {job.name} is gone; upload it again")
        return dict(job.asked)

    @contextmanager
    def _begun(self, kind: Kind, asked: Mapping[str, Any], **more: Any) -> Iterator[tuple[Job, int]]:  # noqa: ANN401
        """Hold the lane of a new job for the length of a block, and write why it failed if the block does.

        Raises:
            BundleError: When the bundle is gone; nothing is made in its place. And in place of an error of the
                operating system, which says what it is.
        """
        require_bundle(self.root)
        try:
            with self._held(kind) as lock:
                job = self.jobs.begin(kind, asked, **more)
                try:
                    yield job, lock
                except BaseException as error:
                    told = error_of(error) if isinstance(error, CommonspaceError | OSError) else FAULT
                    self.jobs.end(job, "failed", error=told)
                    raise
        except OSError as error:
            raise BundleError(f"the bundle cannot be changed: {error}; see to its disk and to this machine") from error

    @contextmanager
    def _held(self, kind: Kind) -> Iterator[int]:
        """Hold the lock of a lane."""
        lock = self.jobs.take(LANES[kind])
        try:
            yield lock
        finally:
            os.close(lock)

    def _process(self, job: Job, lock: int) -> "subprocess.Popen[bytes]":
        """Start the process of a job; it inherits the lock of the lane, and no token."""
        environment = {name: value for name, value in os.environ.items() if name not in TOKENS.values()}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH")]))
        process = subprocess.Popen(
            [sys.executable, "-m", "retrieval.serving.admin.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=environment,
            pass_fds=(lock,),
            start_new_session=True,
        )
        try:
            if process.stdin is not None:
                with process.stdin:
                    process.stdin.write(settings_for(job, self.root, self.config.limits, self.config.events, lock))
        except OSError:  # it is gone already
            process.kill()
            process.wait()
            raise
        return process

    def _await(self, process: "subprocess.Popen[bytes]", job: Job) -> None:
        """Wait for the end of a process, and serve what it changed."""
        code = process.wait()
        if code:
            LOG.warning("job %s ended with code %d", job.job_id, code)
        try:
            self.served.follow()
        except Exception as error:  # the state that is served stays
            LOG.error("the bundle cannot be followed: %s", type(error).__name__)


def _copy(source: BinaryIO, path: Path) -> None:
    """Write an uploaded file."""
    source.seek(0)

    def produce(write: Callable[[bytes | memoryview], None]) -> None:
        while chunk := source.read(CHUNK):
            write(chunk)

    fsops.write_stream(path, produce)
