"""What a process has of an opened bundle: the time of opening and of the first queries, and memory of its own.

Used by `scripts.benchmarks.live.live`. By itself it opens one bundle in one process and in several at once:

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.live.opening BUNDLE [--processes 8] [--check background]

Memory is that of ``/proc/self/smaps_rollup``: what a process has written (dirty) no other can share; pages of files
that it alone has mapped count as its own (clean) only while no other process has them.
"""

import argparse
import multiprocessing
import re
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from indexing.filesystem.file_checks import CHECKS, Check

QUERY_ITEMS = ("item-7", "item-77", "item-777")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--check", choices=CHECKS, default="background")
    given = parser.parse_args()
    print(opening(given.bundle, given.check))
    print(opening_at_once(given.bundle, given.processes))


def opening(root: Path, check: Check) -> dict[str, Any]:
    """Open a bundle in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_opened, (root, check))


def opening_at_once(root: Path, count: int) -> dict[str, Any]:
    """Open a bundle in several processes, and look at the memory of each while all have it open."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(count)
    with context.Pool(count, initializer=_meet, initargs=(barrier,)) as pool:
        found = pool.starmap(_opened, [(root, "background")] * count, chunksize=1)
    dirty, clean = ([one[f"MiB {kind} after queries"] for one in found] for kind in ("dirty", "clean"))
    return {
        "processes": count,
        "MiB dirty of each": dirty,
        "MiB clean of each": clean,
        "MiB private, median": median(first + second for first, second in zip(dirty, clean, strict=True)),
        "open s, median": round(median(one["open s"] for one in found), 3),
    }


_barrier: Barrier | None = None


def _meet(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _opened(root: Path, check: Check) -> dict[str, Any]:
    """Open a bundle, and ask for what is similar to some items and what follows a history."""
    import faiss

    from retrieval.retriever.retriever import Retriever

    faiss.omp_set_num_threads(1)
    before = _private()
    started = perf_counter()
    retriever = Retriever.open(root, check=check)
    found: dict[str, Any] = {"check": check, "open s": round(perf_counter() - started, 3)}
    after = _private()
    times = []
    for item in QUERY_ITEMS:
        started = perf_counter()
        retriever.similar_items([item], 10)
        times.append(1000 * (perf_counter() - started))
    started = perf_counter()
    retriever.recommend([list(QUERY_ITEMS)], 10)
    found |= {"first query ms": round(times[0], 1), "later query ms": round(min(times[1:]), 1)}
    found["first recommendation ms"] = round(1000 * (perf_counter() - started), 1)
    started = perf_counter()
    retriever.bundle.generation.checks.wait()
    found["compared after s"] = round(perf_counter() - started, 2)
    if _barrier is not None:
        _barrier.wait()
    used = _private()
    found["MiB dirty before opening"] = before["Private_Dirty"]
    found["MiB dirty after opening"] = after["Private_Dirty"]
    found |= {"MiB dirty after queries": used["Private_Dirty"], "MiB clean after queries": used["Private_Clean"]}
    if _barrier is not None:
        _barrier.wait()  # until all have looked
    return found


def _private() -> dict[str, int]:
    """Give what this process shares with no other, in MiB."""
    text = Path("/proc/self/smaps_rollup").read_text()
    return {name: int(value) // 1024 for name, value in re.findall(r"(Private_\w+):\s+(\d+) kB", text)}


if __name__ == "__main__":
    main()
