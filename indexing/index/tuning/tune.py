"""The least effort at which a kind of query finds what it must, measured on queries that are not in the index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from indexing.index.base import TunableIndex
from indexing.index.search_params import Effort, Efforts
from indexing.index.tuning.families import Family

LISTS = (4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
CANDIDATES = (400, 300, 200, 150, 100, 75, 50, 30, 20)
EF_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)

Ladder = Sequence[Effort]
Measure = Callable[[TunableIndex], tuple[float, float]]
"""Gives the recall of an index for one kind of query, and queries a second."""


@dataclass(frozen=True)
class Point:
    """An effort, what it was measured to find, and how fast."""

    effort: Effort
    recall: float
    queries_per_second: float

    def to_json(self) -> dict[str, Any]:
        """Give the point as plain JSON values."""
        return {
            "effort": self.effort.to_json(),
            "recall": round(self.recall, 4),
            "queries_per_second": round(self.queries_per_second),
        }


def ladders(family: Family, index: TunableIndex) -> list[Ladder]:
    """Give the efforts to choose from: ladders of rising effort, each with fewer candidates than the one before."""
    from indexing.index.backends.ivf import IvfIndex  # FAISS is loaded only by those who build
    from indexing.index.backends.sharded import ShardedIndex

    if isinstance(index, IvfIndex | ShardedIndex):
        lists = [*(each for each in LISTS if each < index.lists), index.lists]
        numbers = [each for each in CANDIDATES if each < len(index)] or [len(index)]
        return [[Effort(lists=each, candidates=number) for each in lists] for number in numbers if index.refined] or [
            [Effort(lists=each) for each in lists]
        ]
    if family.kind == "hnsw":
        return [[Effort(ef_search=each) for each in EF_SEARCH]]
    return [[Effort()]]


def cost(index: TunableIndex, effort: Effort) -> float:
    """Give the relative cost of a query, in vectors scored; only efforts of one index may be compared by it."""
    from indexing.index.backends.ivf import IvfIndex
    from indexing.index.backends.sharded import ShardedIndex

    if isinstance(index, IvfIndex | ShardedIndex):
        parts = len(index.shards) if isinstance(index, ShardedIndex) else 1
        return effort.lists * len(index) / index.lists * index.code_cost + parts * effort.candidates
    return float(effort.ef_search)


def tuned(family: Family, index: TunableIndex, target: float, measure: Measure) -> tuple[Point, list[Point]]:
    """Find the cheapest effort at which one kind of query reaches the target, and give all that was measured.

    Cost is counted, not timed, so that the same catalogue gives the same efforts on a busy machine. On each ladder the
    effort is raised until the target is reached. With fewer candidates a search never finds more, so that each ladder
    starts where the one before it stopped, and what costs no less than the best so far is not measured. When nothing
    reaches the target, what finds most is taken.
    """
    points: list[Point] = []
    best: Point | None = None
    rung = 0
    for ladder in ladders(family, index):
        while rung < len(ladder):
            effort = ladder[rung]
            if best is not None and cost(index, effort) >= cost(index, best.effort):
                break
            points.append(Point(effort, *measure(index.with_efforts(Efforts(default=effort)))))
            if points[-1].recall >= target:
                best = points[-1]
                break
            rung += 1
        else:
            break  # not even the whole ladder reaches it
    return best or max(points, key=lambda point: point.recall), points
