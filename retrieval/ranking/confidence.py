"""Match confidence: the probability that the catalogue holds an answer to a query.

The cosine of a good hit differs between encoders, and between texts, images and audio, so no fixed threshold fits. A
logistic regression is fitted for one catalogue and one kind of query: on queries with a known answer, and on the same
queries with the answer and the items nearest to it left out. For queries that people wrote, the score is also compared
with the scores of other queries for the same item, because some items are near to every query.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.bundle.bundle import Bundle
from indexing.catalogue.item_ids import sampled_rows
from indexing.errors import InputError, ShapeError, VectorError
from indexing.media.files import Modality
from retrieval.candidates import Candidates, check_num_rows

Floats = NDArray[np.float64]
# On standardised features: too small to change the fit, large enough to converge where classes are separable.
RIDGE = 1e-6
STEPS = 100


@dataclass(frozen=True, eq=False)
class Logistic:
    """Logistic regression on F features: ``1 / (1 + exp(-(x weights + intercept)))``.

    Attributes:
        weights: (F,) float64.
        intercept: The intercept.
    """

    weights: Floats
    intercept: float

    @classmethod
    def fit(cls, x: NDArray[np.floating], y: NDArray[np.bool_], ridge: float = RIDGE) -> "Logistic":
        """Fit by Newton's method with step halving.

        Args:
            x: (N, F), the features.
            y: (N,) bool, the outcomes.
            ridge: Penalty on the squared weights of standardised features, added to the sum of log losses.

        Raises:
            ShapeError: When x and y do not fit.
            VectorError: When a number is not finite.
            InputError: When all outcomes are the same.
        """
        features, outcome = np.asarray(x, np.float64), np.asarray(y, bool)
        if features.ndim != 2 or outcome.shape != (len(features),):
            raise ShapeError(f"x is {features.shape} and y {outcome.shape}; expected (N, F) and (N,)")
        if not np.isfinite(features).all():
            raise VectorError(f"{np.count_nonzero(~np.isfinite(features).all(axis=1))} rows of x are not finite")
        if outcome.all() or not outcome.any():
            raise InputError(f"all {len(outcome)} outcomes are the same: give some of both")
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


MAX_QUERIES = 500  # that are fitted to
MIN_QUERIES = 20
MAX_SCORES = 16_000_000  # at a time: 64 MB of float32
PASS_RATE = 0.95
# This fraction of the items, nearest to the answer, counts as answers too, and so does a near-duplicate.
NEAREST_FRACTION, SAME_ITEM = 0.01, 0.99


@dataclass(frozen=True, eq=False)
class MatchConfidence:
    """Whether each of B queries has a good match.

    Attributes:
        probability: (B,) float32, that it has an answer, with equal priors.
        good: (B,) bool, whether the probability reaches the threshold.
    """

    probability: Vectors
    good: Mask


@dataclass(frozen=True, eq=False)
class MatchClassifier:
    """Classifies queries by whether they have an answer, for one catalogue and kind of query.

    Attributes:
        cohort: (C, D) float32, other queries of the kind, unit length; empty for queries made from items.
        model: Logistic regression on the `statistics` of a query.
        threshold: Minimum probability of a good match.
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
        pass_rate: float = PASS_RATE,
    ) -> "MatchClassifier":
        """Fit to queries with known answers.

        Args:
            vectors: (N, D) float32, the items.
            queries: (Q, D) float32, of which at most 500 are used.
            answer_rows: (Q,) int64, the row that answers each query.
            from_items: Whether each query was made from its item, such as its title. Its score with that item says
                nothing then; the nearest other item is its answer.
            pass_rate: Fraction of the queries with an answer that shall have a good match.

        Raises:
            ShapeError: When queries and answer_rows do not fit.
            InputError: When there are fewer than 20 queries or items, or ``pass_rate`` is not between 0 and 1.
        """
        if len(queries) != len(answer_rows):
            raise ShapeError(f"{len(queries)} queries but {len(answer_rows)} rows; give the row that answers each")
        if min(len(answer_rows), len(vectors)) < MIN_QUERIES:
            raise InputError(
                f"{len(answer_rows)} queries to {len(vectors)} items are too few to fit to; give {MIN_QUERIES}"
            )
        if not 0 < pass_rate < 1:
            raise InputError(f"pass_rate is {pass_rate}; give a fraction between 0 and 1, such as 0.95")
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
        threshold = float(np.quantile(model.probability(x[: len(sampled)]), 1 - pass_rate))
        return cls(cohort, model, threshold)

    def predict(self, best: Vectors, queries: Vectors) -> MatchConfidence:
        """Classify B queries, (B, D) float32 of any length but 0, by the vectors of their best items, (B, D)."""
        probability = self.model.probability(statistics(best, unit(queries), self.cohort))
        return MatchConfidence(probability.astype(np.float32), probability >= self.threshold)


