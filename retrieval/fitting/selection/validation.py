"""Recommends to users from their earlier interactions, and validates on their later ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import TrainingError
from indexing.index import FlatIndex
from indexing.index.search import retrieve_tastes
from retrieval.candidates import Candidates
from retrieval.evaluation import evaluate
from retrieval.evaluation.statistics import bootstrap_intervals
from retrieval.fitting.selection.temporal_split import TemporalSplit
from retrieval.interactions.histories import History
from retrieval.models.item_space import ItemSpace
from retrieval.training.ranker.shown_items import ShownItems

VALIDATION_METRIC = "ndcg@10"
NUM_CANDIDATES = 200  # a user, by which retrieval alone is validated
MIN_USERS = 10  # fewer cannot validate
CONFIDENCE = 0.9  # of the interval of a gain; without a gain it is above zero in one of twenty cases


class Gain(NamedTuple):
    """By how much one model does better than another, in ndcg@10 on the same users.

    Attributes:
        users: Number of users.
        before: Mean of the first.
        after: Mean of the second.
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

    @classmethod
    def of(cls, before: NDArray[np.float64], after: NDArray[np.float64]) -> "Gain":
        """Compare the values of B users, (B,) float64 each."""
        low, high = bootstrap_intervals((after - before)[:, None], level=CONFIDENCE)[0].tolist()
        mean_before, mean_after = float(before.mean()), float(after.mean())
        return cls(len(before), mean_before, mean_after, mean_after - mean_before, low, high)

    @property
    def is_sure(self) -> bool:
        """Whether the interval is above zero, as it must be for a part to be published."""
        return self.low > 0

    def __str__(self) -> str:
        return f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


def why_too_few(histories: Sequence[History], min_relevance: float) -> str:
    """Say why few users liked something before and after a split; "" where there is no clear reason."""
    weights = np.concatenate([history.weights for history in histories]) if histories else np.zeros(0, np.float32)
    num_short, reasons = sum(len(history.liked(min_relevance)) < 2 for history in histories), []
    if num_disliked := int((weights < min_relevance).sum()):
        reasons.append(
            f"{num_disliked} of {len(weights)} interactions weigh less than {min_relevance:g}, half of the largest "
            "weight, and count as dislikes, which are no targets"
        )
    if num_short:
        reasons.append(f"{num_short} of {len(histories)} users liked fewer than two known items")
    return "".join(f" {reason[0].upper()}{reason[1:]}." for reason in reasons)


def weighted_ndcg(rows: Rows, gains: Sequence[Mapping[int, float]], k: int) -> NDArray[np.float64]:
    """Give the discounted gain of each list, over the mean of the best lists of all: float64, one for each with gains.

    Args:
        rows: (B, K) int64, ranked rows of items, -1 pads.
        gains: For each list the gain of each relevant row.
        k: Cutoff.

    >>> weighted_ndcg(np.array([[3, 1], [2, 0]]), [{3: 2.0}, {1: 2.0}], 2).tolist()
    [1.0, 0.0]
    """
    discounts = 1 / np.log2(np.arange(2, k + 2))
    values, best = [], []
    for ranked, gain in zip(rows.tolist(), gains, strict=True):
        if gain:
            found = np.array([gain.get(row, 0.0) for row in ranked[:k]])
            ideal = np.array(sorted(gain.values(), reverse=True)[:k])
            values.append(float(found @ discounts[: len(found)]))
            best.append(float(ideal @ discounts[: len(ideal)]))
    return np.array(values, np.float64) / float(np.mean(best))


