"""One family of index, built, tuned for every kind of query and measured against the goals.

Tuning: the cheapest search parameters at which each kind of query reaches the required recall, on held-out queries.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from indexing.arrays import Vectors
from indexing.errors import InputError
from indexing.index.base import TunableIndex
from indexing.index.config import BUILT_IN_FILES, IndexConfig, SearchParams, SearchParamsByKind
from indexing.index.tuning.families import Family
from indexing.index.tuning.recall import GroundTruth
from indexing.runtime.device import CPU

LISTS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
CANDIDATES = (400, 300, 200, 150, 100, 75, 50, 30, 20)
EF_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

Ladder = Sequence[SearchParams]
Measure = Callable[[TunableIndex], tuple[float, float]]
"""Gives the recall of an index for one kind of query, and queries a second."""


@dataclass(frozen=True)
class Point:
    """Search parameters with their measured recall and speed."""

    effort: SearchParams
    recall: float
    queries_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Return the point as plain JSON values."""
        return {
            "effort": self.effort.to_json(),
            "recall": round(self.recall, 4),
            "queries_per_second": round(self.queries_per_second),
        }


def ladders(family: Family, index: TunableIndex) -> list[Ladder]:
    """Return the efforts to choose from: ladders of rising effort, each with fewer candidates than the one before."""
    from indexing.index.backends.ivf import IvfIndex  # FAISS is loaded only by those who build
    from indexing.index.backends.lance import LanceIndex
    from indexing.index.backends.sharded import ShardedIndex

    if isinstance(index, LanceIndex) and not index.lists:
        return [[SearchParams()]]
    if isinstance(index, IvfIndex | ShardedIndex | LanceIndex):
        lists = [*(value for value in LISTS if value < index.lists), index.lists]
        candidate_counts = [value for value in CANDIDATES if value < len(index)] or [len(index)]
        efforts = [
            [SearchParams(lists=value, candidates=candidates) for value in lists]
            for candidates in candidate_counts
            if index.refined
        ] or [[SearchParams(lists=value) for value in lists]]
        if isinstance(index, LanceIndex):
            efforts[0].append(SearchParams(index.lists, len(index)))  # which is an exact search
        return [*efforts]
    if family.kind == "hnsw":
        return [[SearchParams(ef_search=value) for value in EF_SEARCH]]
    return [[SearchParams()]]


def cost(index: TunableIndex, effort: SearchParams) -> float:
    """Return the relative cost of a query, in vectors scored; only efforts of one index may be compared by it."""
    from indexing.index.backends.ivf import IvfIndex
    from indexing.index.backends.lance import LanceIndex
    from indexing.index.backends.sharded import ShardedIndex

    if isinstance(index, IvfIndex | ShardedIndex | LanceIndex):
        num_shards = len(index.shards) if isinstance(index, ShardedIndex) else 1
        return effort.lists * len(index) / index.lists * index.code_cost + num_shards * effort.candidates
    return float(effort.ef_search)


def raised(family: Family, index: TunableIndex, effort: SearchParams) -> Ladder:
    """Return an effort, and greater ones of the same index: both more lists and more candidates, step by step."""
    every = [other for ladder in ladders(family, index) for other in ladder]
    lists = sorted({other.lists for other in every if other.lists > effort.lists})
    candidates = sorted({other.candidates for other in every if other.candidates > effort.candidates})
    most = candidates[-1] if candidates else effort.candidates
    return [
        effort,
        *(SearchParams(more, wider) for more, wider in zip_longest(lists, candidates[: len(lists)], fillvalue=most)),
    ]


