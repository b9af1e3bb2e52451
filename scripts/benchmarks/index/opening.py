"""What opening an index costs, memory-mapped and read into memory: time, memory, and the first and later queries.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.index.opening [--count 200000] [--dim 512] [--seed 0]

Each way runs in a process of its own, after the file's sha256 was read, as at the opening of a bundle.
"""

import argparse
import multiprocessing
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from indexing.arrays import Vectors, unit
from indexing.filesystem import fsops
from indexing.index.backends.faiss import FaissIndex
from indexing.index.backends.faiss_base import read_faiss
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams
from scripts.benchmarks.memory import memory
from scripts.benchmarks.record import keep

K, QUERIES = 10, 200


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    centres = rng.normal(size=(500, given.dim)).astype(np.float32)
    vectors = unit(centres[rng.integers(0, 500, given.count)] + rng.normal(size=(given.count, given.dim)))
    queries = unit(vectors[:QUERIES] + 0.05 * rng.normal(size=(QUERIES, given.dim)).astype(np.float32))
    result: dict[str, Any] = {"items": given.count, "dim": given.dim}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("flat", "ivf"):
            path = Path(folder, kind)
            index = (
                FaissIndex.flat(vectors)
                if kind == "flat"
                else IvfIndex.build(vectors).with_effort(SearchParams(32, 100))
            )
            index.save(path)
            del index
            result[kind] = {"MiB of the file": path.stat().st_size >> 20}
            for mapped in (False, True):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    found = pool.apply(opened, (path, kind, mapped, queries))
                result[kind]["mapped" if mapped else "read"] = found
    keep("opening", result, given.seed)


def opened(path: Path, kind: str, mapped: bool, queries: Vectors) -> dict[str, Any]:
    """Open an index and search it."""
    started = perf_counter()
    fsops.sha256(path)
    hashed = perf_counter()
    before = memory()
    index = (FaissIndex if kind == "flat" else IvfIndex)(read_faiss(path, mapped=mapped))
    done = perf_counter()
    after = memory()
    times = []
    for query in queries:
        began = perf_counter()
        index.search(query[None], K)
        times.append(perf_counter() - began)
    used = memory()
    return {
        "sha256 ms": round((hashed - started) * 1000),
        "open ms": round((done - hashed) * 1000, 1),
        "MiB of its own after opening": after.own - before.own,
        "MiB of its own after queries": used.own - before.own,
        "MiB of the file in memory after queries": used.files - before.files,
        "first query ms": round(times[0] * 1000, 2),
        "later query ms": round(median(times[1:]) * 1000, 3),
    }


if __name__ == "__main__":
    main()
