"""Several processes that share a port: each scrape gives the sums over all, and their logs are lines of JSON."""

import json
import os
import signal
import tempfile
import time
import urllib.request
from pathlib import Path

import pytest

from tests.retrieval.serving.observability.scraping import Samples, samples_of
from tests.retrieval.serving.test_server import asked, bundle, running, until_answered

__all__ = ["bundle"]
SECONDS, STAGE_SECONDS = "commonspace_request_seconds", "commonspace_stage_seconds"


def scrape(url: str) -> Samples:
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310
        return samples_of(answer.read().decode())


def searches(url: str) -> float:
    return scrape(url).total(f"{SECONDS}_count", route="/search")


def until_counted(url: str, count: int) -> None:
    """Wait for the process that answered last: it counts when its answer is on the way."""
    for _ in range(300):
        if searches(url) == count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{searches(url)} searches were counted, expected {count}")


@pytest.mark.slow
def test_processes_answer_alike_and_count_together(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    log = tmp_path / "log"
    with log.open("w") as file, running(bundle, "--workers", "2", log=file.fileno()) as (process, url):
        (folder,) = tmp_path.glob("commonspace-metrics-*")
        generation = {label for label in scrape(url).labels("commonspace_generation_info", "generation")}
        results = [asked(url, {"texts": ["red mug"]})["results"] for _ in range(20)]
        assert all(one == results[0] for one in results)
        until_counted(url, 20)
        found = [scrape(url) for _ in range(10)]  # whichever process answers
        assert {one.value(f"{SECONDS}_count", route="/search", status="200") for one in found} == {20}
        assert found[-1].total(f"{STAGE_SECONDS}_sum") == pytest.approx(found[-1].total(f"{SECONDS}_sum"), rel=1e-9)
        assert found[-1].labels("commonspace_generation_info", "generation") == generation
        assert found[-1].total("commonspace_generation_info") == len(generation) == 1
        counting = {int(path.stem.split("_")[-1]) for path in folder.glob("counter_*.db")}
        assert len(counting) == 2
        os.kill(min(counting), signal.SIGKILL)
        for _ in range(1200):  # until another one has its place
            if len(list(folder.glob("counter_*.db"))) == 3:
                break
            time.sleep(0.1)
        assert len(list(folder.glob("counter_*.db"))) == 3
        until_answered(f"{url}/ready")
        assert searches(url) == 20  # what the dead one has counted stays
        assert not list(folder.glob(f"gauge_live*_{min(counting)}.db"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert not folder.exists()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(line["route"], line["status"]) for line in requests] == [("/search", 200)] * 20
    assert all({"timestamp", "level", "logger"} <= set(line) for line in lines)
