"""The share of the words in hybrid search: chosen by judged queries, and measured on queries held out of the choice."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.cli.runs.evaluation_queries import read_texts
from retrieval.evaluation.evaluate import evaluate
from retrieval.retriever.queries.hybrid_search import DEFAULT_WEIGHT, NUM_FUSED, fuse_words
from retrieval.retriever.retriever import Retriever

SHARES = tuple(round(0.1 * step, 1) for step in range(11))
K, MEASURE = 10, "ndcg@10"
FOLDS, MIN_QUERIES = 5, 20


class HeldOut(NamedTuple):
    """ndcg@10 of queries none of which took part in the choice of the share that it was searched with.

    Attributes:
        tuned: With the share that the queries of the other folds choose.
        default: With `DEFAULT_WEIGHT`.
        vector: By the vectors alone.
        words: By the words alone.
    """

    tuned: float
    default: float
    vector: float
    words: float


class TunedWeight(NamedTuple):
    """A share of the words.

    Attributes:
        chosen: The best of all queries.
        ndcg: ndcg@10 of all queries by share.
        held_out: What a share that is chosen so does on other queries; None where there are too few.
    """

    chosen: float
    ndcg: Mapping[float, float]
    held_out: HeldOut | None

    @property
    def weight(self) -> float:
        """The share to keep: the default where a chosen one does worse on queries held out of the choice."""
        return DEFAULT_WEIGHT if self.held_out and self.held_out.tuned < self.held_out.default else self.chosen

    def lines(self) -> list[str]:
        """Say what was measured, and which share is kept."""
        by_share = ", ".join(f"{share:g} {value:.4f}" for share, value in self.ndcg.items())
        lines = [f"{MEASURE} by share of the words: {by_share}"]
        if self.held_out is None:
            lines.append(f"not measured on held-out queries: there are fewer than {MIN_QUERIES}")
        else:
            held = self.held_out
            lines.append(
                f"{MEASURE} of queries held out of the choice ({FOLDS} folds): {held.tuned:.4f} with the share that "
                f"others choose, {held.default:.4f} with {DEFAULT_WEIGHT:g}, {held.vector:.4f} by vectors, "
                f"{held.words:.4f} by words"
            )
        is_best = self.weight == self.chosen
        why = "the best" if is_best else f"the default, as a chosen one, here {self.chosen:g}, did worse there"
        return [*lines, f"share of the words: {self.weight:g}, {why}"]


def weight_for(retriever: Retriever, path: Path) -> TunedWeight:
    """Choose the share of the words in hybrid search by the queries of a file, see `tune_weight`.

    Raises:
        InputError: When it is no such file, or no item is in the bundle.
    """
    relevant: dict[str, set[str]] = {}
    for text, item_id in zip(*read_texts(path), strict=True):
        relevant.setdefault(text, set()).add(item_id)
    if not retriever.items.known(list(set().union(*relevant.values()))):
        raise InputError(f"no item_id of {path} is in the bundle; are they the same ids?")
    vectors, words = (retriever.search(list(relevant), NUM_FUSED, mode=mode) for mode in ("vector", "words"))
    return tune_weight(vectors, words, list(relevant.values()))


def tune_weight(vectors: Candidates, words: Candidates, relevant: Sequence[Collection[str]]) -> TunedWeight:
    """Choose the share of the words by ndcg@10 of judged queries, of equal ones the nearest to the default.

    Args:
        vectors: What the vectors find for B queries.
        words: What the words find for the same.
        relevant: For each query the item_ids that should be found.
    """
    if len(relevant) != len(vectors) or len(relevant) != len(words):
        raise ShapeError(f"{len(relevant)} judgements for lists of {len(vectors)} and {len(words)} queries")
    values = np.stack([_values(vectors, words, relevant, share) for share in SHARES])
    ndcg = dict(zip(SHARES, values.mean(axis=1).tolist(), strict=True))
    return TunedWeight(SHARES[_best(values)], ndcg, _held_out(values))


def _values(
    vectors: Candidates, words: Candidates, relevant: Sequence[Collection[str]], share: float
) -> NDArray[np.float64]:
    """Give ndcg@10 of each query with one share of the words: (B,)."""
    fused = fuse_words(vectors, words, K, share)
    return np.asarray(evaluate(fused, relevant, measures=[MEASURE]).per_query[MEASURE], np.float64)


def _best(values: NDArray[np.float64]) -> int:
    """Give the position of the best share of (S, B) values, of equal ones that nearest to the default."""
    means = values.mean(axis=1)
    best = np.flatnonzero(means >= means.max() - 1e-12)
    return int(min(best, key=lambda place: abs(SHARES[place] - DEFAULT_WEIGHT)))


def _held_out(values: NDArray[np.float64]) -> HeldOut | None:
    """Choose the share by four fifths of the queries, and measure it on the others; for each fifth, drawn."""
    count = values.shape[1]
    if count < MIN_QUERIES:
        return None
    fold_of = np.random.default_rng(0).permutation(count) % FOLDS
    tuned = np.empty(count)
    for fold in range(FOLDS):
        held = fold_of == fold
        tuned[held] = values[_best(values[:, ~held]), held]
    default, vector, words = (float(values[SHARES.index(share)].mean()) for share in (DEFAULT_WEIGHT, 0.0, 1.0))
    return HeldOut(float(tuned.mean()), default, vector, words)
