"""What filters cost, and whether they keep the recall: from half of the items down to one in a thousand.

    python -m scripts.benchmarks.index.filters PAIRS [--count 200000] [--kinds ivf hnsw flat] [--seed 0]

PAIRS is a folder with `image_emb.npy` and `text_emb.npy` of some hundred real pairs; items and queries are drawn from
their geometry (`geometry`). Each index is tuned on half of the queries without filters and reported
on the other half. Filters allow a share of the items: at random, or all that lie nearest to the mean text query,
farthest from it, or nearest to one item. Searches are compared with exact search among the allowed items. Recall is
counted by score: items of equal score are as good as each other. Queries a second are of batches and of single queries.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from indexing.arrays import Mask, Vectors
from indexing.index import FlatIndex, IndexConfig, VectorIndex, build_index
from indexing.index.tuning.recall import GroundTruth, Queries
from scripts.benchmarks.index.geometry import Drawn, draw, read_pairs
from scripts.benchmarks.record import keep

K, TARGET, QUERIES, SINGLE = 10, 0.95, 1000, 50
SHARES = (0.5, 0.2, 0.1, 0.05, 0.01, 0.001)


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--kinds", nargs="+", default=["ivf", "hnsw", "flat"], choices=["ivf", "hnsw", "flat"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    drawn = draw(*read_pairs(given.pairs), given.count, QUERIES, given.seed)
    half = QUERIES // 2
    tune = {"text": drawn.texts[:half], "image": drawn.images[:half]}
    asked = {"text": drawn.texts[half:], "image": drawn.images[half:]}
    masks = list(filters(drawn, given.seed))
    oracle = FlatIndex(drawn.items)
    exact = {
        (query, name): oracle.search(queries, K, allow)[0] for query, queries in asked.items() for name, allow in masks
    }
    result: dict[str, Any] = {"items": len(drawn.items), "fit of the vectors": drawn.fit}
    for kind in given.kinds:
        index, tuned = build_index(drawn.items, IndexConfig(min_recall=TARGET, k=K, kind=kind), tune)
        result[kind] = {"efforts": dict(tuned.efforts), "recall that it promises": dict(tuned.recall)}
        for query, queries in asked.items():
            rows = {name: measured(index, drawn.items, queries, allow, exact[query, name]) for name, allow in masks}
            result[kind][query] = rows
            for name, row in rows.items():
                print(kind, query, name, row, flush=True)
        result[kind]["least filtered recall"] = min(row["recall"] for q in asked for row in result[kind][q].values())
        for wrong in ("violations", "lines short of k"):
            result[kind][wrong] = sum(row[wrong] for q in asked for row in result[kind][q].values())
    keep("filters", result, given.seed)


def filters(drawn: Drawn, seed: int) -> Iterator[tuple[str, Mask]]:
    """Give each filter and its name, first the one that allows everything."""
    rng = np.random.default_rng(seed)
    items, towards = drawn.items, drawn.texts.mean(axis=0)
    yield "none", np.ones(len(items), np.bool_)
    directions = {"near the texts": towards, "far from the texts": -towards, "near an item": items[0]}
    orders = {"random": rng.permutation(len(items))} | {
        name: np.argsort(-(items @ direction), kind="stable") for name, direction in directions.items()
    }
    for share in SHARES:
        for name, order in orders.items():
            allow = np.zeros(len(items), np.bool_)
            allow[order[: max(1, round(share * len(items)))]] = True
            yield f"{share:.1%} {name}", allow


def measured(index: VectorIndex, items: Vectors, queries: Vectors, allow: Mask, exact: Vectors) -> dict[str, Any]:
    """Recall, what is wrong, and speed of one filter."""
    started = perf_counter()
    _, rows = index.search(queries, K, allow)
    together = perf_counter() - started
    started = perf_counter()
    for query in queries[:SINGLE]:
        index.search(query[None], K, allow)
    alone = perf_counter() - started
    reachable = min(K, int(allow.sum()))
    allowed = np.where(allow[rows], rows, -1)
    return {
        "recall": round(GroundTruth(Queries(queries), exact[:, :reachable]).recall(allowed, items), 4),
        "violations": int((~allow[rows] & (rows >= 0)).sum()),
        "lines short of k": int(((rows >= 0).sum(axis=1) < reachable).sum()),
        "queries/s": round(len(queries) / together),
        "queries/s, one by one": round(min(SINGLE, len(queries)) / alone),
    }


if __name__ == "__main__":
    main()
