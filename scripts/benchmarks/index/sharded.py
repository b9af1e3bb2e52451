"""What an index in shards costs: peak memory and time of the build, bytes, recall, latency.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.index.sharded PAIRS [--counts 25000 50000 …]
    [--max-memory 256M] [--codes memory disk] [--folder FOLDER] [--name sharded] [--seed 0]

PAIRS is a folder with `image_emb.npy` and `text_emb.npy` of some hundred real pairs; items and queries are drawn from
their geometry (`geometry`), and items are written to a file in half precision, which the build reads block by block:
neither it nor this keeps all of them in memory. FOLDER has room for it and for the index, 2.2 kB a vector. Each build
and each search runs in a process of its own. Half of the text queries choose the effort, the other half is reported.
Ten million: ``--counts 10000000 --max-memory 6G --codes memory --name sharded_10m``, an hour or less.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np

from indexing.arrays import Vectors
from indexing.index.backends.build_sharded import Plan, build_sharded
from indexing.index.backends.flat import exact_search
from indexing.index.backends.sharded import ShardedIndex, shard_files
from indexing.index.config import SearchParams, parse_bytes
from scripts.benchmarks.index.geometry import Drawer, read_pairs
from scripts.benchmarks.memory import memory
from scripts.benchmarks.record import keep

K, TARGET, QUERIES, BLOCK, TRUTH_BLOCK = 10, 0.95, 1000, 4096, 100_000
PROJECTED = 100_000_000
LISTS = (8, 16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768)
CANDIDATES = (25, 50, 100, 200, 400)


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--counts", type=int, nargs="+", default=[25_000, 50_000, 100_000, 200_000])
    parser.add_argument("--max-memory", default="256M")
    parser.add_argument("--codes", nargs="+", choices=["memory", "disk"], default=["memory", "disk"], help="kept there")
    parser.add_argument("--folder", type=Path, help="for the files, which are removed at the end")
    parser.add_argument("--name", default="sharded", help="of the file of results")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawer = Drawer(*read_pairs(given.pairs), max(given.counts), given.seed)
    dim = drawer.images.shape[1]
    sizes: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        vectors, path = Path(folder, "vectors.f16"), Path(folder, "index.bin")
        with vectors.open("wb") as drawn:
            for block in drawer.items():
                drawn.write(block.astype(np.float16).data)
        _, texts = drawer.queries(QUERIES)
        for count in given.counts:
            exact = exact_search(read_blocks(vectors, count, dim, TRUTH_BLOCK), texts, K)[0]
            for on_disk in [place == "disk" for place in given.codes]:
                if on_disk and count < max(given.counts) / 2:
                    continue
                built = alone(build, vectors, count, dim, path, given.max_memory, on_disk)
                searched = alone(search, path, texts, exact)
                sizes.append({"items": count, "codes on disk": on_disk, **built, **searched})
                print(sizes[-1], flush=True)
                for file in (*shard_files(path), path):
                    file.unlink()
    keep(given.name, {"max_memory": given.max_memory, "dim": dim, "sizes": sizes}, given.seed)


def read_blocks(path: Path, count: int, dim: int, block: int = BLOCK) -> Iterator[Vectors]:
    """Give the first vectors of a file block by block, without mapping it: pages would count as memory."""
    with path.open("rb") as file:
        for start in range(0, count, block):
            rows = min(block, count - start)
            halves = np.frombuffer(file.read(rows * dim * 2), np.float16).reshape(rows, dim)
            yield halves.astype(np.float32)


def alone(work: Callable[..., dict[str, Any]], *arguments: object) -> dict[str, Any]:
    """Run a function in a new process, and give its result."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def build(vectors: Path, count: int, dim: int, path: Path, max_memory: str, on_disk: bool) -> dict[str, Any]:
    """Build, and measure memory and time."""
    before, started, spent = memory(), perf_counter(), process_time()
    index = build_sharded(lambda: read_blocks(vectors, count, dim), path, max_memory=max_memory, on_disk=on_disk)
    seconds, spent = perf_counter() - started, process_time() - spent
    peak = memory().peak
    size = sum(file.stat().st_size for file in shard_files(path))
    return {
        "shards": len(index.shards),
        "planned rows a shard": Plan.within(parse_bytes(max_memory), dim, on_disk=on_disk).shard,
        "build seconds": round(seconds, 1),
        "build CPU seconds": round(spent, 1),
        "peak MiB": peak,
        "of these before the build": before.own + before.files,
        "bytes a vector": round(size / count, 1),
    }


def search(path: Path, texts: Vectors, exact: Vectors) -> dict[str, Any]:
    """Choose the effort on half of the queries, and measure the other half, one by one and as a batch."""
    started = perf_counter()
    index = ShardedIndex.load(path)
    opened = perf_counter() - started
    half = len(texts) // 2
    effort = cheapest(index, texts[:half], exact[:half])
    index = index.with_effort(effort)
    found = index.search(texts[half:], K)[0]
    times = []
    for query in texts[half:]:
        started = perf_counter()
        index.search(query[None], K)
        times.append(perf_counter() - started)
    spent, started = process_time(), perf_counter()
    index.search(texts[half:], K)
    spent, batch, after = process_time() - spent, perf_counter() - started, memory()
    return {
        "open ms": round(opened * 1000, 1),
        "lists": effort.lists,
        "candidates a shard": effort.candidates,
        "text recall": round(share(found, exact[half:]), 4),
        "ms a query": round(median(times) * 1000, 3),
        "CPU ms a query of a batch": round(spent / half * 1000, 3),
        "queries a second of a batch": round(half / batch),
        "MiB of its own while searching": after.own,
        "MiB of files while searching": after.files,
    }


def cheapest(index: ShardedIndex, texts: Vectors, exact: Vectors) -> SearchParams:
    """Give the fastest effort that reaches the target, or the last one that was tried."""
    reaching: list[tuple[float, SearchParams]] = []
    effort = SearchParams(LISTS[0], CANDIDATES[0])
    for candidates in CANDIDATES:
        for lists in LISTS:
            effort = SearchParams(lists, candidates)
            started = process_time()
            reached = share(index.with_effort(effort).search(texts, K)[0], exact) >= TARGET
            seconds = process_time() - started
            if reached:
                reaching.append((seconds, effort))
            if reached or any(seconds > other for other, _ in reaching):
                break
    return min(reaching, key=lambda one: one[0])[1] if reaching else effort


def share(scores: Vectors, exact: Vectors) -> float:
    """Share of the k best that was found; scores are of half precision."""
    return float((scores >= exact[:, -1:] - 1e-3 * np.abs(exact[:, -1:])).mean())


if __name__ == "__main__":
    main()
