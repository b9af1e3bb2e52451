"""Is the recall that is promised kept on queries that chose nothing, draw after draw, and what does that cost?

    OMP_NUM_THREADS=1 python -m scripts.benchmarks.index.confidence --pairs PAIRS [--bundle BUNDLE] [--draws 20]

Each draw has items and queries of its own, from the geometry of real pairs (see `index`); with a BUNDLE as many draws
of queries follow from its texts and pictures, over the same items. Inverted lists are tuned on 500 queries of each
kind: by the lower confidence bound on those of them that did not choose, as a build does, and by the mean of all, as
builds did before. With either effort 2,000 other queries are asked.
"""

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

import faiss

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.index_files import held_out_queries
from indexing.index import IndexConfig, Queries
from indexing.index.backends.ivf import IvfIndex
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.efforts import Point, cheapest, choose, cost, ladders
from indexing.index.tuning.families import LISTS_PQ
from indexing.index.tuning.recall import CONFIDENCE, GroundTruth
from indexing.store.collect import fuse
from scripts.benchmarks.index.catalogues import KINDS, K
from scripts.benchmarks.index.geometry import draw, read_pairs
from scripts.benchmarks.record import keep

TARGET = 0.95
TUNE, REPORT = IndexConfig().sample, 2000
ROUNDS = 3

Draws = Iterator[tuple[Vectors, IvfIndex, dict[str, Vectors]]]
"""Items, their index, and queries of each kind."""


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--count", type=int, default=20_000, help="items of a draw")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", default="confidence", help="of the file of results")
    given = parser.parse_args()
    faiss.omp_set_num_threads(1)
    seeds = range(given.seed, given.seed + given.draws)
    sources = {"drawn": drawn(given.pairs, given.count, seeds)}
    if given.bundle:
        sources["bundle"] = of_bundle(given.bundle, seeds)
    result: dict[str, Any] = {"target": TARGET, "confidence": CONFIDENCE, "queries": TUNE, "draws": given.draws}
    for name, draws in sources.items():
        rows = [row for items, index, queries in draws for row in compared(items, index, queries)]
        result[name] = {"items": rows[0]["items"]} | {
            kind: summary([row for row in rows if row["kind"] == kind]) for kind in KINDS
        }
        print(name, result[name], flush=True)
    keep(given.name, result, given.seed)


def drawn(pairs: Path, count: int, seeds: range) -> Draws:
    """Draw items and queries, and index the items."""
    for seed in seeds:
        one = draw(*read_pairs(pairs), count, TUNE + REPORT, seed)
        yield one.items, IvfIndex.build(one.items), {"text": one.texts, "image": one.images}


def of_bundle(root: Path, seeds: range) -> Draws:
    """Index the items of a bundle once, and draw queries from its texts and pictures."""
    vectors = Bundle.open(root).modality_vectors
    items = fuse(vectors)
    index = IvfIndex.build(items)
    for seed in seeds:
        queries = held_out_queries(vectors, items, TUNE + REPORT, seed)
        yield items, index, {kind: queries[kind].vectors for kind in KINDS}


def compared(items: Vectors, index: IvfIndex, queries: dict[str, Vectors]) -> Iterator[dict[str, Any]]:
    """Tune by either rule for each kind of query, and ask others."""
    for kind, vectors in queries.items():
        tune, report = (GroundTruth.by(items, Queries(part), K) for part in (vectors[:TUNE], vectors[TUNE:]))

        def by_mean(effort: SearchParams, tune: GroundTruth = tune) -> Point:
            return Point(effort, *tune.measure(trying(index, effort), items))

        rules = {
            "bound": choose(LISTS_PQ, index, TARGET, tune, items).effort,
            "mean": cheapest(ladders(LISTS_PQ, index), partial(cost, index), TARGET, by_mean).effort,
        }
        row: dict[str, Any] = {"kind": kind, "items": len(items)}
        for rule, effort in rules.items():
            rounds = [report.measure(trying(index, effort), items) for _ in range(ROUNDS)]
            row[rule] = {"recall": rounds[0][0], "queries/s": median(speed for _, speed in rounds), **effort.to_json()}
        print(row, flush=True)
        yield row


def trying(index: IvfIndex, effort: SearchParams) -> IvfIndex:
    """Return the index with the same effort for every query."""
    return index.with_efforts(SearchParamsByKind(default=effort))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count how often the target was missed by either rule, and say what the bound costs."""
    found: dict[str, Any] = {
        f"by {rule}": {
            "missed": sum(row[rule]["recall"] < TARGET for row in rows),
            "least recall": round(min(row[rule]["recall"] for row in rows), 4),
            "mean recall": round(mean(row[rule]["recall"] for row in rows), 4),
            "queries/s": round(median(row[rule]["queries/s"] for row in rows)),
        }
        for rule in ("bound", "mean")
    }
    ratio = median(row["mean"]["queries/s"] / row["bound"]["queries/s"] for row in rows)
    return found | {"times as slow": round(ratio, 2)}


if __name__ == "__main__":
    main()
