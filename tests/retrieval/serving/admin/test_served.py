"""A service of two processes with a port for `/admin`: a job is known to both, and continues when the service ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval.serving.admin.jobs import Jobs
from retrieval.serving.events import EventLog
from tests.retrieval.serving.admin.conftest import ADMIN
from tests.retrieval.serving.admin.test_processes import SETTINGS, chain
from tests.toy import toy_file


@contextlib.contextmanager
def running(bundle: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str, str]]:
    command = [
        sys.executable,
        "-m",
        "retrieval.cli",
        "serve",
        str(bundle),
        "--port",
        "0",
        "--admin-port",
        "0",
        *options,
    ]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COMMONSPACE_ADMIN_TOKEN": ADMIN}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        url, admin = (part.rpartition(" at ")[2] for part in first.split("; ")[:2])
        yield process, url, admin
    finally:
        process.terminate()
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def asked(url: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
    """Ask with the admin token, again while the service starts."""
    headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    for _ in range(600):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:  # noqa: S310
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the service does not answer")


@pytest.mark.slow
def test_a_job_is_known_to_all_and_continues_when_the_service_ends(tmp_path: Path) -> None:
    root, url = tmp_path / "bundle", f"sqlite:///{tmp_path / 'events.db'}"
    build_bundle(Catalogue.from_parquet(toy_file(tmp_path)), load_encoder("pocket"), root)
    pq.write_table(chain(), tmp_path / "log.parquet")
    with EventLog.open(url) as log:
        log.import_log(tmp_path / "log.parquet")
    with running(root, "--workers", "2", "--events", url) as (process, main, admin):
        assert asked(f"{main}/admin/jobs")[0] == 404
        assert asked(f"{admin}/info")[0] == 404
        status, begun = asked(f"{admin}/admin/fit", SETTINGS)
        assert status == 202
        name = begun["job"]["job_id"]
        seen = [asked(f"{admin}/admin/jobs/{name}") for _ in range(12)]  # by either process
        assert {(status, answer["job"]["state"]) for status, answer in seen} == {(200, "running")}
        assert asked(f"{admin}/admin/compact", {})[0] == 409
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert Jobs(root).get(name).state == "running"
    with running(root) as (_, main, admin):
        for _ in range(1_200):
            job = asked(f"{admin}/admin/jobs/{name}")[1]["job"]
            if job["state"] != "running":
                break
            time.sleep(0.1)
        assert (job["state"], job["report"]["published"][:1]) == ("done", ["behaviour"]), job
        assert Bundle.open(root).manifest.generation == job["generation"]
        for _ in range(600):  # the service follows
            if asked(f"{admin}/ready")[1]["generation"] == job["generation"]:
                return
            time.sleep(0.1)
        raise AssertionError("what was learned is not served")
