"""Long jobs in processes of their own: their progress, their end, a kill, and what the service serves after them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.filesystem import fsops
from retrieval.serving.admin.child import NICE, SESSION
from retrieval.serving.admin.jobs import Jobs
from retrieval.serving.events import EventLog
from tests.retrieval.batch.shop import ITEMS, built
from tests.retrieval.serving.admin.conftest import ADMIN, AdminClient
from tests.retrieval.serving.conftest import Started
from tests.toy import ToyEncoder, toy_file

ORDER = np.random.default_rng(0).permutation(ITEMS).tolist()
SETTINGS = {"effort": "fast", "exposure_floor": 1.0}


def chain(users: int = 60, items: int = 8) -> pa.Table:
    """Users who take items in one order that has nothing to do with their colours and shapes."""
    order, start = (
        np.random.default_rng(0).permutation(ITEMS),
        np.random.default_rng(1).integers(len(ITEMS), size=users),
    )
    rows = [
        {"user_id": f"u{user}", "item_id": str(order[(start[user] + step) % len(ITEMS)])}
        | {"timestamp": 1_700_000_000 + 1_000 * user + 60 * step, "event": "like"}
        for user in range(users)
        for step in range(items)
    ]
    return pa.Table.from_pylist(rows)


@pytest.fixture(scope="module")
def plain_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy shop, which has learned nothing."""
    return built(tmp_path_factory.mktemp("plain"), learn=False)


@pytest.fixture
def live(started: Started, plain_shop: Path, tmp_path: Path) -> AdminClient:
    """A service with live events."""
    shutil.copytree(plain_shop, tmp_path / "bundle")
    url, path = f"sqlite:///{tmp_path / 'events.db'}", tmp_path / "log.parquet"
    pq.write_table(chain(), path)
    with EventLog.open(url) as log:
        log.import_log(path)
    client = started(tmp_path / "bundle", admin_token=ADMIN, events=url, poll_seconds=3_600.0)
    return AdminClient(client, tmp_path / "bundle")


def recommended(admin: AdminClient) -> list[list[str]]:
    body = {"histories": [[item] for item in ITEMS[:5]], "k": 3}
    results = admin.client.post("/recommend", json=body).json()["results"]
    return [[hit["item_id"] for hit in result["hits"]] for result in results]


