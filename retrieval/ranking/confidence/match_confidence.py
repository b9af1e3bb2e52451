"""Whether the catalogue holds what a query asks for, instead of a flat cut of the cosine.

The cosine of a good hit is another for each encoder, and for texts, pictures and sounds. So what it means is learned
for one catalogue and one kind of query: from queries that are known to be answered, and from the same queries with
their answer and what is nearest to it taken out. Where the queries came from people, and not out of the items, the
score is also read beside what other queries score with the item: some items are near to every query.
"""

from dataclasses import dataclass

import numpy as np

from indexing.arrays.types import Mask, Rows, Vectors
from indexing.arrays.vectors import unit
from indexing.errors import InputError, ShapeError
from retrieval.ranking.confidence.logistic import Floats, Logistic

MOST = 500  # queries that are learned from
FEWEST = 20
SCORES = 16_000_000  # at a time: 64 MB of float32
PASSED = 0.95
# Of all items, those so near to what a query came out of are taken for its answers; and whatever is the same thing.
APART, SAME = 0.01, 0.99


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Whether each of B queries has a good match.

    Attributes:
        probability: (B,) float32, that it is answered, were as many queries answered as not.
        good: (B,) bool, whether that is as high as for the share of answered queries that were to pass.
    """

    probability: Vectors
    good: Mask


@dataclass(frozen=True, eq=False)
class Matching:
    """Tells queries that are answered from those that are not, for one catalogue and kind of query.

    Attributes:
        cohort: (C, D) float32, other queries of the kind, unit length; none where they came out of the items.
        model: Reads the `statistics` of a query.
        threshold: The least probability of a good match.
    """

    cohort: Vectors
    model: Logistic
    threshold: float

    @classmethod
    def fit(
        cls, vectors: Vectors, queries: Vectors, own: Rows, *, held: bool = False, passed: float = PASSED
    ) -> "Matching":
        """Learn from queries whose answers are known.

        Args:
            vectors: (N, D) float32, the items.
            queries: (Q, D) float32, of which at most 500 are used.
            own: (Q,) int64, the row that answers each query.
            held: Whether each query came out of its item, as its title did. That item is then no witness of what
                queries score; what answers the query is the nearest beside it.
            passed: The share of answered queries that are to have a good match.

        Raises:
            ShapeError: When queries and own do not fit.
            InputError: When there are fewer than 20 queries or items, or the share is not between 0 and 1.
        """
        if len(queries) != len(own):
            raise ShapeError(f"{len(queries)} queries but {len(own)} rows; give the row that answers each")
        if min(len(own), len(vectors)) < FEWEST:
            raise InputError(f"{len(own)} queries to {len(vectors)} items are too few to learn from; give {FEWEST}")
        if not 0 < passed < 1:
            raise InputError(f"passed is {passed}; give a share between 0 and 1, as 0.95")
        chosen = np.sort(np.random.default_rng(0).permutation(len(own))[:MOST])
        asked = unit(np.asarray(queries[chosen], np.float32))
        cohort = asked[:0] if held else asked
        answered, unanswered = best_rows(vectors, asked, own[chosen], held=held, apart=APART if held else 0.0)
        x = np.concatenate([statistics(vectors[best], asked, cohort) for best in (answered, unanswered)])
        model = Logistic.fit(x, np.repeat([True, False], len(asked)))
        threshold = float(np.quantile(model.probability(x[: len(asked)]), 1 - passed))
        return cls(cohort, model, threshold)

    def judge(self, best: Vectors, queries: Vectors) -> Verdicts:
        """Judge B queries, (B, D) float32 of any length but 0, by the vectors of their best items, (B, D)."""
        probability = self.model.probability(statistics(best, unit(queries), self.cohort))
        return Verdicts(probability.astype(np.float32), probability >= self.threshold)


def statistics(best: Vectors, queries: Vectors, cohort: Vectors) -> Floats:
    """Give what is known of B queries: (B, F).

    That is the score of the best item, and where there is a cohort, by how many deviations it is above what that scores
    with the item (as the t-norm of speaker verification).

    Args:
        best: (B, D) float32, the vectors of the best items.
        queries: (B, D) float32, unit length.
        cohort: (C, D) float32, unit length.
    """
    score: Floats = np.einsum("bd,bd->b", best, queries).astype(np.float64)
    if not len(cohort):
        return score[:, None]
    others = best @ cohort.T
    spread = others.std(axis=1, dtype=np.float64)
    above = (score - others.mean(axis=1, dtype=np.float64)) / np.where(spread > 1e-9, spread, 1)
    return np.stack([score, above], axis=1)


def best_rows(
    vectors: Vectors, queries: Vectors, own: Rows, *, held: bool = False, apart: float = 0.0
) -> tuple[Rows, Rows]:
    """Give the best row for each query as it is, and without its own item, its like, and the share nearest to it.

    Args:
        vectors: (N, D) float32.
        queries: (Q, D) float32.
        own: (Q,) int64.
        held: Whether the own item is no answer.
        apart: The share.
    """
    left_out = min(1 + int(np.ceil(apart * len(vectors))), len(vectors) - 1)
    answered, unanswered = np.empty(len(own), np.int64), np.empty(len(own), np.int64)
    step = max(1, SCORES // len(vectors))
    for start in range(0, len(own), step):
        block = slice(start, start + step)
        scores, near = queries[block] @ vectors.T, vectors[own[block]] @ vectors.T
        lines = np.arange(len(scores))
        near[lines, own[block]] = np.inf
        if held:
            scores[lines, own[block]] = -np.inf
        answered[block] = scores.argmax(axis=1)
        scores[near >= SAME] = -np.inf
        gone = np.argpartition(-near, left_out - 1, axis=1)[:, :left_out]
        np.put_along_axis(scores, gone, -np.inf, axis=1)
        unanswered[block] = scores.argmax(axis=1)
    return answered, unanswered
