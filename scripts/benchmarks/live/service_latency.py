"""What a request costs over HTTP and in Python, and what a service does when it is asked for more than it can do.

    python -m scripts.benchmarks.live.service_latency BUNDLE [--texts FILE] [--requests 500] [--overload 60]
        [--products ITEMS] [--work FOLDER]

The service is a process of its own on this machine; HTTP and Python are asked in turn, so that both see the same load
of the machine. Python computes in one thread of BLAS, as the service does: spinning threads of the one would take the
cores of the other. ITEMS is the Parquet file of fashion_15k, which is not shipped: a second bundle, which FOLDER keeps
for another run, asked with descriptions like "navy blue shirts for men, casual".

``--overload`` asks at five times the measured capacity for so many seconds, at fixed times, whether answers have come
or not. For this the last core is of the clients alone, and the others of the service, also while its capacity and its
latency without load are measured; with a single core they share it. It needs Linux.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time, sleep
from typing import Any

import httpx2
import numpy as np
import pyarrow as pa
from threadpoolctl import threadpool_limits

from retrieval.retriever.retriever import Retriever
from scripts.benchmarks.live.open_loop import at_rate, one_by_one, post_bytes
from scripts.benchmarks.record import keep
from scripts.benchmarks.search.products import read, retriever_of
from scripts.benchmarks.search.words import ATTRIBUTES, description

TIMES_CAPACITY = 5
WARM = 20
TEXTS = 50  # that products are asked with
FIRST_SECOND = 1.0  # in which what an overload begins with is still taken for a burst
Call = Callable[[int], object]
WORDS = "red mug, blue shoe, a dog, a slice of fruit, old car, tree in autumn, small house, bird, ball, cup of coffee"


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--texts", type=Path, help="a query a line")
    parser.add_argument("--requests", type=int, default=500, help="of each kind")
    parser.add_argument("--overload", type=float, default=0.0, help="seconds")
    parser.add_argument("--products", type=Path, help="the Parquet file of fashion_15k")
    parser.add_argument("--work", type=Path, help="folder in which the bundle of products is kept")
    parser.add_argument("--name", default="service_latency", help="of the file of results")
    given = parser.parse_args()
    texts = given.texts.read_text().splitlines() if given.texts else WORDS.split(", ")
    result = latency(given.bundle, texts, given.requests)
    if given.products is not None and given.products.exists():
        result["products"] = latency_of_products(read(given.products), given.work, given.requests)
    else:
        print(f"not measured: products, as there is no file {given.products or '(give --products)'}")
    if given.overload:
        result["overload"] = overload(given.bundle, texts, given.overload)
    keep(given.name, result, 0)


def latency(bundle: Path, texts: list[str], requests: int) -> dict[str, Any]:
    """Time requests of each kind over HTTP and in Python, in turn."""
    with service(bundle) as (_, url), httpx2.Client(base_url=url, timeout=30) as client:
        retriever = Retriever.open(bundle)
        kinds = compared(retriever, client, texts)
        with threadpool_limits(1, "blas"):
            ms = {kind: in_turn(calls, requests) for kind, calls in kinds.items()}
        return {
            "items": len(retriever.items),
            "encoder": retriever.bundle.manifest.encoder.name,
            "learned": bool(retriever.bundle.manifest.learned),
            "ms": ms,
        }


def latency_of_products(products: pa.Table, work: Path | None, requests: int) -> dict[str, Any]:
    """Build the bundle of products where it is not there, and time requests."""
    rows = products.select(ATTRIBUTES).slice(0, 1000).to_pylist()
    texts = list(dict.fromkeys(description(list(row.values())) for row in rows if all(row.values())))[:TEXTS]
    with contextlib.ExitStack() as stack:
        folder = work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        retriever_of(products, folder / "bundle")
        return latency(folder / "bundle", texts, requests)


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
    return {f"p{share}": round(float(np.percentile(ms, share)), 2) if len(ms) else float("nan") for share in (50, 99)}


def overload(bundle: Path, texts: list[str], seconds: float) -> dict[str, Any]:
    """Start a service on cores of its own, and ask it from another one for more than it can do."""
    cores = sorted(os.sched_getaffinity(0))
    of_service, of_clients = cores[:-1] or cores, cores[-1:]
    load = os.getloadavg()[0]
    try:
        os.sched_setaffinity(0, of_service)  # what is started now inherits it
        with service(bundle) as (process, url):
            os.sched_setaffinity(0, of_clients)
            requests = [post_bytes(url, "/search", json.dumps({"texts": [text]}).encode()) for text in texts]
            measured = asked_too_much(url, process.pid, requests, seconds, len(of_service) + 1)
    finally:
        os.sched_setaffinity(0, cores)
    return {"cores of the service and of the clients": [of_service, of_clients], "load before": load, **measured}


def asked_too_much(url: str, pid: int, requests: Sequence[bytes], seconds: float, clients: int) -> dict[str, Any]:
    """Ask without load, with as many clients as keep the service busy, and at five times what these were answered."""
    asyncio.run(one_by_one(url, requests, 2))
    alone = [one.seconds * 1000 for one in asyncio.run(one_by_one(url, requests, 10)) if one.status == 200]
    busy = [one for one in asyncio.run(one_by_one(url, requests, 5, clients)) if one.status == 200]
    capacity = len(busy) / 5
    memory, worked, asking, start = resident(pid), processor_seconds(pid), process_time(), perf_counter()
    replies = asyncio.run(at_rate(url, requests, TIMES_CAPACITY * capacity, seconds))
    elapsed = perf_counter() - start
    worked, asking = processor_seconds(pid) - worked, process_time() - asking
    recovery = recovered(url, requests[:1], 2 * percentiles(alone)["p99"])
    accepted = [one for one in replies if one.status == 200]
    later = [one for one in accepted if one.due > start + FIRST_SECOND]
    refused = [one for one in replies if one.status != 200]
    return {
        "capacity, requests a second": round(capacity, 1),
        "offered, requests a second": round(TIMES_CAPACITY * capacity, 1),
        "statuses": dict(Counter(str(one.status) for one in replies)),
        "unloaded, ms": percentiles(alone),
        "accepted, ms": percentiles([one.seconds * 1000 for one in accepted]),
        "accepted after the first second, ms": percentiles([one.seconds * 1000 for one in later]),
        "refused, ms": percentiles([one.seconds * 1000 for one in refused]),
        "sent late, ms": percentiles([(one.sent - one.due) * 1000 for one in replies]),
        "cores busy with the service and with the clients": [round(worked / elapsed, 2), round(asking / elapsed, 2)],
        "recovery, s": round(recovery, 2),
        "memory before and after, MB": [round(memory / 1e6), round(resident(pid) / 1e6)],
    }


def recovered(url: str, requests: Sequence[bytes], most_ms: float) -> float:
    """Give the seconds until a request is answered within so many milliseconds."""
    start = perf_counter()
    while True:
        last = asyncio.run(one_by_one(url, requests, 0))[0]
        if last.status == 200 and last.seconds * 1000 <= most_ms:
            return perf_counter() - start


def processor_seconds(pid: int) -> float:
    """Give the seconds for which a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Give the bytes of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
