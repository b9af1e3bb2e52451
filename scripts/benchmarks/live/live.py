"""What opening and changes cost as a bundle grows: memory, adding, deleting, following, searching and compaction.

    python -m scripts.benchmarks.live.live --pairs PAIRS [--largest 200000]
    python -m scripts.benchmarks.live.live --pairs PAIRS --sizes 1000000 --name live_1m
    python -m scripts.benchmarks.live.live --pairs PAIRS --sizes

The last compares a bundle of 10,000 items to which 50,000 were added with a fresh one of 60,000; the first does so too.

Exponents are fitted over the sizes. Items are vectors drawn from the geometry of real pairs (see
`scripts.benchmarks.index.geometry`), put in by the encoder ``vectors:``, so that no model's time is in the figures.
Every add and delete is durable when it returns.
"""

import argparse
import tempfile
from collections.abc import Callable, Mapping
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
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import add, delete, upsert
from indexing.bundle.edits.update import update
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.index.backends.flat import FlatIndex
from indexing.index.tuning.recall import recall
from indexing.runtime.threads import cores
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from scripts.benchmarks.index.geometry import Drawn, draw, read_pairs
from scripts.benchmarks.index.index_curves import exponent
from scripts.benchmarks.live.compaction import of_few
from scripts.benchmarks.live.opening import opening, opening_at_once
from scripts.benchmarks.record import keep

