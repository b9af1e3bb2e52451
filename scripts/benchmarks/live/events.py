"""What the log of live events costs: writing, reading a history, and the answer after an event over HTTP.

python -m scripts.benchmarks.live.events --bundle BUNDLE

A million events of ten thousand users in a file of SQLite, each commit flushed to disk. Then single events are written,
by one thread and by 32; histories of a hundred events are read; and a service with this log and a bundle is asked over
loopback: an event, and then the recommendations of the same user, which must leave out the item of the event.
"""

import argparse
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import uvicorn

from retrieval import Retriever
from retrieval.serving import ServiceConfig, create_app
from retrieval.serving.events import Event, EventLog
from retrieval.serving.events.users import OF_USER
from scripts.benchmarks.record import keep

USERS, EACH, REPEATS, THREADS = 10_000, 100, 300, 32


def timed(call: Callable[[int], Any], repeats: int = REPEATS) -> dict[str, float]:
    """Milliseconds of a call: the median, and the 99th percentile."""
    taken = []
    for number in range(repeats):
        start = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - start) * 1e3)
    return {"p50_ms": round(float(np.median(taken)), 3), "p99_ms": round(float(np.quantile(taken, 0.99)), 3)}


def fill(log: EventLog, items: list[str], users: int, each: int) -> float:
    """Put so many events of each user into the file by one statement; seconds."""
    start, now = time.perf_counter(), int(time.time())
    with log.database.writing() as connection:
        connection.exec_driver_sql("CREATE TEMP TABLE item (number INTEGER PRIMARY KEY, name TEXT)")
        connection.exec_driver_sql("INSERT INTO item VALUES (?, ?)", list(enumerate(items)))
        connection.exec_driver_sql(
            "INSERT INTO commonspace_events (event_id, user_id, item_id, type, time, weight, received, is_shown) "
            "WITH RECURSIVE n(x) AS (SELECT 0 UNION ALL SELECT x + 1 FROM n WHERE x + 1 < ?) "
            "SELECT 'event-' || x, 'user-' || (x / ?), item.name, 'view', ? + 3600 * (x % ?), 1.0, ?, 0 "
            "FROM n CROSS JOIN item WHERE item.number = (x * 7919) % ?",
            (users * each, each, now - 3600 * each, each, now * 1_000_000, len(items)),
        )
        connection.exec_driver_sql("DROP TABLE item")
    return time.perf_counter() - start


def together(log: EventLog, item: str, threads: int, repeats: int) -> float:
    """Single events of so many threads at once: events a second."""

    def work(thread: int) -> None:
        for _ in range(repeats):
            log.append([Event(item, "view", user_id=f"busy-{thread}")])

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    start = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return threads * repeats / (time.perf_counter() - start)


def history(log: EventLog, number: int) -> None:
    """Read the rows of a history alone."""
    with log.database.reading() as connection:
        rows = connection.execute(OF_USER, {"name": f"user-{number * 17 % USERS}"}).all()
    if len(rows) < EACH:
        raise RuntimeError(f"{len(rows)} events of a user who has {EACH}")


def over_http(bundle: Path, url: str, repeats: int) -> dict[str, Any]:
    """Serve a bundle in a thread, and ask it over loopback for what follows an event."""
    token = secrets.token_hex(16)
    app = create_app(ServiceConfig(bundle, events=url, write_token=token))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            with httpx2.Client(base_url=address, headers={"authorization": f"Bearer {token}"}) as client:
                return asked(client, repeats)
        finally:
            server.should_exit = True
            thread.join()


def asked(client: httpx2.Client, repeats: int) -> dict[str, Any]:
    """Write an event and ask for the user; count answers that do not know the event."""
    events, answers, stale = [], [], 0
    for number in range(repeats + 20):
        user = f"user-{number * 17 % USERS}"
        before = client.post("/recommend", json={"user_ids": [user], "k": 10}).raise_for_status().json()
        item = before["results"][0]["hits"][0]["item_id"]
        start = time.perf_counter()
        client.post("/events", json={"user_id": user, "item_id": item, "type": "like"}).raise_for_status()
        written = time.perf_counter()
        after = client.post("/recommend", json={"user_ids": [user], "k": 10}).raise_for_status().json()
        if number >= 20:  # the first ones warm up
            events.append((written - start) * 1e3)
            answers.append((time.perf_counter() - written) * 1e3)
        stale += item in [hit["item_id"] for hit in after["results"][0]["hits"]]
    described = {"event": events, "recommend_after_event": answers}
    return {"stale": stale} | {
        name: {"p50_ms": round(float(np.median(taken)), 2), "p99_ms": round(float(np.quantile(taken, 0.99)), 2)}
        for name, taken in described.items()
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--name", default="events")
    options = parser.parse_args()
    retriever = Retriever.open(options.bundle)
    items = [str(item) for item in retriever.items][:1000]
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'events.db'}"
        with EventLog.open(url) as log:
            result: dict[str, Any] = {"events": USERS * EACH, "users": USERS, "items": len(retriever.items)}
            result["fill_seconds"] = round(fill(log, items, USERS, EACH), 1)
            result["bytes_per_event"] = round((log.info().bytes or 0) / (USERS * EACH), 1)
            result["append_one"] = timed(lambda n: log.append([Event(items[n % 100], "view", user_id="single")]))
            result["append_threads_events_per_second"] = round(together(log, items[0], THREADS, 20))
            result["history_rows"] = timed(lambda n: history(log, n))
            result["history_weighed"] = timed(lambda n: log.interactions_of([f"user-{n * 17 % USERS}"]))
        result["http"] = over_http(options.bundle, url, REPEATS)
    keep(options.name, result, 0)


if __name__ == "__main__":
    main()
