"""What learning costs as the log grows: seconds of each part, memory, and putting all items into the learned space.

    python -m scripts.benchmarks.fit.fit_scale [--items 100000] [--interactions 100000 300000 1000000] [--dim 512]

A simulated world: items lie in clusters of the content space; a user stays with a few clusters, and within them takes
what is popular. Behaviour and adapter learn as in `fit`; "whole fit" is `retrieval.fit` on a bundle and a log in
files, index and publishing included. Each size, and each fit, runs in a process of its own: its memory is its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Rows, Vectors, unit
from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.encoders import load_encoder
from indexing.index import IndexConfig
from indexing.store.collect import fuse
from retrieval import FitConfig, Interactions, Retriever, fit
from retrieval.interactions.histories import History, histories
from retrieval.training.config import NextItemsConfig
from scripts.benchmarks.index.index_curves import exponent
from scripts.benchmarks.record import keep

EACH = 50  # interactions of a user
CLUSTERS, OF_A_USER = 500, 4
REPROJECTED = 1_000_000
BUNDLE, LOG = "bundle", "log.parquet"


def main() -> None:
    """Measure every size in a process of its own, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--interactions", type=int, nargs="+", default=[100_000, 300_000, 1_000_000])
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--fit", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.fit:
        print(json.dumps(fitted(given.fit)))
        return
    if given.one:
        print(json.dumps(measured(given.items, given.one, given.dim, given.seed)))
        return
    rows = []
    for count in given.interactions:
        rows.append(alone("--items", given.items, "--dim", given.dim, "--seed", given.seed, "--one", count))
        sizes = [row["interactions"] for row in rows]
        slopes = {name: exponent(sizes, [row[name] for row in rows]) for name in rows[0] if "processor" in name}
        keep("fit_scale", {"items": given.items, "dim": given.dim, "sizes": rows, "exponents": slopes}, given.seed)


def alone(*given: object) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "scripts.benchmarks.fit.fit_scale", *map(str, given)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def measured(items: int, count: int, dim: int, seed: int) -> dict[str, Any]:
    """Simulate, build a bundle, and learn."""
    rng = np.random.default_rng(seed)
    clusters = rng.integers(0, CLUSTERS, items)
    centres, apart = (rng.standard_normal((number, dim), np.float32) for number in (CLUSTERS, items))
    # Variance falls as one over the rank of a dimension: no code holds vectors that are alike in all of 512.
    vectors = unit((centres[clusters] + apart) * np.arange(1, dim + 1, dtype=np.float32) ** -0.5)
    log = simulated(clusters, count // EACH, rng)
    row: dict[str, Any] = {"interactions": len(log)}
    with tempfile.TemporaryDirectory() as folder:
        root, path = Path(folder, BUNDLE), Path(folder, "items.parquet")
        column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim)
        pq.write_table(pa.table({"item_id": [f"i{n}" for n in range(items)], "text_vector": column}), path)
        bundle = build_bundle(
            Catalogue.from_parquet(path), load_encoder("vectors:"), root, index=IndexConfig(min_recall=0.9)
        )
        one_epoch(histories(log, bundle.items), vectors, row)
        pq.write_table(log.table, Path(folder, LOG))
        row |= alone("--fit", folder)
        row["index"] = Retriever.open(root).bundle.manifest.index["family"]
        reprojection(root, row)
    return row


def fitted(folder: Path) -> dict[str, Any]:
    """Fit as a user does, who has a bundle and a log."""
    row: dict[str, Any] = {}
    log = Interactions.from_parquet(folder / LOG)
    with timed(row, "whole fit"):
        report = fit(folder / BUNDLE, log, FitConfig())
    row |= {"published": report.published, "ndcg@10": report.ndcg, "refused": report.refused}
    return row | {"peak memory, MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}


@contextmanager
def timed(row: dict[str, Any], name: str) -> Iterator[None]:
    """Note how long something takes by the clock, and what it takes of the processor."""
    started, used = perf_counter(), process_time()
    yield
    row[f"{name}, s"] = round(perf_counter() - started, 1)
    row[f"{name}, processor s"] = round(process_time() - used, 1)


def simulated(clusters: Rows, users: int, rng: np.random.Generator) -> Interactions:
    """Give a log in which each user takes popular items of a few clusters."""
    order = np.argsort(clusters, kind="stable")
    starts = np.searchsorted(clusters[order], np.arange(CLUSTERS + 1))
    liked = rng.integers(0, CLUSTERS, (users, OF_A_USER))
    chosen = liked[np.arange(users)[:, None], rng.integers(0, OF_A_USER, (users, EACH))]
    sizes = starts[chosen + 1] - starts[chosen]
    places = (sizes * rng.random(chosen.shape) ** 3).astype(np.int64)  # the first of a cluster are its hits
    rows = order[starts[chosen] + places]
    times = np.sort(rng.integers(0, 10**8, (users, EACH)), axis=1)
    names = {"user": np.repeat([f"u{n}" for n in range(users)], EACH), "item": [f"i{row}" for row in rows.reshape(-1)]}
    return Interactions.from_arrow(pa.table({**names, "time": times.reshape(-1)}))


def one_epoch(user_histories: Sequence[History], described: Vectors, row: dict[str, Any]) -> None:
    """Time one pass of the learned tower, the part of learning that reads every interaction."""
    from retrieval.interactions.item_popularity import interaction_counts
    from retrieval.training.behaviour.next_items import train_next_items

    warm = np.flatnonzero(interaction_counts(user_histories, len(described)))
    one = np.ones(1, np.float32)
    with timed(row, "one epoch"):
        train_next_items(user_histories, one, one, warm, described, NextItemsConfig(epochs=1, max_steps=10**9))


def reprojection(root: Path, row: dict[str, Any]) -> None:
    """Time what makes item vectors of frozen ones: adapter if there is one, else fusion, and the behaviour block."""
    retriever = Retriever.open(root)
    frozen = retriever.bundle.modality_vectors
    with timed(row, f"{REPROJECTED} items into the learned space"):
        for _ in range(-(-REPROJECTED // frozen.count)):
            content = retriever.adapter.apply(frozen) if retriever.adapter else fuse(frozen)
            if retriever.behaviour:
                retriever.behaviour.joined(content)


if __name__ == "__main__":
    main()
