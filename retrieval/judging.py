"""Recommending to the users of a log at a point in its past, and judging by what they did next."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from indexing.index import FlatIndex
from indexing.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.cut import Cut
from retrieval.evaluation import evaluate
from retrieval.item_space import ItemSpace
from retrieval.prepare import History
from retrieval.retrieve import retrieve

JUDGE = "ndcg@10"
FEWEST = 10  # users that a judgement needs
SHORT, NEXT = 3, 20  # items, at most, of a short history, and of what should be found after it
LEAST_OUT, MOST_OUT = 20, 2000  # users who are left out of learning, to be new


@dataclass(frozen=True)
class Judging:
    """Exact search for users, and what it is worth.

    Attributes:
        items: The catalogue.
        cuts: The users to judge by, each with something before the last part, and something liked in it.
        depth: Candidates a user.
        least: What weighs less was disliked: it should not be found.
    """

    items: ItemIds
    cuts: Sequence[Cut]
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
        scores, found = retrieve(index, queries[:, first:], k or self.depth, exclude=rows)
        return Candidates(queries, found, scores, self.items, "retrieve", histories=tuple(rows), weights=weights)

    def listed(self, space: ItemSpace) -> Candidates:
        """Give candidates to each user just before the last part."""
        return self.recommend(space, self.pasts)

    def ndcg(self, candidates: Candidates) -> float:
        """Judge candidates for all of ``cuts`` by the last part: the mean of ndcg@10."""
        return self.mean(candidates, [cut.last for cut in self.cuts], JUDGE)

    def mean(self, candidates: Candidates, wanted: Sequence[History], measure: str) -> float:
        """Give the mean of a measure, with what each user did next and liked as relevant.

        Users who liked nothing are left out.
        """
        ids = [[self.items[row] for row in history.liked(self.least)] for history in wanted]
        return round(evaluate(candidates, ids, measures=[measure]).means[measure], 4)


@dataclass(frozen=True)
class Newcomers:
    """Users who were left out of learning, after the first few things they did.

    Those who were learned from cannot stand for them: what was learned knows what else they did.

    Attributes:
        begun: The first one, two or three items of each.
        wanted: The next ones.
    """

    begun: list[History]
    wanted: list[History]

    @classmethod
    def of(cls, pasts: Sequence[History], least: float) -> "Newcomers | None":
        """Take those who liked something of what came next; None when they are too few to judge by."""
        cuts = [(past[:first], past[first : first + NEXT]) for n, past in enumerate(pasts) for first in [1 + n % SHORT]]
        some = [(begun, wanted) for begun, wanted in cuts if len(wanted.liked(least))]
        return cls([begun for begun, _ in some], [wanted for _, wanted in some]) if len(some) >= FEWEST else None


def apart(pasts: Sequence[History]) -> tuple[list[History], list[History]]:
    """Part users into those who are learned from and a tenth who are to be new, 20 to 2,000.

    Nobody is left out where that would be more than a quarter.
    """
    many = min(MOST_OUT, max(LEAST_OUT, len(pasts) // 10))
    if 4 * many > len(pasts):
        return list(pasts), []
    out = set(np.random.default_rng(0).permutation(len(pasts))[:many].tolist())
    return [past for n, past in enumerate(pasts) if n not in out], [pasts[n] for n in sorted(out)]
