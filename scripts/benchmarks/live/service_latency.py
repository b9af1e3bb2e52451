"""What a request costs over HTTP and in Python, and what a service does when it is asked for more than it can do.

    python -m scripts.benchmarks.live.service_latency BUNDLE [--texts FILE] [--requests 500] [--overload 60]

The service is a process of its own on this machine; HTTP and Python are asked in turn, so that both see the same load
of the machine. ``--overload`` asks at five times the measured capacity for so many seconds, at fixed times, whether
answers have come or not.
"""

import argparse
import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx2
import numpy as np

from indexing.runtime.threads import cores
from retrieval.retriever.retriever import Retriever
from scripts.benchmarks.record import keep

TIMES_CAPACITY = 5
WARM = 20
Call = Callable[[int], object]
WORDS = "red mug, blue shoe, a dog, a slice of fruit, old car, tree in autumn, small house, bird, ball, cup of coffee"


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--texts", type=Path, help="a query a line")
    parser.add_argument("--requests", type=int, default=500, help="of each kind")
    parser.add_argument("--overload", type=float, default=0.0, help="seconds")
    parser.add_argument("--name", default="service_latency", help="of the file of results")
    given = parser.parse_args()
    texts = given.texts.read_text().splitlines() if given.texts else WORDS.split(", ")
    with service(given.bundle) as (process, url), httpx2.Client(base_url=url, timeout=30) as client:
        retriever = Retriever.open(given.bundle)
        kinds = compared(retriever, client, texts)
        result: dict[str, Any] = {
            "items": len(retriever.items),
            "encoder": retriever.bundle.manifest.encoder.name,
            "ms": {kind: in_turn(calls, given.requests) for kind, calls in kinds.items()},
        }
        if given.overload:
            result["overload"] = overload(url, process.pid, texts, given.overload)
    keep(given.name, result, 0)


@contextlib.contextmanager
def service(bundle: Path) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start a service, and stop it at the end."""
    command = [sys.executable, "-m", "retrieval.cli", "serve", str(bundle), "--port", "0"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            url = process.stdout.readline().split(" at ")[1].split(";")[0]
            for _ in range(600):
                with contextlib.suppress(httpx2.HTTPError):
                    httpx2.get(f"{url}/live", timeout=5)
                    break
                sleep(0.1)
            yield process, url
        finally:
            process.terminate()


def compared(retriever: Retriever, client: httpx2.Client, texts: list[str]) -> dict[str, Mapping[str, Call]]:
    """Give what is asked, in Python and over HTTP."""
    items: list[str] = [retriever.items[row] for row in range(min(len(retriever.items), 500))]

    def post(path: str, **body: object) -> None:
        client.post(path, json=body).raise_for_status()

    def text(at: int) -> str:
        return texts[at % len(texts)]

    def item(at: int) -> str:
        return items[at * 7 % len(items)]

    def in_full(at: int) -> object:
        return retriever.diversify(retriever.rerank(retriever.search_texts([text(at)], 200)), 10)

    return {
        "text, k 10": {
            "python": lambda at: retriever.search_texts([text(at)], 10),
            "http": lambda at: post("/search", texts=[text(at)], k=10),
        },
        "text, rerank 200, diversify": {
            "python": in_full,
            "http": lambda at: post("/search", texts=[text(at)], k=10, rerank=True, diversify={}),
        },
        "similar, k 10": {
            "python": lambda at: retriever.similar_items([item(at)], 10),
            "http": lambda at: post("/similar", item_ids=[item(at)], k=10),
        },
        "recommend, k 10": {
            "python": lambda at: retriever.recommend([[item(at), item(at + 1)]], 10),
            "http": lambda at: post("/recommend", histories=[[item(at), item(at + 1)]], k=10),
        },
    }


def in_turn(calls: Mapping[str, Call], count: int) -> dict[str, Any]:
    """Time calls in turn: p50 and p99 of each, and the median of their differences, in milliseconds."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for at in range(WARM + count):
        for name, call in calls.items():
            start = perf_counter()
            call(at)
            seconds[name].append(perf_counter() - start)
    ms = {name: np.array(times[WARM:]) * 1000 for name, times in seconds.items()}
    summary: dict[str, Any] = {name: percentiles(times) for name, times in ms.items()}
    summary["http over python, p50"] = round(float(np.median(ms["http"]) - np.median(ms["python"])), 2)
    return summary


def percentiles(ms: "np.ndarray[Any, Any] | list[float]") -> dict[str, float]:
    """Give p50 and p99 of milliseconds."""
    return {f"p{share}": round(float(np.percentile(ms, share)), 2) for share in (50, 99)}


def overload(url: str, pid: int, texts: list[str], seconds: float) -> dict[str, Any]:
    """Ask at five times the capacity, and afterwards until an answer is as fast as before."""
    capacity, unloaded = measured_capacity(url, texts)
    memory = resident(pid)
    rate = TIMES_CAPACITY * capacity
    statuses, accepted, refused = asyncio.run(at_rate(url, texts, rate, seconds))
    start = perf_counter()
    with httpx2.Client(base_url=url, timeout=30) as client:
        while client.post("/search", json={"texts": [texts[0]]}).status_code != 200:
            sleep(0.01)
    return {
        "capacity, requests a second": round(capacity, 1),
        "offered, requests a second": round(rate, 1),
        "statuses": dict(statuses),
        "unloaded, ms": percentiles(unloaded),
        "accepted, ms": percentiles(accepted or [float("nan")]),
        "refused, ms": percentiles(refused or [float("nan")]),
        "recovery, s": round(perf_counter() - start, 2),
        "memory before and after, MB": [round(memory / 1e6), round(resident(pid) / 1e6)],
    }


def measured_capacity(url: str, texts: list[str]) -> tuple[float, list[float]]:
    """Give how many requests a second as many clients as cores get answered, and the times of a single one, in ms."""
    done, ended = Counter[int](), threading.Event()

    def ask(number: int) -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            while not ended.is_set():
                client.post("/search", json={"texts": [texts[done[number] % len(texts)]]}).raise_for_status()
                done[number] += 1

    alone: list[float] = []
    with httpx2.Client(base_url=url, timeout=30) as client:
        for at in range(200):
            start = perf_counter()
            client.post("/search", json={"texts": [texts[at % len(texts)]]}).raise_for_status()
            alone.append((perf_counter() - start) * 1000)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(cores())]
    start = perf_counter()
    for thread in threads:
        thread.start()
    sleep(5)
    ended.set()
    for thread in threads:
        thread.join()
    return sum(done.values()) / (perf_counter() - start), alone


async def at_rate(
    url: str, texts: list[str], rate: float, seconds: float
) -> tuple[Counter[str], list[float], list[float]]:
    """Send requests at fixed times; give how they ended, and the milliseconds of those answered and refused."""
    statuses, accepted, refused = Counter[str](), list[float](), list[float]()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=200)
    async with httpx2.AsyncClient(base_url=url, timeout=30, limits=limits) as client:

        async def ask(at: int) -> None:
            start = perf_counter()
            try:
                answer = await client.post("/search", json={"texts": [texts[at % len(texts)]]})
            except httpx2.HTTPError as error:
                statuses[type(error).__name__] += 1
                return
            statuses[str(answer.status_code)] += 1
            (accepted if answer.status_code == 200 else refused).append((perf_counter() - start) * 1000)

        start, tasks = perf_counter(), set[asyncio.Task[None]]()
        for at in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + at / rate - perf_counter()))
            task = asyncio.create_task(ask(at))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return statuses, accepted, refused


def resident(pid: int) -> int:
    """Give the bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
