"""One family of index, built, tuned for every kind of query and measured against the goals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from indexing.arrays import Vectors
from indexing.errors import InputError
from indexing.index.base import TunableIndex
from indexing.index.config import BUILT_IN_FILES, IndexConfig, SearchParamsByKind
from indexing.index.tuning.efforts import Choice, choose
from indexing.index.tuning.families import Family
from indexing.index.tuning.recall import BLOCK_ROWS, GroundTruth
from indexing.runtime.device import CPU

NUM_SINGLE_QUERIES = 30  # queries that are timed one by one
NUM_BATCHES = 3
SAME_SPEED = 1.1  # families whose speeds differ by less are taken for equally fast


@dataclass(frozen=True, eq=False)
class Trial:
    """A family that was tried.

    Attributes:
        family: Which one.
        index: The index, at the efforts that were chosen.
        choices: The effort for each kind of query, and its recall.
        queries_per_second: Of a batch, for each kind.
        latency_ms: Median time of one query by itself, for each kind.
        build_seconds: Time to build it, tuning not included.
        unmet: Which goals it misses, in words, by goal.
    """

    family: Family
    index: TunableIndex
    choices: Mapping[str, Choice]
    queries_per_second: Mapping[str, float]
    latency_ms: Mapping[str, float]
    build_seconds: float
    unmet: Mapping[str, Sequence[str]]

    @property
    def recall(self) -> dict[str, float]:
        """Recall for each kind of query, on queries that did not choose the effort."""
        return {kind: round(choice.recall, 4) for kind, choice in self.choices.items()}

    @property
    def recall_bound(self) -> dict[str, float]:
        """What the recall of each kind of query is at least, with confidence."""
        return {kind: round(choice.recall_bound, 4) for kind, choice in self.choices.items()}

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
            "recall": self.recall,
            "recall_bound": self.recall_bound,
            "queries_per_second": dict(self.queries_per_second),
            "latency_ms": dict(self.latency_ms),
            "bytes_per_vector": round(self.index.nbytes / len(self.index), 1),
            "build_seconds": self.build_seconds,
            "unmet": [line for lines in self.unmet.values() for line in lines],
            "points": {kind: [point.to_json() for point in choice.points] for kind, choice in self.choices.items()},
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
    searched: TunableIndex | None = None,
) -> Trial:
    """Tune an index over (N, D) vectors for every kind of query, and measure it; see `run_trial`.

    Efforts that are known to have been enough are kept where they still are, or else raised. They are chosen by
    searches of the same index elsewhere, if it is given; its speed is measured here.
    """
    starts = known.kinds if known else {}
    choices = {
        kind: choose(family, searched or index, config.min_recall, truth, vectors, starts.get(kind))
        for kind, truth in ground_truth.items()
    }
    if ground_truth and not index.kind.endswith("flat"):  # which know no effort
        index = index.with_efforts(SearchParamsByKind({kind: choice.effort for kind, choice in choices.items()}))
    speeds = {kind: _speed(index, truth, vectors, kind) for kind, truth in ground_truth.items()}
    latencies = {kind: _latency(index, truth, kind) for kind, truth in ground_truth.items()}
    unmet = _unmet(config, choices, latencies, index.nbytes)
    return Trial(family, index, choices, speeds, latencies, round(build_seconds, 3), unmet)


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
    config: IndexConfig, choices: Mapping[str, Choice], latencies: Mapping[str, float], size: int
) -> dict[str, list[str]]:
    """Say which goals are missed, by how much."""
    slow = config.max_latency_ms or float("inf")
    unmet = {
        "recall": [
            f"recall of {kind} {choice.recall:.3f}, at least {choice.recall_bound:.3f} with confidence, < "
            f"{config.min_recall}"
            for kind, choice in choices.items()
            if choice.recall_bound < config.min_recall
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
