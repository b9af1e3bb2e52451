"""A process that writes events is killed at random moments: no acknowledged event is lost, none counts twice.

python -m scripts.benchmarks.live.event_kills --kills 200
python -m scripts.benchmarks.live.event_kills --url postgresql://USER@HOST/DATABASE --name event_kills_postgresql

Each process has four threads that write batches of one to eight events of names that tell their batch, and says on its
standard output which batches were acknowledged. Killed at a random moment, it is followed by another, which first sends
the batches again that were not acknowledged, as a client would. Then each acknowledged event must be there, each batch
whole or absent, and the log must give exactly as many interactions as there are names.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from retrieval.serving.events import Event, EventLog
from retrieval.serving.events.tables import EVENTS
from scripts.benchmarks.record import keep

THREADS, LARGEST = 4, 8


def batch_of(name: str) -> list[Event]:
    """The events of a batch, which its name tells: the last part is their number."""
    size = int(name.rpartition("-")[2])
    return [Event(f"item-{n}", "view", user_id=f"user-{n}", event_id=f"{name}/{n}", time=n) for n in range(size)]


def write(url: str, first: str, again: Sequence[str]) -> None:
    """Write batches until killed; those of ``again`` first."""
    log = EventLog.open(url)
    rng = random.Random(first)  # noqa: S311 - sizes of batches
    said = threading.Lock()

    def send(name: str) -> None:
        with said:
            os.write(1, f"sent {name}\n".encode())  # a whole line at once, also when killed
        log.append(batch_of(name))
        with said:
            os.write(1, f"done {name}\n".encode())

    def work(thread: int) -> None:
        for number in range(1_000_000):
            send(f"{first}-{thread}-{number}-{rng.randint(1, LARGEST)}")

    os.write(1, b"ready\n")
    for name in again:
        send(name)
    for thread in range(THREADS):
        threading.Thread(target=work, args=(thread,)).start()


def killed(url: str, first: str, again: Sequence[str], seconds: float) -> tuple[set[str], set[str]]:
    """Let a process write for so long, kill it, and give the batches that it sent, and that were acknowledged."""
    arguments = [sys.executable, "-m", "scripts.benchmarks.live.event_kills", "--write", first, *again]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, env={**os.environ, "EVENTS_URL": url}) as process:
        if process.stdout is None or process.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the writer did not start: {process.wait()}")
        timer = threading.Timer(seconds, process.send_signal, [signal.SIGKILL])
        timer.start()
        lines = [line.decode().split() for line in process.stdout if line.endswith(b"\n")]
    if process.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the writer ended by itself: {process.returncode}")
    return {name for what, name in lines if what == "sent"}, {name for what, name in lines if what == "done"}


def kill_often(url: str, kills: int, seed: int = 0) -> dict[str, Any]:
    """Kill a writer so often, and count what went wrong."""
    rng = random.Random(seed)  # noqa: S311 - moments
    done: set[str] = set()
    open_batches: set[str] = set()
    result = {"kills": 0, "lost": 0, "doubled": 0, "torn": 0, "sent_again": 0}
    for kill in range(kills):
        result["sent_again"] += len(open_batches)
        sent, acknowledged = killed(url, f"{seed}-{kill}", sorted(open_batches), rng.random() * 0.5)
        done |= acknowledged
        open_batches = (open_batches | sent) - acknowledged
        result["kills"] += 1
        problems = compare(url, done, open_batches)
        for name, count in problems.items():
            result[name] += count
    present = names_in(url)
    written = sum(len(batch_of(name)) for name in done)
    return {**result, "acknowledged_batches": len(done), "acknowledged_events": written, "events": len(present)}


def compare(url: str, done: set[str], unknown: set[str]) -> dict[str, int]:
    """Count acknowledged events that are lost, events there twice, and batches of which only a part is there."""
    names = names_in(url)
    present = set(names)
    expected = {event.event_id for name in done for event in batch_of(name)}
    torn = sum(0 < sum(event.event_id in present for event in batch_of(name)) < len(batch_of(name)) for name in unknown)
    possible = expected | {event.event_id for name in unknown for event in batch_of(name)}
    doubled = len(names) - len(present) + len(present - possible)
    return {"lost": len(expected - present), "doubled": doubled, "torn": torn}


def names_in(url: str) -> list[str]:
    """The names of all events of a log, as often as they are there."""
    with EventLog.open(url) as log, log.database.reading() as connection:
        return [str(name) for name in connection.execute(sa.select(EVENTS.c.event_id)).scalars()]


def main() -> None:
    """Run the benchmark, or be the process that is killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--url")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="event_kills")
    parser.add_argument("--write", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write(os.environ["EVENTS_URL"], options.write[0], options.write[1:])
        return
    with tempfile.TemporaryDirectory() as folder:
        url = options.url or f"sqlite:///{Path(folder) / 'events.db'}"
        start = time.perf_counter()
        result = kill_often(url, options.kills, options.seed)
        result |= {"database": "sqlite" if url.startswith("sqlite") else "postgresql"}
        keep(options.name, {**result, "seconds": round(time.perf_counter() - start, 1)}, options.seed)


if __name__ == "__main__":
    main()