SIZES = (10_000, 30_000, 100_000, 200_000, 1_000_000)
BATCHES = (1, 100, 10_000)
REPEATS = 5
PROCESSES = 8  # that have one bundle open at once
FIRST, ADDED, UNCHANGED = 10_000, 50_000, 1_500
SLOPES = (
    "add 100 items, s",
    "delete 100 items, s",
    "follow 100 items, s",
    "open, s",
    "open s, background",
    "first query ms, background",
    "MiB dirty after queries, background",
    "compact, s",
    "search ms, nothing pending",
)


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--largest", type=int, default=200_000)
    parser.add_argument("--sizes", type=int, nargs="*", help="instead of 10,000 to the largest")
    parser.add_argument("--name", default="live", help="of the file of results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    given = parser.parse_args()
    faiss.omp_set_num_threads(given.threads)
    rows = []
    sizes = sorted({min(size, given.largest) for size in SIZES}) if given.sizes is None else given.sizes
    for size in sizes:
        drawn = draw(*read_pairs(given.pairs), size + REPEATS * sum(BATCHES) + size // 100, 200, given.seed)
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measured(Path(folder), drawn.items, drawn.images, size))
            others = drawn.items[size + REPEATS * sum(BATCHES) :]
            rows[-1]["1 % changed"] = of_few(Path(folder, "bundle"), others, given.threads)
        print(rows[-1], flush=True)
    if rows:
        exponents = {name: exponent([row["items"] for row in rows], [row[name] for row in rows]) for name in SLOPES}
        keep(given.name, {"threads": given.threads, "sizes": rows, "exponents": exponents}, given.seed)
    if given.name == "live":
        drawn = draw(*read_pairs(given.pairs), FIRST + ADDED, 200, given.seed)
        with tempfile.TemporaryDirectory() as folder:
            keep("live_grown", {"threads": given.threads, **compared(Path(folder), drawn)}, given.seed)


def compared(folder: Path, drawn: Drawn) -> dict[str, Any]:
    """Compare searches of a bundle to which five times its items were added with those of a fresh one of all."""
    root, encoder, items = folder / "grown", load_encoder("vectors:"), drawn.items
    build_bundle(catalogue(folder, items[:FIRST], 0), encoder, root)
    retriever, follows = Retriever.open(root), []
    row: dict[str, Any] = {"items": FIRST, "added": ADDED}
    row["open with nothing pending, s"] = round(timed(lambda: Retriever.open(root))[0], 2)
    for start in range(FIRST, FIRST + ADDED, BATCHES[-1]):
        add(root, catalogue(folder, items[start : start + BATCHES[-1]], start), encoder)
        seconds, retriever = timed(retriever.latest)
        follows.append(round(seconds, 2))
    row["follow 10000 items, s"] = follows
    row["open with all pending, s"], opened = timed(lambda: Retriever.open(root))
    row["recall of what is coded"] = dict(opened.status.added)
    fresh_root = folder / "fresh"
    row["build fresh, s"] = round(timed(lambda: build_bundle(catalogue(folder, items, 0), encoder, fresh_root))[0], 1)
    row["open fresh, s"], fresh = timed(lambda: Retriever.open(fresh_root))
    row["index of the fresh one"] = fresh.bundle.manifest.index["family"]
    row |= asked({"fresh": fresh, "opened": opened, "followed": retriever}, drawn)
    changes = [{"item_id": "item-7", "place": 1}]
    row["update one attribute of an item, s"] = round(timed(lambda: update(root, changes))[0], 4)
    same = catalogue(folder, items[:UNCHANGED], 0)
    row[f"upsert {UNCHANGED} unchanged items, s"] = round(timed(lambda: upsert(root, same, encoder))[0], 3)
    return row


def asked(retrievers: Mapping[str, Retriever], drawn: Drawn) -> dict[str, Any]:
    """Give latency and recall of searches of the same items; ratios are to the first, which is fresh."""
    found: dict[str, Any] = {}
    indexes = {name: one.index for name, one in retrievers.items()}
    exact = FlatIndex(retrievers["fresh"].indexed)
    for kind, queries in (("item", drawn.images), ("text", drawn.texts)):
        spent: dict[str, list[float]] = {name: [] for name in indexes}
        for _ in range(REPEATS):  # rounds, so that whatever else the machine does hits all alike
            for name, index in indexes.items():
                index.search(queries[:1], 10, kind=kind)  # threads that another index used come to rest
                sleep(0.2)
                for query in queries:
                    started = perf_counter()
                    index.search(query[None], 10, kind=kind)
                    spent[name].append(perf_counter() - started)
        took = {name: 1000 * median(times) for name, times in spent.items()}
        found[f"search ms as {kind}"] = {name: round(ms, 3) for name, ms in took.items()}
        found[f"ratio as {kind}"] = {name: round(ms / took["fresh"], 2) for name, ms in took.items()}
        found[f"recall as {kind}"] = {
            name: round(recall(index, exact, queries, 10, kind=kind), 4) for name, index in indexes.items()
        }
    return found


def measured(folder: Path, vectors: Vectors, queries: Vectors, size: int) -> dict[str, Any]:
    """Build a bundle of so many items, then add the others in batches, delete some of them, and compact."""
    root, encoder = folder / "bundle", load_encoder("vectors:")
    seconds, _ = timed(lambda: build_bundle(catalogue(folder, vectors[:size], 0), encoder, root))
    row: dict[str, Any] = {"items": size, "build, s": round(seconds, 2)}
    for check in ("all", "background"):
        found = opening(root, check)
        row |= {f"{name}, {check}": value for name, value in found.items() if name != "check"}
    row["at once"] = opening_at_once(root, PROCESSES)
    row["open, s"], retriever = timed(lambda: Retriever.open(root))
    row["index"] = retriever.bundle.manifest.index["family"]
    row["search ms, nothing pending"] = latency(retriever, queries)
    bundle, start = Bundle.open(root), size
    for batch in BATCHES:
        spent = []
        for _ in range(REPEATS):
            more = catalogue(folder, vectors[start : start + batch], start)
            spent.append(timed(lambda more=more: add(bundle, more, encoder))[0])  # type: ignore[misc]
            start += batch
        row[f"add {batch} items, s"] = round(median(spent), 4)
        row[f"items added a second, {batch} at once"] = round(batch / median(spent))
        seconds, retriever = timed(retriever.latest)
        row[f"follow {batch} items, s"] = round(seconds / REPEATS, 4)
        row[f"search ms, {start - size} added"] = latency(retriever, queries)
    for batch in (1, 100):
        spent = []
        for number in range(REPEATS):
            first = number * batch
            gone = [f"item-{row}" for row in range(first, first + batch)]
            spent.append(timed(lambda gone=gone: delete(bundle, gone, missing_ok=True))[0])  # type: ignore[misc]
        row[f"delete {batch} items, s"] = round(median(spent), 4)
    retriever = retriever.latest()
    row["search ms, some deleted too"] = latency(retriever, queries)
    row["compact, s"] = round(timed(lambda: compact(root))[0], 2)
    return row


def catalogue(folder: Path, vectors: Vectors, start: int) -> Catalogue:
    """Give vectors as a catalogue of items without text or picture."""
    path = folder / f"items-{start}.parquet"
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    names = [f"item-{start + row}" for row in range(len(vectors))]
    pq.write_table(pa.table({"item_id": names, "image_vector": column, "place": np.arange(len(vectors))}), path)
    return Catalogue.from_parquet(path)


def latency(retriever: Retriever, queries: Vectors) -> float:
    """Give the median milliseconds of one query, searched as an item is."""
    index = retriever.index
    index.search(queries[:1], 10, kind="item")
    spent = [timed(lambda query=query: index.search(query[None], 10, kind="item"))[0] for query in queries]  # type: ignore[misc]
    return round(1000 * median(spent), 3)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Give the seconds that some work takes, and what it gives."""
    started = perf_counter()
    result = work()
    return perf_counter() - started, result


if __name__ == "__main__":
    main()
