"""A service follows its bundle a hundred times while it is asked: no request fails, and none sees two states.

    python -m scripts.benchmarks.live.service_swaps [--swaps 100] [--clients 2]

A bundle of the shipped sample is changed again and again: an item is added, folded into a new generation, taken away,
and that is folded in, too. Meanwhile clients search for what only this item says, list what is most like it, and ask
for it by its id. Each answer names its state; the item must be in it where that state has it, and nowhere else.
"""

import argparse
import tempfile
import threading
from collections import Counter
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet as pq

from indexing import Bundle, Catalogue, add, build_bundle, delete, load_encoder
from indexing.encoders import Encoder
from indexing.sample import items_path
from retrieval import compact
from scripts.benchmarks.live.service_latency import resident, service
from scripts.benchmarks.record import keep

TWIN, TEXT = "twin", "a purple accordion on the moon"
State = tuple[str, int]


def main() -> None:
    """Swap, ask, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swaps", type=int, default=100)
    parser.add_argument("--clients", type=int, default=2)
    parser.add_argument("--name", default="service_swaps", help="of the file of results")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        encoder, bundle, item = load_encoder("pocket"), Path(folder) / "bundle", Path(folder) / "item.parquet"
        build_bundle(Catalogue.from_parquet(items_path()), encoder, bundle)
        pq.write_table(pa.table({"item_id": [TWIN], "title": [TEXT]}), item)
        with service(bundle) as (process, url):
            clients = [Asking(url) for _ in range(given.clients)]
            memory = resident(process.pid)
            has_item = swapped(url, bundle, item, encoder, given.swaps, clients)
            result = summary(clients, has_item)
            result["megabytes_before_and_after"] = [round(memory / 1e6), round(resident(process.pid) / 1e6)]
    keep(given.name, {"swaps": given.swaps, **result}, 0)


class Asking(threading.Thread):
    """A client that asks until it is told to end.

    Attributes:
        seen: For each state how often the item was in its answers, and how often it was not.
        faults: Answers that are no 200, or no answers.
        refused: Requests that were too many for the queue.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url, self.ended = url, threading.Event()
        self.seen: dict[State, Counter[bool]] = {}
        self.faults: list[str] = []
        self.refused = 0
        self.milliseconds: list[float] = []

    def run(self) -> None:
        """Ask in turn for a text, and for two at once."""
        with httpx2.Client(base_url=self.url, timeout=60) as client:
            while not self.ended.is_set():
                for texts in ([TEXT], [TEXT, "a dog", TEXT]):
                    start = perf_counter()
                    try:
                        answer = client.post("/search", json={"texts": texts, "k": 20, "rerank": True})
                    except httpx2.HTTPError as error:
                        self.faults.append(type(error).__name__)
                        continue
                    self.milliseconds.append((perf_counter() - start) * 1e3)
                    self._note(answer, texts)

    def _note(self, answer: httpx2.Response, texts: list[str]) -> None:
        if answer.status_code == 429:  # the machine has too much to do, and says so
            self.refused += 1
            return
        if answer.status_code != 200:
            self.faults.append(f"{answer.status_code}: {answer.text[:200]}")
            return
        body = answer.json()
        state = (str(body["generation"]), int(body["change"]))
        for text, result in zip(texts, body["results"], strict=True):
            if text == TEXT:
                found = TWIN in {hit["item_id"] for hit in result["hits"]}
                self.seen.setdefault(state, Counter())[found] += 1


def swapped(
    url: str, bundle: Path, item: Path, encoder: Encoder, swaps: int, clients: list[Asking]
) -> dict[State, bool]:
    """Change the bundle so often, waiting each time until it is served; say which states have the item."""
    changes = (
        lambda: add(bundle, Catalogue.from_parquet(item), encoder),
        lambda: compact(bundle),
        lambda: delete(bundle, [TWIN]),
        lambda: compact(bundle),
    )
    has_item = {state_of(bundle): False}
    for client in clients:
        client.start()
    try:
        with httpx2.Client(base_url=url, timeout=60) as asking:
            for swap in range(swaps):
                changes[swap % 4]()
                has_item[state_of(bundle)] = swap % 4 < 2
                while served(asking) != state_of(bundle):
                    sleep(0.02)
    finally:
        for client in clients:
            client.ended.set()
        for client in clients:
            client.join()
    return has_item


def state_of(bundle: Path) -> State:
    """Name the state of a bundle."""
    state = Bundle.open(bundle).state
    return state.generation, state.last


def served(client: httpx2.Client) -> State:
    """Name the state that a service serves."""
    body = client.get("/ready").raise_for_status().json()
    return str(body["generation"]), int(body["change"])


def summary(clients: list[Asking], has_item: dict[State, bool]) -> dict[str, Any]:
    """Count answers, faults, and answers that have another item than their state."""
    mixed = answers = 0
    states = set[State]()
    for client in clients:
        for state, counts in client.seen.items():
            states.add(state)
            answers += counts.total()
            mixed += counts[not has_item[state]] if state in has_item else counts.total()
    faults = [fault for client in clients for fault in client.faults]
    times = sorted(one for client in clients for one in client.milliseconds)
    return {
        "states_seen": len(states),
        "answers": answers,
        "refused": sum(client.refused for client in clients),
        "failed": len(faults),
        "faults": faults[:5],
        "mixed": mixed,
        "ms": {"p50": round(times[len(times) // 2], 1), "p99": round(times[int(len(times) * 0.99)], 1)},
    }


if __name__ == "__main__":
    main()
