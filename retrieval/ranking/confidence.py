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
        given, outcome = np.asarray(x, np.float64), np.asarray(yes, bool)
        if given.ndim != 2 or outcome.shape != (len(given),):
            raise ShapeError(f"x is {given.shape} and yes {outcome.shape}; expected (N, F) and (N,)")
        if not np.isfinite(given).all():
            raise VectorError(f"{np.count_nonzero(~np.isfinite(given).all(axis=1))} lines of x are not finite")
        if outcome.all() or not outcome.any():
            raise InputError(f"all {len(outcome)} outcomes are alike: give some of both")
        mean, scale = given.mean(axis=0), given.std(axis=0)
        scale[scale == 0] = 1
        design = np.column_stack([(given - mean) / scale, np.ones(len(given))])
        found = _newton(design, outcome.astype(np.float64), np.array([ridge] * given.shape[1] + [0.0]))
        weights = found[:-1] / scale
        return cls(weights, float(found[-1] - mean @ weights))

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
        slope = design.T @ (expected - outcome) + ridge * weights
        bend = (design * (expected * (1 - expected))[:, None]).T @ design + np.diag(ridge + 1e-12)
        step, share = np.linalg.lstsq(bend, slope, rcond=None)[0], 1.0
        while (next_loss := _loss(design, outcome, weights - share * step, ridge)) > loss and share > 1e-8:
            share /= 2
        weights = weights - share * step
        if loss - next_loss < 1e-12 * max(1.0, loss):
            break
        loss = next_loss
    return weights


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
    alive = np.flatnonzero(bundle.alive)
    frozen = bundle.modality_vectors
    modality = Modality(kind)
    exists = frozen.exists.get(modality, np.zeros(len(bundle.alive), bool))
    own = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(exists[alive]))[:MOST])
    living = vectors if len(alive) == len(vectors) else vectors[alive]
    queries = frozen.vectors[modality][alive[own]].astype(np.float32) if len(own) else living[:0]
    try:
        return Matching.fit(living, queries, own, held=True)
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
        places = np.where(rows >= 0, scores, -np.inf).argmax(axis=1)
        best[start : start + QUERIES] = rows[np.arange(len(rows)), places]
    found = matching.judge(vectors[best], queries)
    found.probability[best < 0] = 0
    return Verdicts(found.probability, found.good & (best >= 0))
