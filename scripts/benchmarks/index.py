"""Queries a second at a recall promised to text queries, against hnswlib, usearch and FAISS's HNSW, in one run.

    pip install hnswlib usearch
    python -m scripts.benchmarks.index PAIRS [--count 200000] [--seed 0]

PAIRS is a folder with `image_emb.npy` and `text_emb.npy` of some hundred real pairs; items and queries are drawn from
their geometry (`scripts.benchmarks.geometry`). Half of the queries tune, the other half is reported. Every index is
taken at the least effort at which text queries reach recall@10 .95; "on itself" is the effort at which the indexed
vectors, asked as queries, reach it.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, NamedTuple

import faiss
import hnswlib
import numpy as np
from usearch.index import Index as Usearch

from indexing.index import IndexConfig, build_index
from indexing.index.ivf import IvfIndex
from indexing.types import Rows, Vectors
from scripts.benchmarks.geometry import draw, read_pairs
from scripts.benchmarks.record import keep

K, TARGET, M, QUERIES = 10, 0.95, 16, 2000
EFFORTS = (16, 24, 32, 48, 64, 96, 128, 192, 256, 320, 400, 512, 640, 800, 1024)
OURS = "commonspace"
Search = Callable[[Vectors], Rows]


class Built(NamedTuple):
    """An index: how to set its effort, how to search, its bytes, and the time to build it."""

    set_effort: Callable[[int], None]
    search: Search
    size: int
    seconds: float


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = draw(*read_pairs(given.pairs), given.count, QUERIES, given.seed)
    items, half = drawn.items, QUERIES // 2
    tune = {"text": drawn.texts[:half], "image": drawn.images[:half]}
    report = {"text": drawn.texts[half:], "image": drawn.images[half:]}
    exact = faiss.IndexFlatIP(items.shape[1])
    exact.add(items)
    truth = {name: exact.search(queries, K)[1] for name, queries in report.items()}
    tuning_truth = exact.search(tune["text"], K)[1]
    own = items[np.random.default_rng(given.seed).choice(len(items), half, replace=False)]
    own_truth = exact.search(own, K)[1]
    result: dict[str, Any] = {}
    for name, build in PEERS.items():
        built = build(items)
        row: dict[str, Any] = {
            "bytes a vector": round(built.size / len(items)),
            "build seconds": round(built.seconds, 1),
        }
        for tuned_on, queries, answers in (("texts", tune["text"], tuning_truth), ("itself", own, own_truth)):
            row[f"effort tuned on {tuned_on}"] = least_effort(built, queries, answers)
            row[f"tuned on {tuned_on}"] = measured(built.search, report, truth)
        result[name] = row
        print(name, row, flush=True)
    result[OURS] = ours(items, tune, report, truth)
    print(OURS, result[OURS], flush=True)
    result["exact"] = {"queries/s": speed(lambda queries: exact.search(queries, K)[1], report["text"])}
    fastest = max(row["tuned on texts"]["text queries/s"] for name, row in result.items() if name in PEERS)
    result["times the best peer"] = round(result[OURS]["tuned on texts"]["text queries/s"] / fastest, 2)
    keep("index", {"items": len(items), "fit of the vectors": drawn.fit, **result}, given.seed)


def ours(
    items: Vectors, tune: dict[str, Vectors], report: dict[str, Vectors], truth: dict[str, Rows]
) -> dict[str, Any]:
    """Let this project build and tune."""
    index, told = build_index(items, IndexConfig(min_recall=TARGET, k=K, kind="ivf"), tune)
    if not isinstance(index, IvfIndex):
        raise SystemExit(f"expected inverted lists, got {index.kind}")
    size = len(index.to_bytes())
    halves = 2 * items.shape[1]
    return {
        "bytes a vector": round(size / len(items)),
        "of these for refinement": halves,
        "build seconds, tuning included": told.build_seconds,
        "effort": told.effort,
        "recall that it promises": told.recall,
        "tuned on texts": measured(lambda queries: index.search(queries, K)[1], report, truth),
    }


def least_effort(built: Built, queries: Vectors, answers: Rows) -> int:
    """Find the least effort that reaches the target, and set it."""
    for effort in EFFORTS:
        built.set_effort(effort)
        if overlap(built.search(queries), answers) >= TARGET:
            break
    return effort


def measured(search: Search, report: dict[str, Vectors], truth: dict[str, Rows]) -> dict[str, float]:
    """Recall and speed for each kind of query."""
    found: dict[str, float] = {}
    for name, queries in report.items():
        found[f"{name} recall"] = round(overlap(search(queries), truth[name]), 4)
        found[f"{name} queries/s"] = speed(search, queries)
    return found


def overlap(found: Rows, answers: Rows) -> float:
    """Share of the exact best that was found."""
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found.tolist(), answers.tolist(), strict=True)]))


def speed(search: Search, queries: Vectors) -> float:
    """Queries a second in one batch, the median of three."""
    times = []
    for _ in range(3):
        started = perf_counter()
        search(queries)
        times.append(perf_counter() - started)
    return round(len(queries) / median(times))


def _faiss_hnsw(items: Vectors) -> Built:
    started = perf_counter()
    index = faiss.IndexHNSWFlat(items.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    index.add(items)
    seconds = perf_counter() - started

    def set_effort(effort: int) -> None:
        index.hnsw.efSearch = effort

    return Built(set_effort, lambda q: index.search(q, K)[1], len(faiss.serialize_index(index)), seconds)


def _hnswlib(items: Vectors) -> Built:
    started = perf_counter()
    index = hnswlib.Index("ip", items.shape[1])
    index.init_index(len(items), ef_construction=200, M=M, random_seed=0)
    index.add_items(items)
    seconds = perf_counter() - started
    size = index.index_file_size()

    def search(queries: Vectors) -> Rows:
        return np.asarray(index.knn_query(queries, K)[0], np.int64)

    return Built(index.set_ef, search, size, seconds)


def _usearch(items: Vectors) -> Built:
    started = perf_counter()
    index = Usearch(ndim=items.shape[1], metric="ip", dtype="bf16", connectivity=M)
    index.add(np.arange(len(items)), items)
    seconds = perf_counter() - started

    def set_effort(effort: int) -> None:
        index.expansion_search = effort

    return Built(set_effort, lambda q: np.asarray(index.search(q, K).keys, np.int64), index.serialized_length, seconds)


PEERS: dict[str, Callable[[Vectors], Built]] = {"FAISS HNSW": _faiss_hnsw, "hnswlib": _hnswlib, "usearch": _usearch}

if __name__ == "__main__":
    main()