def tuned(
    family: Family, index: TunableIndex, target: float, measure: Measure, start: SearchParams | None = None
) -> tuple[Point, list[Point]]:
    """Find the cheapest effort at which one kind of query reaches the target, and give all that was measured.

    An effort to start from is kept where it is enough, or else raised.

    Cost is counted, not timed, so that the same catalogue gives the same efforts on a busy machine. On each ladder the
    effort is raised until the target is reached. With fewer candidates a search never finds more, so that each ladder
    starts where the one before it stopped, and what costs no less than the best so far is not measured. When nothing
    reaches the target, what finds most is taken.
    """
    points: list[Point] = []
    best: Point | None = None
    rung = 0
    for ladder in ladders(family, index) if start is None else [raised(family, index, start)]:
        while rung < len(ladder):
            effort = ladder[rung]
            if best is not None and cost(index, effort) >= cost(index, best.effort):
                break
            points.append(Point(effort, *measure(index.with_efforts(SearchParamsByKind(default=effort)))))
            if points[-1].recall >= target:
                best = points[-1]
                break
            rung += 1
        else:
            break  # not even the whole ladder reaches it
    return best or max(points, key=lambda point: point.recall), points


NUM_SINGLE_QUERIES = 30  # queries that are timed one by one
NUM_BATCHES = 3
BLOCK_ROWS = 16_384  # rows that go into shards at a time
SAME_SPEED = 1.1  # families whose speeds differ by less are taken for equally fast


@dataclass(frozen=True, eq=False)
class Trial:
    """A family that was tried.

    Attributes:
        family: Which one.
        index: The index, at the efforts that were chosen.
        recall: Measured recall for each kind of query.
        queries_per_second: Of a batch, for each kind.
        latency_ms: Median time of one query by itself, for each kind.
        points: For each kind every effort that was measured.
        build_seconds: Time to build it, tuning not included.
        unmet: Which goals it misses, in words, by goal.
    """

    family: Family
    index: TunableIndex
    recall: Mapping[str, float]
    queries_per_second: Mapping[str, float]
    latency_ms: Mapping[str, float]
    points: Mapping[str, Sequence[Point]]
    build_seconds: float
    unmet: Mapping[str, Sequence[str]]

    @property
    def slowest(self) -> float:
        """Queries per second of the slowest kind of query, searched in a batch."""
        return min(self.queries_per_second.values(), default=0.0)

    @property
    def worst_recall(self) -> float:
        """Recall of the kind of query that finds least."""
        return min(self.recall.values(), default=1.0)

    def to_json(self) -> dict[str, Any]:
        """Return the measurements as plain JSON values."""
        return {
            "family": self.family.name,
            "kind": self.index.kind,
            "efforts": self.index.efforts.to_json(),
            "recall": dict(self.recall),
            "queries_per_second": dict(self.queries_per_second),
            "latency_ms": dict(self.latency_ms),
            "bytes_per_vector": round(self.index.nbytes / len(self.index), 1),
            "build_seconds": self.build_seconds,
            "unmet": [line for lines in self.unmet.values() for line in lines],
            "points": {kind: [point.to_json() for point in points] for kind, points in self.points.items()},
        }


def run_trial(
    family: Family,
    vectors: Vectors,
    config: IndexConfig,
    ground_truth: Mapping[str, GroundTruth],
    path: Path | None = None,
    device: str = CPU,
) -> Trial:
    """Build a family over (N, D) vectors, tune it for every kind of query, and measure it.

    What is built in files, as shards are, is built at ``path``; inverted lists are built on the device.
    """
    started = perf_counter()
    index = _build_family(family, vectors, config, path, device)
    return tune(family, index, vectors, config, ground_truth, perf_counter() - started)


