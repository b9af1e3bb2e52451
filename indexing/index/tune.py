"""The least effort at which every kind of query finds what it must, measured on queries that are not in the index."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from indexing.index.base import VectorIndex
from indexing.types import Vectors

if TYPE_CHECKING:  # FAISS is loaded only by those who build
    from indexing.index.ivf import Effort

FIRST_EF, LAST_EF = 16, 1024
LISTS = (8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
CANDIDATES = (50, 75, 100, 150, 200, 300, 400)

Measure = Callable[[VectorIndex], dict[str, float]]
"""Gives an index's recall for each kind of query."""


@dataclass(frozen=True)
class Tuned:
    """An index at the effort that was chosen.

    Attributes:
        index: The index.
        recall: What it was measured to find, for each kind of query; empty when that was not needed.
        effort: The effort, by its names.
    """

    index: VectorIndex
    recall: Mapping[str, float]
    effort: Mapping[str, int]


class _Tried(NamedTuple):
    least: float
    cost: float
    effort: "Effort"
    recall: Mapping[str, float]


def tuned_graph(vectors: Vectors, m: int, target: float, measure: Measure) -> Tuned:
    """Build an HNSW graph over (N, D) vectors; double its effort until every kind of query reaches the target."""
    from indexing.index.faiss import FaissIndex

    effort = FIRST_EF
    graph = FaissIndex.hnsw(vectors, m, effort)
    recall = measure(graph)
    while _least(recall) < target and effort < LAST_EF:
        effort *= 2
        recall = measure(graph.with_ef_search(effort))
    return Tuned(graph, recall, {"ef_search": effort})


def tuned_lists(vectors: Vectors, target: float, measure: Measure) -> Tuned:
    """Build inverted lists over (N, D) vectors, and take the cheapest effort that reaches the target.

    For each number of candidates the number of lists is raised until the target is reached; what costs more than the
    best so far is not tried. When nothing reaches it, the effort with the best recall is taken.
    """
    from indexing.index.ivf import Effort, IvfIndex

    index = IvfIndex.build(vectors)
    tried: list[_Tried] = []
    for candidates in CANDIDATES:
        for lists in LISTS:
            effort = Effort(min(lists, index.lists), candidates)
            cost = effort.cost(len(index), index.lists)
            if any(cost >= other.cost for other in tried if other.least >= target):
                break
            recall = measure(index.with_effort(effort))
            tried.append(_Tried(_least(recall), cost, effort, recall))
            if tried[-1].least >= target or lists >= index.lists:
                break
    reaching = [one for one in tried if one.least >= target]
    chosen = min(reaching, key=lambda one: one.cost) if reaching else max(tried, key=lambda one: one.least)
    effort = chosen.effort
    index.with_effort(effort)
    return Tuned(index, chosen.recall, {"lists": effort.lists, "candidates": effort.candidates})


def _least(recall: Mapping[str, float]) -> float:
    return min(recall.values(), default=1.0)
