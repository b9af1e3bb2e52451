"""Recommending to and reranking for very many users: speed, memory as the job goes on, and a kill with what follows.

    python -m scripts.benchmarks.rerank.batch [--users 1000000] [--reranked 1000000] [--items 20000] [--dim 128]

The world is that of `fit_scale`: items in clusters, users who stay with a few. A behaviour block and a head are learned
from a log of 1,200 users; the users of the job, each with a history of 10 to 30 items, are others, written to Parquet.
Jobs: ``recommend`` (100 candidates a user from the index, reranked, the best 10 kept) and ``rerank`` (100 given
candidates a user). Each runs in a process of its own: once as a whole, and, recommend, once more with SIGKILL at a
random moment and again to its end. The folders are compared table by table. With --whole N the uninterrupted run stops
after the first N users, and only these are compared: no user's answer depends on others.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Rows, unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.index import IndexConfig
from retrieval import FitConfig, Retriever, fit
from retrieval.batch import BatchConfig, ListedUsers, ParquetFiles, run_job
from retrieval.training.config import BehaviourConfig, NextItemsConfig
from retrieval.training.ranker_config import HeadConfig, StageConfig
from scripts.benchmarks.fit.fit_scale import CLUSTERS, simulated
from scripts.benchmarks.memory import memory
from scripts.benchmarks.record import keep

LEARNED_FROM = 1_200
GROUP = 50_000  # users of a row group
CANDIDATES = 100
CONFIG = BatchConfig(k=10, depth=CANDIDATES)
MOMENTS = (0.1, 0.5, 1.0)


def main() -> None:
    """Simulate, run, kill, compare and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--reranked", type=int, default=1_000_000)
    parser.add_argument("--whole", type=int, help="users of the uninterrupted run; all by default")
    parser.add_argument("--items", type=int, default=20_000)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="batch", help="of the file of results")
    parser.add_argument("--folder", type=Path, help="where all is kept, instead of a folder that is removed")
    parser.add_argument("--job", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.job:
        print(json.dumps(measured(given.folder, *given.job)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = {"users": given.users, "items": given.items, "dim": given.dim, "candidates": CANDIDATES}
        result |= world(folder, given.items, given.dim, given.seed)
        write_users(folder, given.users, given.reranked, given.seed)
        some = given.whole or given.users
        if some < given.users:
            cut_off(folder / "recommend.parquet", folder / "first.parquet", some)
        result["recommend"] = run(folder, "first" if some < given.users else "recommend", "whole")
        result["rerank"] = {"users": given.reranked, **run(folder, "rerank", "reranked")}
        result["killed"] = killed(folder, given.users / some, given.seed)
        result["killed"]["equal to uninterrupted"] = same(folder / "whole", folder / "killed", some < given.users)
    keep(given.name, result, given.seed)


def world(folder: Path, items: int, dim: int, seed: int) -> dict[str, Any]:
    """Build a bundle of simulated items and learn; the same folder is not made anew."""
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, CLUSTERS, items)
    np.save(folder / "clusters.npy", clusters)
    root, path = folder / "bundle", folder / "items.parquet"
    if not root.exists():
        vectors = unit((rng.normal(size=(CLUSTERS, dim))[clusters] + rng.normal(size=(items, dim))).astype(np.float32))
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
        pq.write_table(pa.table({"item_id": [f"i{n}" for n in range(items)], "text_vector": column}), path)
        index = IndexConfig(kind="flat")
        build_bundle(Catalogue.from_parquet(path), load_encoder("vectors:"), root, index=index)
        behaviour = BehaviourConfig(max_ease_items=1_000, next_items=NextItemsConfig(epochs=1))
        config = FitConfig(adapter=None, behaviour=behaviour, reranker=StageConfig(neural=HeadConfig(epochs=5)))
        fit(root, simulated(clusters, LEARNED_FROM, rng), config)
    bundle = Retriever.open(root).bundle
    return {"learned": list(bundle.manifest.features), "index": bundle.manifest.index["family"]}


def write_users(folder: Path, users: int, reranked: int, seed: int) -> None:
    """Write users with their histories, and others with candidates too, a row group at a time."""
    rng = np.random.default_rng([seed, 1])
    clusters = np.load(folder / "clusters.npy")
    order, names = np.argsort(clusters, kind="stable"), pa.array([f"i{n}" for n in range(len(clusters))])
    starts = np.searchsorted(clusters[order], np.arange(CLUSTERS + 1))
    for name, count in (("recommend", users), ("rerank", reranked)):
        writer = None
        for first in range(0, count, GROUP):
            several = min(GROUP, count - first)
            columns = {"user_id": pa.array([f"{name}-{first + n:07}" for n in range(several)])}
            columns["history"] = lists(_taken(order, starts, rng.integers(10, 31, several), rng), names)
            if name == "rerank":
                drawn = rng.integers(0, len(names), several)[:, None] + 7 * np.arange(CANDIDATES)
                columns["candidates"] = lists(list(drawn % len(names)), names)
            table = pa.table(columns)
            writer = writer or pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writer.write_table(table)
        if writer:
            writer.close()


def cut_off(path: Path, shorter: Path, lines: int) -> None:
    """Write the first lines of a file."""
    with pq.ParquetWriter(shorter, pq.read_schema(path)) as writer:
        for batch in pq.ParquetFile(path).iter_batches(GROUP):
            if lines > 0:
                writer.write_batch(batch.slice(0, lines))
            lines -= len(batch)


def _taken(order: Rows, starts: Rows, lengths: Rows, rng: np.random.Generator) -> list[Rows]:
    """Draw histories: popular items of four clusters each, as in `simulated`."""
    liked = rng.integers(0, CLUSTERS, (len(lengths), 4))
    line = np.repeat(np.arange(len(lengths)), lengths)
    chosen = liked[line, rng.integers(0, 4, len(line))]
    places = ((starts[chosen + 1] - starts[chosen]) * rng.random(len(line)) ** 3).astype(np.int64)
    return np.split(order[starts[chosen] + places], np.cumsum(lengths)[:-1])


def lists(rows: list[Rows], names: pa.Array) -> pa.Array:
    """Give lists of item_ids."""
    offsets = np.append(0, np.cumsum(list(map(len, rows)))).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), names.take(pa.array(np.concatenate(rows))))


