"""What memory building a bundle takes, by size and kind of index: whether it grows with the vectors.

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.index.bundle_memory [--counts 20000 60000] [--dim 256] [--seed 0]

Items have a vector for text and one for a picture, drawn around 40 centres, so that no model takes memory. Each build
runs in a process of its own, whose own memory (not that of mapped files) is read every few milliseconds.
"""

import argparse
import multiprocessing
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.index import IndexConfig
from scripts.benchmarks.memory import memory, watched
from scripts.benchmarks.record import keep

GROUP, EVERY = 4096, 0.005
CONFIGS = {
    "sharded": IndexConfig(kind="sharded", max_memory="16M"),
    "sharded, on disk": IndexConfig(kind="sharded", max_memory="16M", on_disk=True),
    "ivf": IndexConfig(kind="ivf"),
}


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[20_000, 60_000])
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in given.counts:
            write_items(Path(folder, "items.parquet"), count, given.dim, given.seed)
            for name in CONFIGS:
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    built = pool.apply(build, (Path(folder, "items.parquet"), Path(folder, f"{name}-{count}"), name))
                found.append({"items": count, "index": name, **built})
                print(found[-1], flush=True)
    keep("bundle_memory", {"dim": given.dim, "builds": found}, given.seed)


def write_items(path: Path, count: int, dim: int, seed: int) -> None:
    """Write a catalogue of so many items, some thousand at a time."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(40, dim))
    kind = pa.list_(pa.float16(), dim)
    schema = pa.schema({"item_id": pa.string(), "text_vector": kind, "image_vector": kind})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, GROUP):
            rows = range(start, min(count, start + GROUP))
            texts = unit(centres[rng.integers(0, 40, len(rows))] + 0.7 * rng.normal(size=(len(rows), dim)))
            images = unit(texts + 0.05 * rng.normal(size=texts.shape))
            columns = [
                pa.FixedSizeListArray.from_arrays(pa.array(each.astype(np.float16).ravel()), dim)
                for each in (texts, images)
            ]
            writer.write_table(pa.table([pa.array([f"item-{row}" for row in rows]), *columns], schema=schema))


def build(items: Path, out: Path, name: str) -> dict[str, Any]:
    """Build a bundle, and measure the most memory of its own that the process had before and while it did."""
    catalogue, encoder = Catalogue.from_parquet(items), load_encoder("vectors:")
    before = memory().own
    with watched(EVERY) as peak:
        bundle = build_bundle(catalogue, encoder, out, index=CONFIGS[name])
    info = bundle.manifest.index
    return {
        "MiB before": before,
        "MiB at most": peak[0],
        "MiB of the opened index": round(info["bytes"] / 2**20, 1),
        "files of the index": sum(record.name.startswith("index.bin") for record in bundle.manifest.files),
        "recall": info["recall"],
    }


if __name__ == "__main__":
    main()