def statistics(best: Vectors, queries: Vectors, cohort: Vectors) -> Floats:
    """Give the features of B queries: (B, F).

    They are the score of the best item and, with a cohort, its z-score among the scores of the cohort with the item
    (the t-norm of speaker verification).

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
    """Give the best row for each query, and the best without its answer, near-duplicates and the nearest items.

    Args:
        vectors: (N, D) float32.
        queries: (Q, D) float32.
        answer_rows: (Q,) int64.
        from_items: Whether the item of a query is left out of the best.
        nearest_fraction: Fraction of the items, nearest to the answer, that is left out.
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


def fit_match_classifier(bundle: Bundle, vectors: Vectors, kind: str) -> MatchClassifier:
    """Fit a classifier for queries of a kind to the texts, images or audio of the items, drawn by their item_ids.

    So an item that is added or deleted exchanges at most one of the queries.

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
        raise InputError("the modalities of this bundle are different spaces: fit with `MatchClassifier.fit` to pairs")
    live = np.flatnonzero(bundle.is_live)
    frozen = bundle.modality_vectors
    modality = Modality(kind)
    exists = frozen.exists.get(modality, np.zeros(len(bundle.is_live), bool))
    drawn = sampled_rows(bundle.items, MAX_QUERIES, bundle.is_live & exists)
    live_vectors = vectors if len(live) == len(vectors) else vectors[live]
    queries = frozen.vectors[modality][drawn].astype(np.float32) if len(drawn) else live_vectors[:0]
    answer_rows = live.searchsorted(drawn)
    try:
        return MatchClassifier.fit(live_vectors, queries, answer_rows, from_items=True)
    except InputError as error:
        raise InputError(
            f"no match classifier for {kind} can be fitted to this bundle ({error}); use `MatchClassifier.fit` "
            "on pairs, and give the result as matching"
        ) from error


def judge_candidates(candidates: Candidates, vectors: Vectors, matching: MatchClassifier) -> MatchConfidence:
    """Classify queries by the best of their candidates, whatever its rank after later stages.

    Args:
        candidates: Of B queries for content.
        vectors: (N, D) float32, the content of all rows.
        matching: The classifier.

    Raises:
        InputError: When a query was made of a history, or is of another space.
        ShapeError: When the vectors are of other items.
    """
    if any(map(len, candidates.histories)):
        raise InputError("only searches are judged: a history has no single answer")
    check_num_rows(len(vectors), candidates, "vectors")
    queries = candidates.queries[:, : vectors.shape[1]]
    if queries.shape[1] != vectors.shape[1]:
        raise InputError(
            f"queries have dimension {queries.shape[1]}, the content of the bundle {vectors.shape[1]}; give "
            "candidates of a search of this bundle"
        )
    best = np.full(len(candidates), -1)
    for start in range(0, len(candidates), QUERIES) if candidates.rows.shape[1] else ():
        rows = candidates.rows[start : start + QUERIES]
        scores = np.einsum("bkd,bd->bk", vectors[rows], queries[start : start + QUERIES])
        positions = np.where(rows >= 0, scores, -np.inf).argmax(axis=1)
        best[start : start + QUERIES] = rows[np.arange(len(rows)), positions]
    verdicts = matching.predict(vectors[best], queries)
    verdicts.probability[best < 0] = 0
    return MatchConfidence(verdicts.probability, verdicts.good & (best >= 0))
