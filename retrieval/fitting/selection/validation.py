"""Recommending to the users of a log at a point in its past, and judging by what they did next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.catalogue.item_ids import ItemIds
from indexing.index import FlatIndex
from indexing.index.search import retrieve_tastes
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.interactions.histories import History
from retrieval.models.item_space import ItemSpace

JUDGE = "ndcg@10"
NUM_CANDIDATES = 200  # a user, that retrieval alone is validated by
FEWEST = 10  # users that a judgement needs
SURE = 0.9  # of means drawn again, in the interval of a gain: without one, it lies above zero one time in twenty


class Gain(NamedTuple):
    """By how much one way to answer does better than another, in ndcg@10 on the same users.

    Attributes:
        users: How many.
        before: The mean of the one.
        after: The mean of the other.
        difference: ``after - before``.
        low: Lower end of the paired 90 % bootstrap interval of the difference.
        high: Upper end.
    """

    users: int
    before: float
    after: float
    difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def why_too_few(pasts: Sequence[History], least: float) -> str:
    """Say why few users have something that they liked before and after a cut; empty where nothing stands out."""
    weights = np.concatenate([past.weights for past in pasts]) if pasts else np.zeros(0, np.float32)
    short, told = sum(len(past.liked(least)) < 2 for past in pasts), []
    if disliked := int((weights < least).sum()):
        told.append(
            f"{disliked} of {len(weights)} interactions weigh less than {least:g}, half of the largest weight, and "
            "count as dislikes, which nobody is judged by"
        )
    if short:
        told.append(f"{short} of {len(pasts)} users liked fewer than two known items")
    return "".join(f" {one[0].upper()}{one[1:]}." for one in told)


@dataclass(frozen=True)
class Validation:
    """Exact search for users, and what it is worth.

    Attributes:
        items: The catalogue.
        cuts: The users to judge by, each with something before the last part, and something liked in it.
        depth: Candidates a user.
        least: What weighs less was disliked: it should not be found.
    """

    items: ItemIds
    cuts: Sequence[TemporalSplit]
    depth: int
    least: float = 0.0

    @property
    def pasts(self) -> list[History]:
        """What came before the last part of each."""
        return [cut.past for cut in self.cuts]

    def recommend(self, space: ItemSpace, pasts: Sequence[History], k: int | None = None) -> Candidates:
        """Give candidates to each user, without what is in their history; ``depth`` of them when k is None."""
        rows = [past.rows for past in pasts]
        weights = tuple(past.weights for past in pasts)
        queries = space.asked(rows, weights)
        # Where content has no say in any query, most of each vector need not be read.
        first = 0 if queries[:, : space.dim].any() else space.dim
        index = FlatIndex(space.indexed[:, first:])
        scores, found = retrieve_tastes(index, queries[:, first:], k or self.depth, exclude=rows)
        return Candidates(queries, found, scores, self.items, "retrieve", histories=tuple(rows), weights=weights)

    def listed(self, space: ItemSpace) -> Candidates:
        """Give candidates to each user just before the last part."""
        return self.recommend(space, self.pasts)

    def ndcg(self, candidates: Candidates) -> float:
        """Judge candidates for all of ``cuts`` by the last part: the mean of ndcg@10."""
        return self.mean(candidates, [cut.last for cut in self.cuts], JUDGE)

    def gain(self, before: Candidates, after: Candidates, wanted: Sequence[History] | None = None) -> "Gain":
        """Say by how much the second candidates do better than the first, user by user.

        Args:
            before: One list a user.
            after: For the same users.
            wanted: What each did next; the last part of all of ``cuts`` when None.
        """
        wanted = [cut.last for cut in self.cuts] if wanted is None else wanted
        values = [one[~np.isnan(one)] for one in (self.values(found, wanted, JUDGE) for found in (before, after))]
        apart = (values[1] - values[0])[:, None]
        low, high = bootstrap_intervals(apart, level=SURE)[0].tolist()
        first, second = (float(one.mean()) for one in values)
        return Gain(len(apart), first, second, second - first, low, high)

    def mean(self, candidates: Candidates, wanted: Sequence[History], measure: str) -> float:
        """Give the mean of `values`."""
        return round(float(self.values(candidates, wanted, measure).mean()), 4)

    def values(self, candidates: Candidates, wanted: Sequence[History], measure: str) -> NDArray[np.float64]:
        """Give a measure for each user, with what they did next and liked as relevant.

        Users who liked nothing are left out.
        """
        ids = [[self.items[row] for row in history.liked(self.least)] for history in wanted]
        return evaluate(candidates, ids, measures=[measure]).per_query[measure]
