r"""What an index costs as the catalogue grows: seconds to build, bytes, latency and queries/s, with fitted exponents.

    python -m scripts.benchmarks.index.index_curves --pairs PAIRS [--largest 1000000] [--kind ivf]
    python -m scripts.benchmarks.index.index_curves --pairs PAIRS --sizes 8000 15000 50000 --threads 1 --kind auto \
        --name small_auto

Items and text queries are drawn from the geometry of real pairs (see `geometry`); each size is tuned to
recall@10 .95 for every kind of query. An exponent is the slope of a least-squares line through the logarithms: 1 is in
proportion to the number of items.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.index import IndexConfig, Queries, build_index
from indexing.runtime.threads import cores
from scripts.benchmarks.index.catalogues import K, drawn_catalogue
from scripts.benchmarks.record import keep

SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
QUERIES, TARGET = 1000, 0.95
SLOPES = ("build seconds", "seconds with tuning", "bytes", "text latency ms", "image latency ms")


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--kind", choices=("auto", "ivf", "flat", "hnsw"), default="ivf")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--name", default="index_curves", help="of the file of results")
    given = parser.parse_args()
    faiss.omp_set_num_threads(given.threads)
    rows = []
    for size in sorted({min(size, given.largest) for size in given.sizes}):
        rows.append(measured(given.pairs, size, given.kind, given.seed))
        print(rows[-1], flush=True)
    exponents = {name: exponent([row["items"] for row in rows], [row[name] for row in rows]) for name in SLOPES}
    keep(
        given.name,
        {"threads": given.threads, "target": TARGET, "sizes": rows, "exponents": exponents},
        given.seed,
    )


def measured(pairs: Path, size: int, kind: Any, seed: int) -> dict[str, Any]:  # noqa: ANN401 - a choice of argparse
    """Build and tune an index over so many items."""
    catalogue = drawn_catalogue(pairs, size, QUERIES, seed)
    asked: dict[str, Queries] = {name: one.queries for name, one in catalogue.tune.items()}
    _, report = build_index(catalogue.items, IndexConfig(TARGET, K, kind), asked)
    chosen = next(trial for trial in report.tried if trial["family"] == report.family)
    row: dict[str, Any] = {
        "items": size,
        "family": report.family,
        "build seconds": chosen["build_seconds"],
        "seconds with tuning": report.build_seconds,
        "bytes": report.bytes,
        "goals missed": list(report.unmet),
    }
    for name in asked:
        row[f"{name} recall"] = report.recall[name]
        row[f"{name} recall bound"] = report.recall_bound[name]
        row[f"{name} effort"] = report.efforts.get(name, {})
        row[f"{name} latency ms"] = chosen["latency_ms"][name]
        row[f"{name} queries/s"] = chosen["queries_per_second"][name]
    return row


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float | None:
    """Fit cost = a x size^exponent; None from a single size.

    >>> exponent([10, 100, 1000], [3, 30, 300])
    1.0
    """
    if len(sizes) < 2:
        return None
    return round(float(np.polyfit(np.log(sizes), np.log(costs), 1)[0]), 3)


if __name__ == "__main__":
    main()
