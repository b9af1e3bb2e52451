"""The cheapest search parameters at which an index keeps its promise to one kind of query, with confidence.

The cheapest of many efforts that reach a target on some queries is often one that was lucky with these. So half of the
queries choose, and the other half checks: the lower confidence bound of its recall must reach the target, or else a
greater effort is chosen.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import zip_longest
from typing import Any

from indexing.arrays import Vectors
from indexing.index.base import TunableIndex
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.index.tuning.families import Family
from indexing.index.tuning.recall import GroundTruth, Recalls, lower_bound, mean

LISTS = tuple(quarter << octave for octave in range(10) for quarter in (4, 5, 6, 7))
CANDIDATES = (400, 350, 300, 250, 200, 175, 150, 125, 100, 85, 75, 60, 50, 40, 30, 25, 20)
EF_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
GOAL_STEPS = 16  # the recall aimed at rises from the target to 1 in so many steps, until the check passes

Ladder = Sequence[SearchParams]


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


@dataclass(frozen=True)
class Choice:
    """The effort chosen for one kind of query.

    Attributes:
        effort: Search parameters.
        recall: On queries that did not choose them.
        recall_bound: What the recall of all such queries is at least, with confidence; see `lower_bound`.
        points: Every effort that was measured to choose, on other queries.
    """

    effort: SearchParams
    recall: float
    recall_bound: float
    points: Sequence[Point]


def choose(
    family: Family,
    index: TunableIndex,
    target: float,
    truth: GroundTruth,
    vectors: Vectors,
    start: SearchParams | None = None,
) -> Choice:
    """Choose the cheapest effort over (N, D) vectors whose recall is at least the target with confidence.

    On half of the queries the cheapest effort with some recall is found, see `cheapest`: first with the target, then
    with ever more, and then whatever costs more, until the lower confidence bound on the other half reaches the target.
    When none does, the effort with the greatest bound is taken. An effort to start from is kept where it is enough, or
    else raised; then, and where an index knows one effort, all queries check, for none has to choose.
    """
    rungs = ladders(family, index) if start is None else [raised(family, index, start)]
    halves = truth.halves() if start is None and sum(map(len, rungs)) > 1 else (truth,)
    points: dict[SearchParams, Point] = {}
    checked: dict[SearchParams, tuple[float, float]] = {}

    @cache
    def measured(half: GroundTruth, effort: SearchParams) -> tuple[Recalls, float]:
        return half.measure_each(index.with_efforts(SearchParamsByKind(default=effort)), vectors)

    def measure(effort: SearchParams) -> Point:
        recalls, speed = measured(halves[0], effort)
        points[effort] = Point(effort, mean(recalls), speed)
        return points[effort]

    def attempts() -> Iterator[SearchParams]:
        if start is not None:
            yield measure(start).effort
        for step in range(GOAL_STEPS + 1):
            goal = min(1.0, target + (1 - target) * step / GOAL_STEPS)
            yield cheapest(rungs, partial(cost, index), goal, measure).effort
        most = max(cost(index, effort) for effort in checked)
        yield from (effort for effort in rungs[0] if cost(index, effort) > most)

    for effort in attempts():
        recalls, _ = measured(halves[-1], effort)
        finds_all = family.exact or (effort == rungs[0][-1] and effort.candidates >= len(index))
        bound = mean(recalls) if finds_all else lower_bound(recalls, target, truth.exact.shape[1])
        checked[effort] = mean(recalls), bound
        if bound >= target:
            break
    best = max(checked, key=lambda effort: checked[effort][1])
    return Choice(best, *checked[best], [*points.values()])


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


def cheapest(
    ladders: Sequence[Ladder],
    cost: Callable[[SearchParams], float],
    goal: float,
    measure: Callable[[SearchParams], Point],
) -> Point:
    """Find the cheapest effort on some ladders with a mean recall of at least a goal.

    Cost is counted, not timed, so that the same catalogue gives the same efforts on a busy machine. On the first ladder
    the least effort that reaches the goal is found by bisection, for recall rises with effort. With fewer candidates a
    search never finds more, so that each ladder starts where the one before it ended, up to what costs no less than the
    best so far. There efforts are tried in order: where more lists bring more codes than there are candidates, recall
    may fall. When nothing reaches the goal, what finds most is given.
    """
    points: list[Point] = []

    def recall_at(effort: SearchParams) -> float:
        points.append(measure(effort))
        return points[-1].recall

    first, *others = ladders
    rung = bisect_left(first, goal, key=recall_at)
    best = first[rung] if rung < len(first) else None
    for ladder in others:
        if best is None or rung == len(ladder):
            break  # not even the whole ladder reaches it
        end = bisect_left(ladder, cost(best), rung, key=cost)
        rung = next((tried for tried in range(rung, end) if recall_at(ladder[tried]) >= goal), end)
        if rung < end:
            best = ladder[rung]
    return max(points, key=lambda point: point.recall) if best is None else measure(best)
