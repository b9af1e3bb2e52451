"""What requests at the bounds of the service take: time of the processor, memory, and bytes of the answer.

    python -m scripts.benchmarks.live.service_bounds BUNDLE LEARNED

BUNDLE is a large one whose encoder takes texts, LEARNED one that learned a second stage. Each request is the largest of
its kind that is not refused, and gets a service of its own, as an allocator does not give all memory back. Memory is
that of the process, sampled all the time, above what it has after a small request of the same kind.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from math import isqrt
from pathlib import Path
from time import sleep
from typing import Any

import httpx2

from retrieval.retriever.search import DEEPER
from retrieval.serving.config import MAX_BATCH, MAX_HISTORY, MAX_K, MAX_PAGE, MAX_PARTS
from scripts.benchmarks.live.service_hostile import sampled_memory
from scripts.benchmarks.record import keep

DEADLINE = 120  # seconds, so that also on a busy machine no request is given up
WORDS = ("red", "blue", "old", "small", "warm", "bright", "striped", "plain", "wooden", "woollen")
THINGS = ("shirt", "shoe", "mug", "bag", "lamp", "dress", "jacket", "watch", "chair", "book", "car", "tree", "bird")
Body = dict[str, Any]


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("learned", type=Path)
    parser.add_argument("--only", default="", help="kinds whose names contain this")
    parser.add_argument("--name", default="service_bounds", help="of the file of results")
    given = parser.parse_args()
    result: dict[str, Any] = {}
    for bundle in (given.bundle, given.learned):
        with service(bundle) as (_, client):
            about = client.get("/info").json()
            limits, known = about["limits"], items(client)
        kinds = of_any(limits, known) if bundle == given.bundle else of_learned(limits, known)
        found: Body = {}
        for name, request in kinds.items():
            if given.only in name:
                found[name] = measured(bundle, *request)
                print(name, json.dumps(found[name]), flush=True)
        result[bundle.name] = {"items": about["items"], "dim": about["encoder"]["dim"], "requests": found}
    if not given.only:
        keep(given.name, result, 0)


def items(client: httpx2.Client) -> list[str]:
    """Give the first item_ids of the bundle, at most as many as candidates of a query."""
    found: list[str] = []
    page: Body = {"next_cursor": ""}
    while page["next_cursor"] is not None and len(found) < 10_000:
        query = {"limit": MAX_PAGE, "attributes": "item_id", "cursor": page["next_cursor"]}
        page = client.get("/items", params=query).json()
        found += [item["item_id"] for item in page["items"]]
    return found[:10_000]


def texts(count: int) -> list[str]:
    """Give so many texts."""
    return [f"{WORDS[at % len(WORDS)]} {THINGS[at // len(WORDS) % len(THINGS)]} {at}" for at in range(count)]


def of_any(limits: Body, known: list[str]) -> dict[str, tuple[str, Body]]:
    """Give the largest requests that need nothing learned."""
    hits, pool, candidates = int(limits["hits"]), int(limits["all_candidates"]), int(limits["candidates"])
    lists, each, deep = hits // MAX_K, pool // MAX_BATCH, pool // candidates
    of_each = isqrt(
        int(limits["compared"]) // (DEEPER * MAX_BATCH)
    )  # candidates among which near-duplicates are sought
    most, numbers = int(limits["compared"]) // candidates, int(limits["vector_numbers"])
    many: Body = {"texts": texts(MAX_BATCH), "k": 10, "num_candidates": each}
    composed = [{"parts": [{"item": one} for one in known[at : at + MAX_PARTS]]} for at in range(lists)]
    explained = int(limits["explained"]) // MAX_PARTS // MAX_K
    several = [[known[(at * 31 + step) % len(known)] for step in range(each)] for at in range(MAX_BATCH)]
    long = {"texts": texts(deep), "candidates": [known[:candidates]] * deep, "k": MAX_K}
    return {
        "texts, all hits, attributes": ("/search", {"texts": texts(lists), "k": MAX_K, "attributes": "all"}),
        "texts, all hits, explained": ("/search", {"texts": texts(lists), "k": MAX_K, "explain": True}),
        "composed, explained": ("/search", {"queries": composed[:explained], "k": MAX_K, "explain": True}),
        "hybrid, all hits": ("/search", {"texts": texts(lists), "k": MAX_K, "mode": "hybrid", "explain": True}),
        "all numbers of vectors": ("/search", {"texts": texts(1), "k": min(MAX_K, numbers // 1153), "vectors": True}),
        "all candidates, reranked, diverse": ("/search", {**many, "rerank": True, "diversify": {}}),
        "deep candidates, diverse": (
            "/search",
            {"texts": texts(1), "k": most, "num_candidates": candidates, "rerank": True, "diversify": {}},
        ),
        "deep candidates, by msd": (
            "/search",
            {"texts": texts(1), "k": most, "num_candidates": candidates, "diversify": {"method": "msd"}},
        ),
        "similar, near-duplicates once": (
            "/similar",
            {"item_ids": known[:MAX_BATCH], "k": of_each, "duplicates": "collapse", "min_similarity": 0.999},
        ),
        "rerank, all candidates": ("/rerank", {"texts": texts(MAX_BATCH), "candidates": several, "k": each}),
        "rerank, deep candidates, explained": ("/rerank", {**long, "explain": True}),
        "rerank, deep candidates, diverse": (
            "/rerank",
            {"texts": texts(1), "candidates": [known[:candidates]], "k": most, "diversify": {}},
        ),
        "recommend, all hits": ("/recommend", {"histories": [known[:20]] * lists, "k": MAX_K}),
        "a page of items with vectors": ("/items", {"limit": min(MAX_PAGE, numbers // 1153), "vectors": True}),
    }


def of_learned(limits: Body, known: list[str]) -> dict[str, tuple[str, Body]]:
    """Give the largest requests about users."""
    hits, pool = int(limits["hits"]), int(limits["all_candidates"])
    lists, each, deep = hits // MAX_K, pool // MAX_BATCH, min(len(known), int(limits["candidates"]))
    long = [known[at % len(known)] for at in range(MAX_HISTORY)]
    histories = [known[at : at + 50] for at in range(MAX_BATCH)]
    explained = int(limits["explained"]) // 50 // MAX_BATCH
    pools = pool // deep
    compared = int(limits["compared"]) // (pools * deep)
    return {
        "recommend, all hits, attributes": (
            "/recommend",
            {"histories": histories[:lists], "k": MAX_K, "attributes": "all"},
        ),
        "recommend, explained": ("/recommend", {"histories": histories, "k": explained, "explain": True}),
        "recommend, long histories": ("/recommend", {"histories": [long] * 60, "k": 10, "exclude_seen": False}),
        "recommend, all candidates, diverse": (
            "/recommend",
            {"histories": histories, "k": 10, "num_candidates": each, "diversify": {}},
        ),
        "recommend, deep candidates, diverse": (
            "/recommend",
            {"histories": histories[:pools], "k": compared, "num_candidates": deep, "diversify": {}},
        ),
        "rerank, histories, all candidates": (
            "/rerank",
            {"histories": histories, "candidates": [known[:each]] * MAX_BATCH, "k": each},
        ),
        "complements, all hits": ("/complements", {"baskets": histories[:lists], "k": MAX_K}),
        "next items, all hits": ("/next-items", {"item_ids": known[:lists], "k": MAX_K}),
        "tastes of a long history": ("/tastes", {"history": long}),
    }


def asked(client: httpx2.Client, path: str, body: Body) -> httpx2.Response:
    """Ask, by a path where the route has no body."""
    return client.get(path, params=body) if path == "/items" else client.post(path, json=body)


def measured(bundle: Path, path: str, body: Body) -> Body:
    """Ask for little, then for all; give processor seconds, megabytes above rest, and megabytes of the answer."""
    with service(bundle) as (process, client):
        small = asked(client, path, smaller(body))
        asked(client, path, smaller(body))
        with sampled_memory(process.pid) as memory:
            sleep(0.3)
            rest = max(memory)
            before = processor_seconds(process.pid)
            answer = asked(client, path, body)
            used = processor_seconds(process.pid) - before
            sleep(0.1)
        found: Body = {
            "status": answer.status_code,
            "processor_seconds": round(used, 2),
            "megabytes_above_rest": round((max(memory) - rest) / 1e6),
            "megabytes_of_answer": round(len(answer.content) / 1e6, 1),
        }
        if answer.status_code != 200 or small.status_code != 200:
            found["said"] = json.dumps(answer.json().get("error") or small.json())[:300]
    return found


def processor_seconds(pid: int) -> float:
    """Give the time of the processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def smaller(body: Body) -> Body:
    """Give a request for one query, with few items."""
    lists = ("texts", "queries", "item_ids", "histories", "baskets", "candidates")
    less = {name: value[:1] if name in lists else value for name, value in body.items()}
    for name in ("histories", "candidates"):
        if name in less:
            less[name] = [one[:20] for one in less[name]]
    if "history" in less:
        less["history"] = less["history"][:20]
    return less | {name: min(int(body[name]), 10) for name in ("k", "num_candidates", "limit") if name in body}


@contextlib.contextmanager
def service(bundle: Path) -> Iterator[tuple["subprocess.Popen[str]", httpx2.Client]]:
    """Start a service that gives up no request, and stop it at the end."""
    options = ["--port", "0", "--deadline", str(DEADLINE), "--log-level", "warning"]
    command = [sys.executable, "-m", "retrieval.cli", "serve", str(bundle), *options]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            url = process.stdout.readline().split(" at ")[1].split(";")[0]
            with httpx2.Client(base_url=url, timeout=DEADLINE) as client:
                yield process, client
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
