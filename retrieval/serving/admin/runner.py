"""Begins jobs: short ones in a thread of the service, long ones in a process of their own."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from indexing.errors import CommonspaceError
from indexing.filesystem import fsops
from retrieval.serving.admin.child import settings_for
from retrieval.serving.admin.jobs import LANES, Job, JobConflictError, Jobs, Kind, error_of
from retrieval.serving.config import TOKENS, ServiceConfig
from retrieval.serving.engine.request import current_request
from retrieval.serving.engine.served_bundle import ServedBundle

LOG = logging.getLogger("commonspace.serving")
PACKAGES = Path(__file__).resolve().parents[3]
CHUNK = 1 << 20
RESUMABLE = ("cancelled", "failed", "interrupted")


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
        """
        request = current_request()
        lock = self.jobs.take(LANES[kind])
        try:
            job = self.jobs.begin(kind, asked)
            begun(job)
            try:
                report = work()
            except (CommonspaceError, OSError) as error:
                self.jobs.end(job, "failed", error=error_of(error))
                raise
            except BaseException as error:
                self.jobs.end(job, "failed", error={"type": type(error).__name__, "message": "", "hint": "see the log"})
                raise
            self.served.follow()
            if self.served.problem is not None:
                request.notes.append(f"what is current now cannot be served: {self.served.problem}")
            job = self.jobs.end(job, "done", report=report, notes=list(request.notes))
        finally:
            os.close(lock)
        return job

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
        """
        lock = self.jobs.take(LANES[kind])
        try:
            job = self.jobs.begin(kind, asked, can_be_cancelled=True, resumed=resumed)
            with self._failed_if_not_started(job):
                folder = self.jobs.folder_of(job.job_id)
                if upload is not None:
                    _copy(upload[1], folder / upload[0])
                for path in self.jobs.files_of(resumed) if resumed else ():
                    fsops.link_or_copy(path, folder / path.name)
                process = self._process(job, lock)
        finally:
            os.close(lock)
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
        return dict(job.asked)

    @contextmanager
    def _failed_if_not_started(self, job: Job) -> Any:  # noqa: ANN401 - of a context
        try:
            yield
        except BaseException as error:
            self.jobs.end(replace(job, can_be_cancelled=False), "failed", error=error_of(Exception(str(error))))
            raise

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
