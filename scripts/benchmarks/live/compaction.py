"""What a compaction costs where few items changed, beside the build of the same bundle: seconds, and memory of its own.

    python -m scripts.benchmarks.live.compaction --pairs PAIRS [--sizes 100000 1000000] [--share 0.01]

Items are vectors drawn from the geometry of real pairs (see `scripts.benchmarks.index.geometry`), put in by the encoder
``vectors:``. A share of the items, drawn at random, gets other vectors. Builds and compactions run in processes of
their own, whose memory (not that of mapped files) is read every few milliseconds. `scripts.benchmarks.live.live` does
the same after its other changes.
"""

import argparse
import multiprocessing
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Vectors
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import upsert
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.runtime.threads import cores
from retrieval.retriever.learned_parts import compact
from scripts.benchmarks.index.geometry import draw, read_pairs
from scripts.benchmarks.memory import memory, watched
from scripts.benchmarks.record import keep

SHARE = 0.01


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--share", type=float, default=SHARE)
    parser.add_argument("--name", default="compaction", help="of the file of results")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    given = parser.parse_args()
    rows = []
    for size in given.sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            drawn = draw(*read_pairs(given.pairs), size + int(given.share * size), 1, given.seed).items
            write_items(folder / "items.parquet", [f"item-{row}" for row in range(size)], drawn[:size])
            others = drawn[size:].copy()
            del drawn
            built = apart(_built, given.threads, folder / "items.parquet", folder / "bundle")
            rows.append({"items": size, "build": built, **of_few(folder / "bundle", others, given.threads)})
            rows[-1]["compaction / build"] = round(rows[-1]["compaction"]["s"] / built["s"], 3)
        print(rows[-1], flush=True)
    keep(given.name, {"threads": given.threads, "share": given.share, "sizes": rows}, given.seed)


def of_few(root: Path, vectors: Vectors, threads: int, seed: int = 0) -> dict[str, Any]:
    """Give as many items of a bundle as there are vectors these in place of theirs, and compact it."""
    bundle = Bundle.open(root, check="lazy")
    live = np.flatnonzero(bundle.is_live)
    rows = np.random.default_rng(seed).choice(live, len(vectors), replace=False)
    changed = root.parent / "changed.parquet"
    write_items(changed, [bundle.items[int(row)] for row in rows], vectors)
    upsert(root, Catalogue.from_parquet(changed), load_encoder("vectors:"))
    return {"changed": len(rows), "compaction": apart(_compacted, threads, root)}


def write_items(path: Path, item_ids: list[str], vectors: Vectors) -> None:
    """Write vectors as a catalogue of items without text or picture."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), vectors.shape[1])
    place = np.arange(len(vectors))
    pq.write_table(pa.table({"item_id": item_ids, "image_vector": column, "place": place}), path)


def apart(work: Callable[..., dict[str, Any]], threads: int, *paths: Path) -> dict[str, Any]:
    """Do some work in a process of its own, and measure its seconds and the most memory of its own that it had."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_watched, (work, threads, *paths))


def _watched(work: Callable[..., dict[str, Any]], threads: int, *paths: Path) -> dict[str, Any]:
    faiss.omp_set_num_threads(threads)
    before = memory().own
    with watched() as peak:
        started = perf_counter()
        found = work(*paths)
        seconds = perf_counter() - started
    return {"s": round(seconds, 2), "MiB before": before, "MiB at most": peak[0], **found}


def _built(items: Path, out: Path) -> dict[str, Any]:
    return _index(build_bundle(Catalogue.from_parquet(items), load_encoder("vectors:"), out))


def _compacted(root: Path) -> dict[str, Any]:
    return _index(compact(root))


def _index(bundle: Bundle) -> dict[str, Any]:
    index = bundle.manifest.index
    return {name: index.get(name) for name in ("family", "recall", "efforts", "trained", "build_seconds")}


if __name__ == "__main__":
    main()