def tune(
    family: Family,
    index: TunableIndex,
    vectors: Vectors,
    config: IndexConfig,
    ground_truth: Mapping[str, GroundTruth],
    build_seconds: float,
    known: SearchParamsByKind | None = None,
) -> Trial:
    """Tune an index over (N, D) vectors for every kind of query, and measure it; see `run_trial`.

    Efforts that are known to have been enough are kept where they still are, or else raised.
    """
    best: dict[str, Point] = {}
    points: dict[str, list[Point]] = {}
    for kind, truth in ground_truth.items():

        def measure(tuned_index: TunableIndex, truth: GroundTruth = truth) -> tuple[float, float]:
            return truth.measure(tuned_index, vectors)

        start = known.kinds.get(kind) if known else None
        best[kind], points[kind] = tuned(family, index, config.min_recall, measure, start)
    if ground_truth and not index.kind.endswith("flat"):  # which know no effort
        index = index.with_efforts(SearchParamsByKind({kind: point.effort for kind, point in best.items()}))
    speeds = {kind: _speed(index, truth, vectors, kind) for kind, truth in ground_truth.items()}
    latencies = {kind: _latency(index, truth, kind) for kind, truth in ground_truth.items()}
    recall = {kind: round(point.recall, 4) for kind, point in best.items()}
    unmet = _unmet(config, recall, latencies, index.nbytes)
    return Trial(family, index, recall, speeds, latencies, points, round(build_seconds, 3), unmet)


def _build_family(
    family: Family, vectors: Vectors, config: IndexConfig, path: Path | None, device: str
) -> TunableIndex:
    if family.kind not in BUILT_IN_FILES:
        return family.build(vectors, config.m, device)
    if path is None:
        raise InputError(f"kind {family.kind!r} is built in files: say at which path")
    if family.kind == "lancedb":
        from indexing.index.backends.build_lance import build_lance

        return build_lance(vectors, path, lists=family.refine is not None)
    from indexing.index.backends.build_sharded import (
        DEFAULT_MEMORY,
        build_sharded,
    )  # FAISS is loaded only by those who build

    def blocks() -> Iterator[Vectors]:
        return (vectors[start : start + BLOCK_ROWS] for start in range(0, len(vectors), BLOCK_ROWS))

    memory = config.max_memory or DEFAULT_MEMORY
    return build_sharded(blocks, path, max_memory=memory, on_disk=config.on_disk, device=device)


def rank_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Keep those that may still be chosen, the best first.

    Of those that meet every goal the fastest wins, by the queries a second of its slowest kind; of those that are as
    fast within a tenth the smallest, and then the first that was tried. When none meets every goal, what fits the
    memory goal comes before what does not, for that could not be loaded; then what misses fewest goals, and then what
    finds most for its hardest kind.
    """
    meeting = [trial for trial in trials if not trial.unmet]
    if not meeting:
        return [min(trials, key=lambda trial: ("memory" in trial.unmet, len(trial.unmet), -trial.worst_recall))]
    fastest = max(trial.slowest for trial in meeting)
    return sorted(
        (trial for trial in meeting if SAME_SPEED * trial.slowest >= fastest), key=lambda trial: trial.index.nbytes
    )


def _unmet(
    config: IndexConfig, recall: Mapping[str, float], latencies: Mapping[str, float], size: int
) -> dict[str, list[str]]:
    """Say which goals are missed, by how much."""
    slow = config.max_latency_ms or float("inf")
    unmet = {
        "recall": [
            f"recall of {k} {recall_:.3f} < {config.min_recall}"
            for k, recall_ in recall.items()
            if recall_ < config.min_recall
        ],
        "latency": [
            f"latency of {k} {latency:.2f} ms > {slow} ms" for k, latency in latencies.items() if latency > slow
        ],
        "memory": [f"memory {size / 1e6:.1f} MB > {config.memory / 1e6:.1f} MB"] if size > config.memory else [],
    }
    return {goal: lines for goal, lines in unmet.items() if lines}


def _speed(index: TunableIndex, truth: GroundTruth, vectors: Vectors, kind: str) -> float:
    return round(median(truth.measure(index, vectors, kind)[1] for _ in range(NUM_BATCHES)))


def _latency(index: TunableIndex, truth: GroundTruth, kind: str) -> float:
    k = truth.exact.shape[1]
    times = []
    for query in truth.queries.vectors[:NUM_SINGLE_QUERIES]:
        started = perf_counter()
        index.search(query[None], k, kind=kind)
        times.append(perf_counter() - started)
    return round(1000 * median(times), 3)
