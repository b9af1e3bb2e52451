"""What each part of `fit` costs: processor seconds and the clock, and the most memory there was up to its end.

python -m scripts.benchmarks.fit.fit_cost [DATA] [--threads 1 2] [--seed 0] [--name fit_cost]
    [--users 1000 --items 10000]

A simulated log of ratings is always learned from: 100 of each user, of which taste and popularity both have a part,
over items that lie in a content space by the same tastes. With DATA so is MovieLens 100k: items.parquet,
interactions.parquet and vectors.parquet with text vectors, which is not shipped. Settings are the default. Each fit
runs in a process of its own. A part is what happens from when `fit` first names it to when it names another; what
comes before the first is called "reading".
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import Interactions, fit
from retrieval.fitting.steps import Step
from scripts.benchmarks.fit.attack_fit import films
from scripts.benchmarks.record import keep

EACH, TASTES, DIM = 100, 24, 384
BUNDLE, LOG = "films", "log.parquet"


def main() -> None:
    """Fit each log with each number of threads, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="fit_cost", help="Of the file in results/.")
    parser.add_argument("--users", type=int, default=1_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one)))
        return
    worlds: dict[str, Callable[[Path], object]] = {}
    if given.data:
        worlds["films"] = lambda folder: real(given.data, folder)
    worlds["simulated"] = lambda folder: simulated(folder, given.users, given.items, given.seed)
    result: dict[str, Any] = {}
    for name, make in worlds.items():
        for threads in given.threads:
            with tempfile.TemporaryDirectory() as folder:
                make(Path(folder))
                result[f"{name}, threads {threads}"] = alone(Path(folder), threads)
    keep(given.name, result, given.seed)


def alone(folder: Path, threads: int) -> dict[str, Any]:
    """Fit in a process of its own, with so many threads."""
    command = [sys.executable, "-m", "scripts.benchmarks.fit.fit_cost", "--one", str(folder)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


@dataclass
class Clock:
    """Adds up what each part costs; it is called as learning goes on.

    Attributes:
        parts: For each part and what it is learned from, seconds of the clock and of the processor.
        peaks: For each the most memory of the process up to its end, in MiB.
    """

    parts: dict[str, list[float]] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    _now: str = "reading"
    _since: tuple[float, float] = field(default_factory=lambda: (perf_counter(), process_time()))

    def __call__(self, step: Step) -> None:
        """Begin a part."""
        self.stop()
        self._now = f"{step.part}, {step.trained_on}"

    def stop(self) -> None:
        """Count what has passed to the part that was named last."""
        now = perf_counter(), process_time()
        sums = self.parts.setdefault(self._now, [0.0, 0.0])
        for place in (0, 1):
            sums[place] += now[place] - self._since[place]
        self.peaks[self._now] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        self._since = now


def measured(folder: Path) -> dict[str, Any]:
    """Fit as a user does, who has a bundle and a log."""
    log = Interactions.open(folder / LOG)
    clock = Clock()
    report = fit(folder / BUNDLE, log, progress=clock)
    clock.stop()
    totals = np.sum(list(clock.parts.values()), axis=0).tolist()
    return {
        "interactions": len(log),
        "parts": {name: _seconds(sums) | {"memory, MiB": clock.peaks[name]} for name, sums in clock.parts.items()},
        "whole": _seconds(totals),
        "peak memory, MiB": max(clock.peaks.values()),
        "published": report.published,
        "ndcg@10": report.ndcg,
        "refused": report.refused,
    }


def _seconds(sums: list[float]) -> dict[str, float | int]:
    return {"s": round(sums[0], 1), "processor s": round(sums[1], 1)}


def real(data: Path, folder: Path) -> None:
    """Put a bundle of films and their log into a folder."""
    films(data, folder)
    pq.write_table(Interactions.open(data / "interactions.parquet").table, folder / LOG)


def simulated(folder: Path, users: int, items: int, seed: int) -> None:
    """Put a bundle and a log of ratings into a folder, in which taste and popularity say who takes what."""
    rng = np.random.default_rng(seed)
    of_item, of_user = (rng.standard_normal((count, TASTES), np.float32) for count in (items, users))
    popular = -np.log(rng.permutation(items) + 20.0)
    rows, ratings = np.empty((users, EACH), np.int64), np.empty((users, EACH), np.float32)
    for user in range(users):
        liking = of_item @ of_user[user] / TASTES**0.5
        drawn = popular + liking + rng.gumbel(size=items)
        rows[user] = np.argsort(-drawn)[:EACH][rng.permutation(EACH)]
        ratings[user] = np.clip(np.round(3.5 + liking[rows[user]] + rng.normal(size=EACH) / 2), 1, 5)
    times = np.sort(rng.integers(0, 10**8, (users, EACH)), axis=1)
    vectors = unit(of_item @ rng.standard_normal((TASTES, DIM), np.float32) + 4 * rng.standard_normal((items, DIM)))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).reshape(-1)), DIM)
    path = folder / "items.parquet"
    pq.write_table(pa.table({"item_id": [f"i{row}" for row in range(items)], "text_vector": column}), path)
    build_bundle(Catalogue.from_parquet(path), load_encoder("vectors:"), folder / BUNDLE)
    names = [f"i{row}" for row in rows.reshape(-1).tolist()]
    log = {"user": np.repeat([f"u{user}" for user in range(users)], EACH), "item": names, "time": times.reshape(-1)}
    pq.write_table(Interactions.from_arrow(pa.table({**log, "weight": ratings.reshape(-1)})).table, folder / LOG)


if __name__ == "__main__":
    main()