def process_of(admin: AdminClient) -> int:
    """Find the process of the job that runs, by the lock that it holds."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"serving.admin.child" in path.read_bytes() and os.getppid() != int(path.parent.name):
                links = [os.readlink(link) for link in (path.parent / "fd").iterdir()]
                if any(link.startswith(str(admin.root)) for link in links):
                    return int(path.parent.name)
        except OSError:
            continue
    raise AssertionError("no process has the lock")


def test_compaction_is_done_elsewhere_and_served(admin: AdminClient) -> None:
    admin.put({"item_id": "twin", "title": "red mug"})
    delete(admin.root, ["red-lamp"])
    assert admin.post("compact", {"to": "x"}, 422)
    begun = admin.post("compact", status=202)
    assert begun["job"]["can_be_cancelled"]
    assert admin.put({"item_id": "meanwhile", "title": "blue mug"})["added"] == 1
    job = admin.until_ended(begun)
    assert (job["state"], job["report"]["generation"]) == ("done", job["generation"])
    assert job["progress"]["done"] == job["progress"]["total"] > 0
    assert not job["can_be_cancelled"]
    served = admin.client.app.state.service.served  # type: ignore[attr-defined]
    for _ in range(1_000):
        if served.current.generation == job["generation"]:
            break
        time.sleep(0.01)
    assert {"twin", "red-mug"} <= {*admin.found("red mug")}
    assert "meanwhile" in admin.found("blue mug")
    assert Bundle.open(admin.root).manifest.batches >= 2
    admin.post("rollback", {})
    assert "twin" in admin.found("red mug")


@pytest.mark.slow
def test_a_fit_of_live_events_changes_recommendations(live: AdminClient) -> None:
    """Staged first; what it learned is served when it is published, and taken back by a rollback."""
    before = recommended(live)
    begun = live.post("fit", {**SETTINGS, "publish": False}, status=202)
    assert begun["job"]["asked"] == {**SETTINGS, "publish": False, "log": "events", "up_to": 480}
    numbers = list[int]()

    def ended(job: dict[str, Any]) -> bool:
        numbers.append((job["progress"] or {}).get("number") or 0)
        return bool(job["state"] != "running")

    job = live.until(begun, ended)
    assert job["state"] == "done", job
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 2
    assert job["report"]["staged"] == live.get("generations")["generations"][0]["generation"]
    assert "behaviour" in job["report"]["staged_parts"]
    assert (job["report"]["published"], job["report"]["refused"]) == ([], "")
    assert job["report"]["gain"]["after"] > job["report"]["gain"]["before"]
    at = job["progress"]
    assert (at["done"], at["number"], job["can_be_cancelled"]) == (at["total"], at["steps"], False)
    assert live.get("jobs")["jobs"] == [job]
    assert recommended(live) == before
    live.post("publish", {})
    after = recommended(live)
    assert after != before
    follows = {item: ORDER[(place + 1) % len(ORDER)] for place, item in enumerate(ORDER)}
    hits = sum(follows[item] in found for item, found in zip(ITEMS, after, strict=False))
    assert hits > sum(follows[item] in found for item, found in zip(ITEMS, before, strict=False))
    live.post("rollback", {})
    assert recommended(live) == before


@pytest.mark.slow
def test_a_fit_that_was_killed_is_interrupted_and_can_be_resumed(live: AdminClient) -> None:
    begun = live.post("fit", SETTINGS, status=202)
    live.until(begun, lambda job: (job["progress"] or {}).get("number") is not None)
    os.kill(process_of(live), signal.SIGKILL)
    job = live.until_ended(begun)
    assert job["state"] == "interrupted"
    assert Bundle.open(live.root).manifest.generation == begun["job"]["generation"]
    with EventLog.open(str(live.client.app.state.service.config.events)) as log:  # type: ignore[attr-defined]
        log.append([{"item_id": "red-mug", "type": "like", "user_id": "late", "time": 1_750_000_000}])
    assert live.post("fit", {"resume": job["job_id"], "effort": "fast"}, 422)
    again = live.post("fit", {"resume": job["job_id"]}, 202)
    assert again["job"]["asked"]["up_to"] == 480  # the same log, so that checkpoints are of use
    done = live.until_ended(again)
    assert done["state"] == "done", done
    assert done["report"]["known"]["users"] == 60
    assert live.post("fit", {"resume": done["job_id"]}, 409)


@pytest.mark.slow
def test_a_fit_of_an_uploaded_log_is_ended(live: AdminClient, tmp_path: Path) -> None:
    content = (tmp_path / "log.parquet").read_bytes()
    begun = live.upload("fit/upload", {"interactions": content}, json.dumps(SETTINGS))
    live.until(begun, lambda job: (job["progress"] or {}).get("number") is not None)
    name = begun["job"]["job_id"]
    assert [path.name for path in Jobs(live.root).files_of(name)] == ["interactions.parquet"]
    assert live.delete(f"jobs/{name}", 202)["job"]["state"] == "running"
    job = live.until_ended(begun)
    assert (job["state"], job["generation"]) == ("cancelled", begun["job"]["generation"])
    assert live.delete(f"jobs/{name}", 409)["error"]["message"] == f"fit ({name}) is cancelled"
    fsops.remove(Jobs(live.root).files_of(name)[0])
    error = live.post("fit", {"resume": name}, 409)["error"]
    assert (error["message"], error["hint"]) == (
        f"the log that was uploaded for fit ({name}) is gone",
        "upload it again",
    )


@pytest.mark.slow
def test_many_items_are_put_in_by_a_process(started: Started, tmp_path: Path) -> None:
    """The encoder is loaded by its name."""
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), load_encoder("pocket"), tmp_path / "bundle")
    client = started(tmp_path / "bundle", encoder=load_encoder("pocket"), admin_token=ADMIN, poll_seconds=3_600.0)
    admin = AdminClient(client, tmp_path / "bundle")
    items = [{"item_id": f"n{number}", "title": f"red mug {number}", "price": number} for number in range(70)]
    job = admin.until_ended(admin.post("items", {"items": [*items, 5]}, 202))
    assert (job["state"], job["report"]["added"], job["report"]["rejected_rows"][0]["row"]) == ("done", 70, 70)
    assert job["progress"]["step"] == "encoding"
    assert job["progress"]["done"] == job["progress"]["total"] == 70


def test_a_process_that_cannot_start_leaves_a_failed_job(admin: AdminClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(subprocess, "Popen", fails)
    error = admin.post("compact", status=503)["error"]
    assert "Cannot allocate memory" in error["message"]
    (job,) = admin.get("jobs")["jobs"]
    assert (job["state"], "Cannot allocate memory" in job["error"]["message"]) == ("failed", True)
    assert Jobs(admin.root).running("generations") is None


def test_a_toy_encoder_is_not_loaded_by_name(admin: AdminClient) -> None:
    """What a process cannot do is the reason of its job, and nothing is changed."""
    items = [{"item_id": f"n{number}", "title": "red mug"} for number in range(65)]
    job = admin.until_ended(admin.post("items", {"items": items}, 202))
    assert (job["state"], job["error"]["type"]) == ("failed", "UnknownEncoderError")
    assert ToyEncoder().info.name in job["error"]["message"]
    assert Bundle.open(admin.root).state.last == 0


@pytest.mark.skipif(not SESSION.exists(), reason="sessions share the processor on some Linux alone")
def test_a_process_gives_way_to_answers_of_another_session() -> None:
    code = (
        "import os; from retrieval.serving.admin.child import SESSION, give_way; give_way(); "
        "print(os.getpriority(os.PRIO_PROCESS, 0) - os.getpriority(os.PRIO_PROCESS, os.getppid()), SESSION.read_text())"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True, start_new_session=True).stdout.split()
    assert (int(told[0]), told[-2:]) == (NICE, ["nice", str(NICE)])
