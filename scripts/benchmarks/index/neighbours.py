"""How fast the neighbours of every item are found, beside a bare FAISS batch; and whether a killed run is resumed.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.index.neighbours ITEMS PAIRS [--drawn 200000] [--most 32768]
    [--seed 0] [--work FOLDER]

ITEMS is a table of products, which the pocket encoder embeds. PAIRS is a folder with `image_emb.npy` and
`text_emb.npy` of some hundred real pairs, from whose geometry so many further items are drawn (`geometry`). For each
catalogue, in one process: the table of all neighbours; the index of the bundle alone; and `faiss.IndexFlatIP`, both
asked for the same lists in batches of the same size, for the first items, so many at most. In alternating rounds; the
median counts. Then the command is killed (SIGKILL) half way and run again. FOLDER keeps the bundles for another run.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from retrieval import Retriever
from retrieval.batch.neighbours import PARTS, NeighboursConfig, neighbour_batches
from scripts.benchmarks.index.geometry import draw, read_pairs
from scripts.benchmarks.record import keep

K, ROUNDS, CHUNK = 10, 3, 4096
VECTOR = "text_vector"


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--drawn", type=int, default=200_000)
    parser.add_argument("--most", type=int, default=8 * CHUNK)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = given.work or Path(folder)
        work.mkdir(exist_ok=True)
        bundles = {
            "products": bundle_of(work / "products", lambda: given.items, "pocket"),
            "drawn": bundle_of(work / "drawn", lambda: drawn_table(work, given), "vectors:"),
        }
        result = {
            name: measured(bundle, given.most) | resumed(bundle, Path(folder)) for name, bundle in bundles.items()
        }
    keep("neighbours", {"k": K, "chunk": CHUNK, "rounds": ROUNDS, **result}, given.seed)


def bundle_of(bundle: Path, items: Callable[[], Path], encoder: str) -> Path:
    """Build a bundle, unless it is there."""
    if not (bundle / "CURRENT").exists():
        build_bundle(Catalogue.open(items()), load_encoder(encoder), bundle)
    return bundle


def drawn_table(work: Path, given: argparse.Namespace) -> Path:
    """Draw items, and write their vectors as a table."""
    items = draw(*read_pairs(given.pairs), given.drawn, 1, given.seed).items
    lists = pa.FixedSizeListArray.from_arrays(pa.array(items.ravel()), items.shape[1])
    names = [f"i{number:07}" for number in range(len(items))]
    pq.write_table(pa.table({"item_id": names, VECTOR: lists.cast(pa.list_(pa.float32()))}), work / "drawn.parquet")
    return work / "drawn.parquet"


def measured(bundle: Path, most: int) -> dict[str, Any]:
    """Give items a second of the table, of the index alone and of exact FAISS, and the recall of the lists."""
    retriever = Retriever.open(bundle)
    queries = retriever.vectors[:most]
    exact = faiss.IndexFlatIP(retriever.vectors.shape[1])
    exact.add(retriever.vectors)

    def by_chunk(search: Callable[[Vectors], object]) -> None:
        for start in range(0, len(queries), CHUNK):
            search(queries[start : start + CHUNK])

    def table() -> None:
        for lists in neighbour_batches(retriever, NeighboursConfig(K, chunk=CHUNK)):
            lists.to_arrow()
            if lists.chunk.first + lists.chunk.lines >= len(queries):
                break

    runs: dict[str, Callable[[], None]] = {
        "table": table,
        "index": lambda: by_chunk(lambda some: retriever.index.search(some, K + 1, kind="item")),
        "faiss": lambda: by_chunk(lambda some: exact.search(some, K + 1)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            started = perf_counter()
            run()
            seconds[name].append(perf_counter() - started)
    rates = {name: len(queries) / median(times) for name, times in seconds.items()}
    return {
        "items": len(retriever.items),
        "dimensions": retriever.vectors.shape[1],
        "items of a round": len(queries),
        "kind of index": retriever.index.kind,
        "items/s": {name: round(rate) for name, rate in rates.items()},
        "of faiss": round(rates["table"] / rates["faiss"], 3),
        "of the faster": round(rates["table"] / max(rates["faiss"], rates["index"]), 3),
        "recall": recall(retriever, exact, queries[:CHUNK]),
    }


def recall(retriever: Retriever, exact: Any, queries: Vectors) -> float:  # noqa: ANN401 - FAISS ships no types
    """Give the share of the exact neighbours that are listed."""
    truth = exact.search(queries, K + 1)[1]
    lists = next(neighbour_batches(retriever, NeighboursConfig(K, chunk=CHUNK)))
    shares = []
    for row, (near, found) in enumerate(zip(truth, lists.found.rows, strict=True)):
        others = near[near != row][:K]
        shares.append(len(np.intersect1d(others, found)) / len(others))
    return round(float(np.mean(shares)), 4)


def resumed(bundle: Path, folder: Path) -> dict[str, Any]:
    """Run the command, kill it half way, run it again, and compare its table with one that was never stopped."""
    out, whole = folder / "near.parquet", folder / "whole.parquet"
    command = [sys.executable, "-m", "retrieval.cli", "similar", str(bundle), "--all", "-k", str(K)]
    started = perf_counter()
    first = subprocess.Popen([*command, "--out", str(whole)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(first.pid, 0)
    seconds = perf_counter() - started
    chunks = -(-len(Retriever.open(bundle).items) // CHUNK)
    parts = out.with_name(f"{out.name}{PARTS}")
    process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(list(parts.glob("part-*.parquet"))) < max(1, chunks // 2) and process.poll() is None:
        sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = out.exists()
    report = subprocess.run([*command, "--out", str(out), "--json"], check=True, capture_output=True, text=True).stdout
    one, other = pq.read_table(out), pq.read_table(whole)
    for path in (out, whole):
        path.unlink()
    return {
        "exit code": os.waitstatus_to_exitcode(status),
        "whole command, s": round(seconds, 1),
        "peak memory, MiB": usage.ru_maxrss >> 10,
        "parts": chunks,
        "killed before the end": not finished,
        "report after the kill": report.strip(),
        "same neighbours": one.drop(["score"]).equals(other.drop(["score"])),
        "largest difference of scores": float(np.abs(one["score"].to_numpy() - other["score"].to_numpy()).max()),
    }


if __name__ == "__main__":
    main()