@dataclass(frozen=True)
class Validation:
    """Exact search for users, and its quality.

    Attributes:
        items: The catalogue.
        splits: The users to validate on, each with a history before the test part and something liked in it.
        num_candidates: Candidates a user.
        min_relevance: An item of a smaller weight was disliked and is not relevant.
        shown: Impressions, or None. With them an item that was taken is weighted by its inverse propensity, as in
            training, because items at the top of a list are taken more often, whatever they are.
    """

    items: ItemIds
    splits: Sequence[TemporalSplit]
    num_candidates: int
    min_relevance: float = 0.0
    shown: ShownItems | None = None

    def check_enough(self, histories: Sequence[History], split: str, known: str) -> None:
        """Check that there are enough users to validate on.

        Args:
            histories: Of all users.
            split: How they were split.
            known: Summary of the items that the bundle lacks.

        Raises:
            TrainingError: When there are fewer than ten.
        """
        if len(self.splits) < MIN_USERS:
            raise TrainingError(
                f"only {len(self.splits)} users have known items both before and after the split (by {split}; by user "
                f"a history needs five items); training and validation need at least {MIN_USERS}."
                f"{why_too_few(histories, self.min_relevance)} {known}".rstrip()
            )

    @property
    def histories(self) -> list[History]:
        """The history of each user before the test part."""
        return [split.before_test for split in self.splits]

    def recommend(
        self, space: ItemSpace, histories: Sequence[History], k: int | None = None, *, new: Vectors | None = None
    ) -> Candidates:
        """Give k candidates to each user, without the items of the history.

        Args:
            space: The items, with the weights of queries.
            histories: Of B users.
            k: Candidates a user; ``num_candidates`` when None.
            new: (B, R) float32, the behaviour query of each for an empty history; popularity when None.
        """
        rows = [history.rows for history in histories]
        weights = tuple(history.weights for history in histories)
        queries = space.user_queries(rows, weights, None, new)
        # If content has weight 0 in all queries, its dimensions are skipped.
        start = 0 if queries[:, : space.dim].any() else space.dim
        index = FlatIndex(space.indexed[:, start:])
        scores, item_rows = retrieve_tastes(index, queries[:, start:], k or self.num_candidates, exclude=rows)
        return Candidates(queries, item_rows, scores, self.items, "retrieve", histories=tuple(rows), weights=weights)

    def recommend_all(self, space: ItemSpace) -> Candidates:
        """Give candidates to each user just before the test part."""
        return self.recommend(space, self.histories)

    def ndcg(self, candidates: Candidates) -> float:
        """Give the mean ndcg@10 of candidates for all of ``splits``, by the test part."""
        return self.mean(candidates, [split.test for split in self.splits], VALIDATION_METRIC)

    def gain(self, before: Candidates, after: Candidates, relevant: Sequence[History] | None = None) -> "Gain":
        """Give the gain of the second candidates over the first, user by user.

        Args:
            before: One list a user.
            after: For the same users.
            relevant: Later interactions of each; the test part of all of ``splits`` when None.
        """
        relevant = [split.test for split in self.splits] if relevant is None else relevant
        values = [self.values(candidates, relevant, VALIDATION_METRIC) for candidates in (before, after)]
        first, second = (per_user[~np.isnan(per_user)] for per_user in values)
        return Gain.of(first, second)

    def mean(self, candidates: Candidates, relevant: Sequence[History], metric: str) -> float:
        """Give the mean of `values`."""
        return round(float(self.values(candidates, relevant, metric).mean()), 4)

    def values(self, candidates: Candidates, relevant: Sequence[History], metric: str) -> NDArray[np.float64]:
        """Give a metric for each user, with the later interactions that were liked as relevant.

        Users who liked nothing are left out. With impressions, the metric is the gain of a list,
        each item weighted by its inverse propensity, over the mean of the best lists of all users.
        """
        if self.shown is not None:
            gains = [self.shown.gains(history, self.min_relevance) for history in relevant]
            return weighted_ndcg(candidates.rows, gains, int(metric.rpartition("@")[2]))
        item_ids = [[self.items[row] for row in history.liked(self.min_relevance)] for history in relevant]
        return evaluate(candidates, item_ids, measures=[metric]).per_query[metric]