def command(folder: Path, job: str, out: str) -> list[str]:
    """Give the command of one job in a process of its own."""
    return [sys.executable, "-m", "scripts.benchmarks.rerank.batch", "--folder", str(folder), "--job", job, out]


def run(folder: Path, job: str, out: str) -> dict[str, Any]:
    """Run a job to its end."""
    done = subprocess.run(command(folder, job, out), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(job, found, flush=True)
    return found


def measured(folder: Path, job: str, out: str) -> dict[str, Any]:
    """Run a job in this process, and note its memory on the way."""
    retriever = Retriever.open(folder / "bundle")
    source = ListedUsers(ParquetFiles(folder / f"{job}.parquet"), retriever, given=job == "rerank")
    begun, noted, done = memory(), dict[str, dict[str, int]](), [0]

    def advance(lines: int, _users: int, _quarantined: int) -> None:
        done[0] += lines
        for moment in MOMENTS:
            if done[0] >= moment * len(source) and f"{moment:.0%}" not in noted:
                now = memory()
                noted[f"{moment:.0%}"] = {"own": now.own, "peak": now.peak}

    report = run_job(retriever, source, folder / out, CONFIG, progress=advance)
    summary = report.to_json() | {"pairs_per_second": round(report.users_per_second * CANDIDATES)}
    return summary | {"MiB before": begun.own, "MiB after": noted}


def killed(folder: Path, times: float, seed: int) -> dict[str, Any]:
    """Run a job, kill it at a random moment between its second and its last part, and run it to its end.

    Args:
        folder: Of the job.
        times: How many times as many users it has as the uninterrupted run.
        seed: Of the moment.
    """
    ledger, whole = folder / "killed" / "_parts.jsonl", round(times * parts_of(folder / "whole" / "_parts.jsonl"))
    at = random.Random(seed).randint(1, max(1, whole - 1))  # noqa: S311 - no secret
    with subprocess.Popen(command(folder, "recommend", "killed"), stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and parts_of(ledger) < at:
            time.sleep(0.01)
        time.sleep(random.Random(seed + 1).random())  # noqa: S311
        os.kill(process.pid, signal.SIGKILL)
    left = parts_of(ledger)
    after = run(folder, "recommend", "killed")
    return {"parts when killed": left, "parts": whole, "kept": after["resumed"], "after": after}


def parts_of(ledger: Path) -> int:
    """Count the parts that a job has finished."""
    return len(ledger.read_bytes().splitlines()) if ledger.exists() else 0


def same(one: Path, other: Path, shorter: bool) -> bool:
    """Whether two folders hold the same files with the same tables; or, if one is shorter, whether all of its are."""
    names = sorted(path.name for path in one.glob("*.parquet"))
    others = sorted(path.name for path in other.glob("*.parquet"))
    if names != (others[: len(names)] if shorter else others):
        return False
    tables = ((pq.read_table(one / name), pq.read_table(other / name)) for name in names)
    return all(first.equals(second.slice(0, len(first)) if shorter else second) for first, second in tables)


if __name__ == "__main__":
    main()
