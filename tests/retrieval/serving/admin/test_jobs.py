"""Records of jobs: one of a lane runs, a kill is told, and what is damaged or unknown is no answer."""

import errno
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from indexing.errors import InputError
from indexing.filesystem import fsops
from retrieval.serving.admin import child, jobs
from retrieval.serving.admin.child import Record, done
from retrieval.serving.admin.jobs import Job, JobConflictError, Jobs, UnknownJobError
from tests.retrieval.serving.admin.conftest import HEADERS, AdminClient


@pytest.fixture
def book(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def test_a_record_is_read_back(book: Jobs) -> None:
    lock = book.take("generations")
    job = book.begin("fit", {"effort": "fast"}, can_be_cancelled=True)
    assert book.get(job.job_id) == job == book.running("generations")
    ended = book.end(job, "done", report={"ndcg": float("nan"), "parts": ("a", "b")}, notes=["one"])
    os.close(lock)
    assert book.listed() == [ended]
    assert (job.can_be_cancelled, ended.can_be_cancelled) == (True, False)
    assert ended.report == {"ndcg": None, "parts": ["a", "b"]}
    assert book.running("generations") is None


def test_a_second_job_of_a_lane_is_refused_with_the_name_of_the_first(admin: AdminClient) -> None:
    book = Jobs(admin.root)
    lock = book.take("generations")
    job = book.begin("fit", {}, can_be_cancelled=True)
    for path, body in (("compact", None), ("rollback", {}), ("publish", {})):
        error = admin.post(path, body, 409)["error"]
        assert error["message"] == f"fit ({job.job_id}) is running"
        assert error["hint"] == f"wait until it has ended, or end it by DELETE /admin/jobs/{job.job_id}"
    assert admin.put({"item_id": "twin", "title": "red mug"})["added"] == 1  # items may change meanwhile
    os.close(lock)
    before, interrupted = job, admin.get(f"jobs/{job.job_id}")["job"]
    assert (before.can_be_cancelled, interrupted["state"], interrupted["can_be_cancelled"]) == (
        True, "interrupted", False,
    )  # fmt: skip
    assert admin.post("rollback", {})["job"]["state"] == "done"
    assert admin.get(f"jobs/{job.job_id}")["job"] == interrupted


def test_a_lock_is_waited_for(book: Jobs) -> None:
    lock = book.take("items")
    threading.Timer(0.2, os.close, [lock]).start()
    os.close(book.take("items", 20.0))


def test_the_last_of_a_lane_alone_runs_also_when_the_clock_was_set_back(
    book: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = book.take("items")
    first = book.begin("add", {})
    os.close(lock)
    monkeypatch.setattr(jobs, "_now", lambda: "20000101t000000000000")
    lock = book.take("items")
    second = book.begin("delete", {})
    assert second.job_id > first.job_id
    assert [(one.kind, one.state) for one in book.listed()] == [("delete", "running"), ("add", "interrupted")]
    os.close(lock)


def test_old_records_and_uploads_are_removed(book: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "KEPT_JOBS", 3)
    fits = list[Job]()
    for number in range(3):
        lock = book.take("generations")
        fits.append(book.begin("fit", {}, resumed=fits[0].job_id if number == 2 else None))
        (book.folder_of(fits[-1].job_id) / "interactions.parquet").write_bytes(b"log")
        book.end(fits[-1], "failed")
        os.close(lock)
    (book.folder_of(fits[2].job_id) / "job.json.tmp").write_bytes(b"{")  # as of a process that was killed
    assert [len(book.files_of(job.job_id)) for job in fits] == [0, 0, 1]
    for _ in range(5):
        book.end(book.begin("add", {}), "done")
    assert [job.kind for job in book.listed()] == ["add", "add", "add", "fit"]  # the last of each lane stays


def test_damaged_and_unknown_records(admin: AdminClient) -> None:
    admin.put({"item_id": "twin", "title": "red mug"})
    (job,) = admin.get("jobs")["jobs"]
    for name in ("x", "..", "20260101t000000000000-add-000000", f"{job['job_id']}x"):
        assert admin.client.get(f"/admin/jobs/{name}", headers=HEADERS).status_code == 404
    record = admin.root / "jobs" / job["job_id"] / "job.json"
    record.write_text(record.read_text().replace("done", "gone"))
    read = admin.get(f"jobs/{job['job_id']}")["job"]
    assert (read["state"], read["error"]["type"]) == ("failed", "DamagedFileError")


def test_what_has_ended_cannot_be_ended(admin: AdminClient) -> None:
    admin.put({"item_id": "twin", "title": "red mug"})
    (job,) = admin.get("jobs")["jobs"]
    error = admin.delete(f"jobs/{job['job_id']}", 409)["error"]
    assert error["message"] == f"add ({job['job_id']}) is done"
    book = Jobs(admin.root)
    lock = book.take("items")
    mine = book.begin("add", {})
    assert "by the service itself" in admin.delete(f"jobs/{mine.job_id}", 409)["error"]["message"]
    os.close(lock)


def test_names_of_jobs_are_never_paths(book: Jobs) -> None:
    for name in ("../x", "20260101t000000000000-add-000000/..", "20260101t000000000000-else-000000", ""):
        with pytest.raises(UnknownJobError, match="there is no job"):
            book.folder_of(name)


def begun(book: Jobs) -> Record:
    return Record(book, book.begin("compact", {}, can_be_cancelled=True))


@pytest.mark.parametrize(
    ("error", "kind", "message", "hint"),
    [
        (InputError("k is 0; give more"), "InputError", "k is 0", "give more"),
        (OSError(28, "no space", "/x"), "OSError", "[Errno 28] no space: '/x'", ""),
    ],
)
def test_why_a_job_failed_is_in_its_record(book: Jobs, error: Exception, kind: str, message: str, hint: str) -> None:
    record = begun(book)

    def task() -> dict[str, Any]:
        raise error

    assert not done(record, task)
    job = book.get(record.job.job_id)
    assert (job.state, job.error) == ("failed", {"type": kind, "message": message, "hint": hint})


def test_a_fault_names_its_place_and_nobody(book: Jobs) -> None:
    record = begun(book)

    def task() -> dict[str, Any]:
        raise KeyError("ann@example.org")

    assert not done(record, task)
    error = book.get(record.job.job_id).error
    assert error is not None
    assert (error["type"], "ann" in error["message"]) == ("KeyError", False)
    assert " in task" in error["message"]


def test_progress_is_written_with_each_step_and_with_the_end(book: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    record, seen = begun(book), []
    save = Jobs.save

    def noted(self: Jobs, job: Job) -> Job:
        seen.append(job.progress and (job.progress["step"], job.progress["done"]))
        return save(self, job)

    monkeypatch.setattr(Jobs, "save", noted)
    monkeypatch.setattr(child, "SECONDS_BETWEEN", 3_600.0)

    def task() -> dict[str, Any]:
        for step in ("a", "b"):
            for number in range(5):
                record.progress({"step": step, "done": number, "total": 5})
        return {}

    assert done(record, task)
    assert seen == [("a", 0), ("b", 0), ("b", 5)]


@pytest.mark.parametrize(
    ("at", "done_at"),
    [
        ({"step": "index", "done": 0, "total": None}, {"step": "index", "done": 1, "total": 1}),
        ({"step": "reading", "done": 30, "total": None}, {"step": "reading", "done": 30, "total": 30}),
        (
            {"step": "index", "done": 2, "total": 4, "number": 5, "steps": 9},
            {"step": "index", "done": 4, "total": 4, "number": 5, "steps": 5},
        ),
    ],
)
def test_progress_is_whole_where_a_job_is_done_and_else_where_it_stopped(
    book: Jobs, at: dict[str, Any], done_at: dict[str, Any]
) -> None:
    def stops() -> dict[str, Any]:
        raise InputError("no more")

    def cancelled() -> dict[str, Any]:
        raise KeyboardInterrupt

    for task, expected in ((dict, done_at), (stops, at), (cancelled, at)):
        record = begun(book)
        record.progress(at)
        done(record, task)
        assert book.get(record.job.job_id).progress == expected


def test_the_list_of_jobs_has_their_reports(admin: AdminClient) -> None:
    admin.put({"item_id": "twin", "title": "red mug"}, 5)
    admin.post("rollback", {})
    jobs = admin.get("jobs")["jobs"]
    assert [(job["kind"], job["can_be_cancelled"], job["progress"]) for job in jobs] == [
        ("rollback", False, None), ("add", False, None),
    ]  # fmt: skip
    assert jobs[0]["report"] == {"generation": jobs[0]["generation"], "items": 21}
    assert (jobs[1]["report"]["added"], [row["row"] for row in jobs[1]["report"]["rejected_rows"]]) == (1, [1])
    assert jobs == [admin.get(f"jobs/{job['job_id']}")["job"] for job in jobs]


def test_a_job_is_ended_where_it_is(book: Jobs) -> None:
    record = begun(book)
    before = signal.signal(signal.SIGINT, record.interrupt)
    threading.Thread(target=child._end_when_asked, args=(record,), daemon=True).start()
    lock = book.take("generations")
    (book.folder_of(record.job.job_id) / "upload").write_bytes(b"kept, to be resumed")

    def task() -> dict[str, Any]:
        book.ask_to_cancel(record.job.job_id)
        for _ in range(6_000):
            time.sleep(0.01)
        return {}

    try:
        assert not done(record, task)
        assert book.get(record.job.job_id).state == "cancelled"
        assert len(book.files_of(record.job.job_id)) == 1
        record.interrupt()  # too late: nothing is raised
    finally:
        signal.signal(signal.SIGINT, before)
        os.close(lock)


def test_a_job_that_does_not_end_in_time_is_ended(book: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    record, ended = begun(book), list[int]()
    monkeypatch.setattr(child, "GRACE", 0.0)
    monkeypatch.setattr(os, "_exit", ended.append)
    monkeypatch.setattr(signal, "pthread_kill", lambda *_: None)  # as one that is deaf
    lock = book.take("generations")
    book.ask_to_cancel(record.job.job_id)
    child._end_when_asked(record)
    os.close(lock)
    assert ended == [1]
    assert book.get(record.job.job_id).state == "cancelled"


def test_another_process_may_not_take_what_is_held(book: Jobs) -> None:
    lock = book.take("items")
    with pytest.raises(JobConflictError, match="another job is running"):
        book.take("items", 0.0)
    os.close(lock)


def test_a_record_that_could_not_be_written_blocks_no_later_job(
    admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, write = [], fsops.write_bytes

    def full(path: Path, data: bytes) -> None:
        written.append(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(fsops, "write_bytes", full)
    error = admin.post("items", {"mode": "add", "items": [{"item_id": "twin", "title": "red mug"}]}, 503)["error"]
    assert "No space left on device" in error["message"]
    assert "disk" in error["hint"]
    monkeypatch.setattr(fsops, "write_bytes", write)
    left = written[0].parent
    assert left.is_dir()  # as a kill leaves it
    assert admin.get("jobs")["jobs"] == []
    assert admin.get(f"jobs/{left.name}", 404)["error"]["type"] == "UnknownJobError"
    other = admin.root / "jobs" / left.name.replace("-add-", "-fit-")
    other.mkdir()
    assert admin.put({"item_id": "twin", "title": "red mug"})["added"] == 1
    assert not left.exists()
    assert other.exists()  # it may be about to begin
    assert admin.post("rollback", {})["job"]["state"] == "done"
    assert not other.exists()


def test_a_bundle_that_is_gone_is_not_made_again(admin: AdminClient) -> None:
    admin.root.rename(admin.root.with_name("away"))
    for path, body in (("items/delete", {"item_ids": ["mug"]}), ("compact", None), ("rollback", {})):
        assert "holds no bundle" in admin.post(path, body, 503)["error"]["message"]
    assert not admin.root.exists()
