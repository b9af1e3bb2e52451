"""Whether the catalogue holds what a query asks for, instead of a flat cut of the cosine.

The cosine of a good hit is another for each encoder, and for texts, pictures and sounds. So what it means is learned
for one catalogue and one kind of query: from queries that are known to be answered, and from the same queries with
their answer and what is nearest to it taken out. Where the queries came from people, and not out of the items, the
score is also read beside what other queries score with the item: some items are near to every query.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError, ShapeError, VectorError
from indexing.media.files import Modality
from retrieval.candidates import Candidates, check_num_rows

Floats = NDArray[np.float64]
# On standardised numbers: too little to move what the data decide, enough to stop where they are told apart perfectly.
RIDGE = 1e-6
STEPS = 100


@dataclass(frozen=True, eq=False)
class Logistic:
    """A probability from F numbers: ``1 / (1 + exp(-(x weights + intercept)))``.

    Attributes:
        weights: (F,) float64.
        intercept: Added to the weighted sum.
    """

    weights: Floats
    intercept: float

    @classmethod
    def fit(cls, x: NDArray[np.floating], yes: NDArray[np.bool_], ridge: float = RIDGE) -> "Logistic":
        """Fit by Newton's method, halving steps that go too far.

        Args:
            x: (N, F), what is known.
            yes: (N,) bool, what came of it.
            ridge: Penalty on the squared weights of standardised numbers, beside the sum of log losses.

        Raises:
            ShapeError: When x and yes do not fit.
            VectorError: When a number is not finite.
            InputError: When there is but one outcome.
        """
        features, outcome = np.asarray(x, np.float64), np.asarray(yes, bool)
        if features.ndim != 2 or outcome.shape != (len(features),):
            raise ShapeError(f"x is {features.shape} and yes {outcome.shape}; expected (N, F) and (N,)")
        if not np.isfinite(features).all():
            raise VectorError(f"{np.count_nonzero(~np.isfinite(features).all(axis=1))} lines of x are not finite")
        if outcome.all() or not outcome.any():
            raise InputError(f"all {len(outcome)} outcomes are alike: give some of both")
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale[scale == 0] = 1
        design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
        coefficients = _newton(design, outcome.astype(np.float64), np.array([ridge] * features.shape[1] + [0.0]))
        weights = coefficients[:-1] / scale
        return cls(weights, float(coefficients[-1] - mean @ weights))

    def level(self, x: NDArray[np.floating]) -> Floats:
        """Give the log odds of (…, F) numbers: (…)."""
        level: Floats = np.asarray(x, np.float64) @ self.weights + self.intercept
        return level

    def probability(self, x: NDArray[np.floating]) -> Floats:
        """Give the probability of (…, F) numbers: (…)."""
        return sigmoid(self.level(x))


def sigmoid(level: Floats) -> Floats:
    """Give ``1 / (1 + exp(-level))`` without overflow."""
    small = np.exp(-np.abs(level))
    probability: Floats = np.where(level >= 0, 1.0, small) / (1 + small)
    return probability


def _loss(design: Floats, outcome: Floats, weights: Floats, ridge: Floats) -> float:
    level = design @ weights
    return float((np.logaddexp(0, level) - outcome * level).sum() + ridge @ weights**2 / 2)


def _newton(design: Floats, outcome: Floats, ridge: Floats) -> Floats:
    weights = np.zeros(design.shape[1])
    loss = _loss(design, outcome, weights, ridge)
    for _ in range(STEPS):
        expected = sigmoid(design @ weights)
        gradient = design.T @ (expected - outcome) + ridge * weights
        hessian = (design * (expected * (1 - expected))[:, None]).T @ design + np.diag(ridge + 1e-12)
        step, step_size = np.linalg.lstsq(hessian, gradient, rcond=None)[0], 1.0
        while (next_loss := _loss(design, outcome, weights - step_size * step, ridge)) > loss and step_size > 1e-8:
            step_size /= 2
        weights = weights - step_size * step
        if loss - next_loss < 1e-12 * max(1.0, loss):
            break
        loss = next_loss
    return weights


MAX_QUERIES = 500  # queries that are learned from
MIN_QUERIES = 20
MAX_SCORES = 16_000_000  # at a time: 64 MB of float32
PASS_RATE = 0.95
# Of all items, those so near to what a query came out of are taken for its answers; and whatever is the same thing.
NEAREST_FRACTION, SAME_ITEM = 0.01, 0.99


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
        cls,
        vectors: Vectors,
        queries: Vectors,
        answer_rows: Rows,
        *,
        from_items: bool = False,
        passed: float = PASS_RATE,
    ) -> "Matching":
        """Learn from queries whose answers are known.

        Args:
            vectors: (N, D) float32, the items.
            queries: (Q, D) float32, of which at most 500 are used.
            answer_rows: (Q,) int64, the row that answers each query.
            from_items: Whether each query came out of its item, as its title did. That item is then no witness of what
                queries score; what answers the query is the nearest beside it.
            passed: The share of answered queries that are to have a good match.

        Raises:
            ShapeError: When queries and own do not fit.
            InputError: When there are fewer than 20 queries or items, or the share is not between 0 and 1.
        """
        if len(queries) != len(answer_rows):
            raise ShapeError(f"{len(queries)} queries but {len(answer_rows)} rows; give the row that answers each")
        if min(len(answer_rows), len(vectors)) < MIN_QUERIES:
            raise InputError(
                f"{len(answer_rows)} queries to {len(vectors)} items are too few to learn from; give {MIN_QUERIES}"
            )
        if not 0 < passed < 1:
            raise InputError(f"passed is {passed}; give a share between 0 and 1, as 0.95")
        sample = np.sort(np.random.default_rng(0).permutation(len(answer_rows))[:MAX_QUERIES])
        sampled = unit(np.asarray(queries[sample], np.float32))
        cohort = sampled[:0] if from_items else sampled
        answered, unanswered = best_rows(
            vectors,
            sampled,
            answer_rows[sample],
            from_items=from_items,
            nearest_fraction=NEAREST_FRACTION if from_items else 0.0,
        )
        x = np.concatenate([statistics(vectors[best_of], sampled, cohort) for best_of in (answered, unanswered)])
        model = Logistic.fit(x, np.repeat([True, False], len(sampled)))
        threshold = float(np.quantile(model.probability(x[: len(sampled)]), 1 - passed))
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
    cohort_scores = best @ cohort.T
    std = cohort_scores.std(axis=1, dtype=np.float64)
    z_score = (score - cohort_scores.mean(axis=1, dtype=np.float64)) / np.where(std > 1e-9, std, 1)
    return np.stack([score, z_score], axis=1)


def best_rows(
    vectors: Vectors, queries: Vectors, answer_rows: Rows, *, from_items: bool = False, nearest_fraction: float = 0.0
) -> tuple[Rows, Rows]:
    """Give the best row for each query as it is, and without its own item, its like, and the share nearest to it.

    Args:
        vectors: (N, D) float32.
        queries: (Q, D) float32.
        answer_rows: (Q,) int64.
        from_items: Whether the own item is no answer.
        nearest_fraction: The share.
    """
    num_left_out = min(1 + int(np.ceil(nearest_fraction * len(vectors))), len(vectors) - 1)
    answered, unanswered = np.empty(len(answer_rows), np.int64), np.empty(len(answer_rows), np.int64)
    step = max(1, MAX_SCORES // len(vectors))
    for start in range(0, len(answer_rows), step):
        block = slice(start, start + step)
        scores, similarities = queries[block] @ vectors.T, vectors[answer_rows[block]] @ vectors.T
        numbers = np.arange(len(scores))
        similarities[numbers, answer_rows[block]] = np.inf
        if from_items:
            scores[numbers, answer_rows[block]] = -np.inf
        answered[block] = scores.argmax(axis=1)
        scores[similarities >= SAME_ITEM] = -np.inf
        left_out = np.argpartition(-similarities, num_left_out - 1, axis=1)[:, :num_left_out]
        np.put_along_axis(scores, left_out, -np.inf, axis=1)
        unanswered[block] = scores.argmax(axis=1)
    return answered, unanswered


QUERIES = 256  # at a time: 256 x 200 candidates x 512 dimensions of float32 are 100 MB


def matching_of(bundle: Bundle, vectors: Vectors, kind: str) -> Matching:
    """Learn to judge queries of a kind from the texts, pictures or sounds that the items hold.

    Args:
        bundle: The bundle.
        vectors: (N, D) float32, the content of its rows.
        kind: ``"text"``, ``"image"`` or ``"audio"``.

    Raises:
        InputError: When there is no such kind, fewer than 20 items hold it, or its modalities are different spaces.
    """
    if kind not in list(Modality):
        raise InputError(f"there are no queries of kind {kind!r}; known are {', '.join(Modality)}")
    if bundle.manifest.encoder.separate:
        raise InputError("the modalities of this bundle are different spaces: learn with `Matching.fit` from pairs")
    live = np.flatnonzero(bundle.is_live)
    frozen = bundle.modality_vectors
    modality = Modality(kind)
    exists = frozen.exists.get(modality, np.zeros(len(bundle.is_live), bool))
    answer_rows = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(exists[live]))[:MAX_QUERIES])
    live_vectors = vectors if len(live) == len(vectors) else vectors[live]
    queries = frozen.vectors[modality][live[answer_rows]].astype(np.float32) if len(answer_rows) else live_vectors[:0]
    try:
        return Matching.fit(live_vectors, queries, answer_rows, from_items=True)
    except InputError as error:
        raise InputError(
            f"what a good match of {kind} is cannot be learned from this bundle ({error}): use `Matching.fit` "
            "on pairs, and hand it over"
        ) from error


def judged(candidates: Candidates, vectors: Vectors, matching: Matching) -> Verdicts:
    """Judge queries by the best of their candidates, wherever a later stage has put it.

    Args:
        candidates: Of B queries for content.
        vectors: (N, D) float32, the content of all rows.
        matching: What judges them.

    Raises:
        InputError: When a query was made of a history, or is of another space.
        ShapeError: When the vectors are of other items.
    """
    if any(map(len, candidates.histories)):
        raise InputError("only searches are judged: a history has no one answer that the catalogue holds or not")
    check_num_rows(len(vectors), candidates, "vectors")
    queries = candidates.queries[:, : vectors.shape[1]]
    if queries.shape[1] != vectors.shape[1]:
        raise InputError(
            f"queries have dimension {queries.shape[1]}, the content of the bundle {vectors.shape[1]}; judge what a "
            "search of this bundle found"
        )
    best = np.full(len(candidates), -1)
    for start in range(0, len(candidates), QUERIES) if candidates.rows.shape[1] else ():
        rows = candidates.rows[start : start + QUERIES]
        scores = np.einsum("bkd,bd->bk", vectors[rows], queries[start : start + QUERIES])
        positions = np.where(rows >= 0, scores, -np.inf).argmax(axis=1)
        best[start : start + QUERIES] = rows[np.arange(len(rows)), positions]
    verdicts = matching.judge(vectors[best], queries)
    verdicts.probability[best < 0] = 0
    return Verdicts(verdicts.probability, verdicts.good & (best >= 0))
