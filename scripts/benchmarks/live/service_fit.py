"""How long answers take while the service learns, beside how long they take when it does not.

    python -m scripts.benchmarks.live.service_fit [--requests 400] [--effort fast]

A bundle of the shipped sample, with what was learned of its users, is served. A client asks for similar items and for
recommendations in turn, one after the other: before a fit, while one runs as a job of ``/admin``, and after it. The fit
has a process of its own on the same cores, and stages what it learned.
"""

import argparse
import json
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx2

from indexing import Bundle, Catalogue, build_bundle, load_encoder
from indexing.runtime.threads import cores
from indexing.sample import interactions_path, items_path
from retrieval import FitConfig, Interactions, fit
from scripts.benchmarks.live.service_latency import WARM, percentiles, service
from scripts.benchmarks.record import keep

MOST = 20_000  # requests during a fit
LOOKS = 25  # requests between two looks at the job


def main() -> None:
    """Learn, ask, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="of each kind, before and after the fit")
    parser.add_argument("--effort", choices=["fast", "default"], default="default", help="of the fit")
    parser.add_argument("--name", default="service_fit", help="of the file of results")
    given = parser.parse_args()
    os.environ["COMMONSPACE_ADMIN_TOKEN"] = token = secrets.token_hex(32)
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder) / "bundle"
        build_bundle(Catalogue.from_parquet(items_path()), load_encoder("pocket"), bundle)
        report = fit(bundle, Interactions.open(interactions_path()), FitConfig(effort="fast"))
        with service(bundle) as (_, url), httpx2.Client(base_url=url, timeout=60) as client:
            client.headers["authorization"] = f"Bearer {token}"
            asks = requests(client, list(Bundle.open(bundle).items)[:500])
            ms = {"before": timed(asks, lambda done: done < given.requests)}
            job = Job(client, given.effort)
            ms["during"] = timed(asks, lambda done: done < MOST and (done % LOOKS > 0 or job.runs()), warm=0)
            job.wait()
            ms["after"] = timed(asks, lambda done: done < given.requests)
    result = {"cores": cores(), "learned": list(report.published), "effort": given.effort, "fit_seconds": job.seconds}
    keep(given.name, {**result, "ms": ms}, 0)


class Job:
    """A fit of the service, which trains when this is made.

    Args:
        client: With the admin token.
        effort: Of the fit.
    """

    def __init__(self, client: httpx2.Client, effort: str) -> None:
        self.client, self.begun = client, perf_counter()
        log, options = interactions_path().read_bytes(), json.dumps({"effort": effort, "publish": False})
        answer = client.post("/admin/fit/upload", files={"interactions": log}, data={"request": options})
        self.name = answer.raise_for_status().json()["job"]["job_id"]
        while (self.state().get("progress") or {}).get("number") is None:
            sleep(0.1)

    def state(self) -> dict[str, Any]:
        """Give its record."""
        job: dict[str, Any] = self.client.get(f"/admin/jobs/{self.name}").raise_for_status().json()["job"]
        return job

    def runs(self) -> bool:
        """Say whether it has not ended."""
        return bool(self.state()["state"] == "running")

    def wait(self) -> None:
        """Wait until it has ended, and check that it is done."""
        while self.runs():
            sleep(0.5)
        if (job := self.state())["state"] != "done":
            raise SystemExit(f"the fit is {job['state']}: {job['error']}")
        self.seconds = round(job["ended"] - job["created"], 1)


def requests(client: httpx2.Client, item_ids: list[str]) -> dict[str, Callable[[int], object]]:
    """Give what is asked, by the number of the request."""

    def post(path: str, **body: object) -> None:
        client.post(path, json={**body, "k": 10}).raise_for_status()

    def item(at: int) -> str:
        return item_ids[at * 7 % len(item_ids)]

    return {
        "similar": lambda at: post("/similar", item_ids=[item(at)]),
        "recommend": lambda at: post("/recommend", histories=[[item(at), item(at + 1), item(at + 2)]]),
    }


def timed(
    asks: dict[str, Callable[[int], object]], goes_on: Callable[[int], bool], warm: int = WARM
) -> dict[str, dict[str, float]]:
    """Ask in turn as long as it goes on: for each kind how often it was asked, p50 and p99, in milliseconds."""
    ms: dict[str, list[float]] = {kind: [] for kind in asks}
    for at in range(warm):
        for ask in asks.values():
            ask(at)
    done = 0
    while goes_on(done):
        for kind, ask in asks.items():
            start = perf_counter()
            ask(done)
            ms[kind].append((perf_counter() - start) * 1000)
        done += 1
    return {kind: {"requests": len(times), **percentiles(times)} for kind, times in ms.items()}


if __name__ == "__main__":
    main()
