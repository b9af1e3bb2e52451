"""The process of one long job: ``python -m retrieval.serving.admin.child``, with its settings on standard input.

It has the lock of its job from the process that started it, and keeps it until it ends. It runs at a low priority, so
that answers stay fast, and belongs to no terminal: it continues when the service ends.
"""

import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import ATTRIBUTES, BRIDGE, GOLDEN, IDS
from indexing.errors import CommonspaceError, CommonspaceWarning
from indexing.filesystem import fsops
from indexing.runtime.progress import ProgressStep, progress, progress_to
from retrieval.serving.admin.jobs import Job, Jobs, error_of
from retrieval.serving.config import Limits

NICE = 10
SESSION = Path("/proc/self/autogroup")
SECONDS_BETWEEN = 0.5  # two records of progress
GRACE = 20.0  # seconds in which a job that is cancelled may tidy up
_LOOK = 0.2  # seconds between two looks at whether it is to end
MOST_NOTES = 100


class Settings(TypedDict):
    """What a job is told by the process that starts it."""

    root: str
    job_id: str
    events: str | None
    limits: dict[str, Any]
    lock: int


class Record:
    """The record of the job, which the thread that works and the one that waits for its end both write."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self.jobs, self.job = jobs, job
        self.lock = threading.Lock()
        self.works, self.ended = True, False
        self._latest, self._written = job.progress, 0.0

    def interrupt(self, *_: object) -> None:
        """Interrupt the work once, if it is not done yet.

        Raises:
            KeyboardInterrupt: Then.
        """
        if self.works:
            self.works = False
            raise KeyboardInterrupt

    def progress(self, at: dict[str, Any]) -> None:
        """Write where the job is: a new step at once, and within a step now and then."""
        now = time.monotonic()
        before, self._latest = self._latest or {}, at
        if now - self._written < SECONDS_BETWEEN and before.get("step") == at.get("step"):
            return
        with self.lock:
            if not self.ended:
                self.job, self._written = self.jobs.save(replace(self.job, progress=at)), now

    def end(self, **outcome: Any) -> None:  # noqa: ANN401 - fields of the record
        """Write what has become of the job, once."""
        with self.lock:
            if not self.ended:
                self.ended = True
                at = _finished(self._latest) if self._latest and outcome["state"] == "done" else self._latest
                self.jobs.end(self.job, progress=at, **outcome)


def main() -> int:
    """Do the job, and give the exit code: 0 when it is done."""
    settings: Settings = json.loads(sys.stdin.read())
    os.set_inheritable(settings["lock"], False)  # to no process that decodes files
    give_way()
    jobs = Jobs(Path(settings["root"]))
    record = Record(jobs, jobs.get(settings["job_id"]))
    signal.signal(signal.SIGINT, record.interrupt)
    threading.Thread(target=_end_when_asked, args=(record,), daemon=True).start()
    is_done = done(record, lambda: work(record, settings))
    os.close(settings["lock"])  # libraries take their time to end
    return 0 if is_done else 1


def give_way() -> None:
    """Take a low priority, so that answers come first.

    Linux may share a processor between sessions, and then `nice` counts within each of them alone: a process with a
    session of its own would get as much as the service, whatever its priority. So the session gets the priority too.
    """
    with suppress(OSError):
        os.nice(NICE)
    with suppress(OSError):
        setting = os.open(SESSION, os.O_WRONLY)  # of the kernel, and no file
        try:
            os.write(setting, str(NICE).encode())
        finally:
            os.close(setting)


def done(record: Record, task: Callable[[], dict[str, Any]]) -> bool:
    """Do a task and write its outcome; say whether it is done."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CommonspaceWarning)
        try:
            outcome = _outcome(task)
            record.works = False
        except KeyboardInterrupt:
            outcome = {"state": "cancelled"}
    notes = [str(one.message) for one in caught if issubclass(one.category, CommonspaceWarning)]
    is_done: bool = outcome["state"] == "done"
    with suppress(OSError):
        for path in record.jobs.files_of(record.job.job_id) if is_done else ():
            fsops.remove(path)
    record.end(**outcome, notes=[*dict.fromkeys(notes)][:MOST_NOTES])
    return is_done


def _outcome(task: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return {"state": "done", "report": task()}
    except (CommonspaceError, OSError) as error:
        return {"state": "failed", "error": error_of(error)}
    except Exception as error:  # its message may name a user, and is not kept
        places = traceback.extract_tb(error.__traceback__)[-8:]
        where = " < ".join(f"{place.filename}:{place.lineno} in {place.name}" for place in reversed(places))
        return {"state": "failed", "error": {"type": type(error).__name__, "message": where, "hint": ""}}


def work(record: Record, settings: Settings) -> dict[str, Any]:
    """Do what the kind of the job says."""
    job, root = record.job, Path(settings["root"])
    record.progress({"step": "starting", "done": 0, "total": None})
    files = record.jobs.files_of(job.job_id)
    match job.kind:
        case "fit":
            from retrieval.serving.admin.learning import fit_bundle  # loads torch when it trains

            return fit_bundle(root, job.asked, files[0] if files else None, settings["events"], record.progress)
        case "compact":
            from retrieval.retriever.learned_parts import compact

            with progress_to(lambda step: record.progress(_in_words(step))), progress("compacting"):
                bundle = compact(root)
            return {"generation": bundle.manifest.generation, "items": bundle.manifest.items}
        case "add" | "upsert" | "update":
            from retrieval.serving.admin.edits import edit_items, encoding

            bundle = Bundle.open(root, only=(ATTRIBUTES, IDS, BRIDGE, GOLDEN))
            limits = encoding(Limits(**settings["limits"]), here=False)
            with progress_to(lambda step: record.progress(_in_words(step))):
                return edit_items(job.kind, files[0], bundle, None, limits, progress=True)
        case _:
            raise ValueError(f"no process does jobs of kind {job.kind!r}")


def settings_for(job: Job, root: Path, limits: Limits, events: str | None, lock: int) -> bytes:
    """Give what `main` reads from standard input."""
    settings = Settings(root=str(root), job_id=job.job_id, events=events, limits=asdict(limits), lock=lock)
    return json.dumps(settings).encode()


def _in_words(step: ProgressStep) -> dict[str, Any]:
    return {"step": step.label, "done": step.done, "total": step.total, "unit": step.unit or None}


def _finished(at: Mapping[str, Any]) -> dict[str, Any]:
    """Give the progress of what is done: its last step is whole, and no expected one is left.

    >>> _finished({"step": "index", "done": 0, "total": None, "number": 5, "steps": 9})
    {'step': 'index', 'done': 1, 'total': 1, 'number': 5, 'steps': 5}
    """
    total = at.get("total") or at["done"] or 1
    numbered = {"steps": at["number"]} if at.get("number") else {}
    return {**at, "done": total, "total": total, **numbered}


def _end_when_asked(record: Record) -> None:
    """Wait until the job is to end; interrupt what works, and end the process when it does not end in time."""
    job_id = record.job.job_id
    while not record.jobs.is_to_cancel(job_id):
        time.sleep(_LOOK)
    with record.lock:
        if record.ended:
            return
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
    time.sleep(GRACE)
    if not record.ended:  # one that has ended leaves by itself
        record.end(state="cancelled")
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
