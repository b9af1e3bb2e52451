"""What is measured of one encoder's vectors: retrieval across modalities, probes of a label, health."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.catalogue.sampling import Contents
from indexing.diagnostics.health import examine_vectors
from indexing.media.files import Modality
from indexing.store.collect import ModalityVectors, fuse
from retrieval.evaluation.encoder_benchmark.probes import NO_CLASS, LabelColumn, fit_linear, knn_classes, stratified
from retrieval.evaluation.statistics import bootstrap_intervals

CUTOFFS = (1, 5, 10)
TEST_SHARE, VALID_SHARE = 0.25, 0.2
AT_ONCE = 1024
RESAMPLES = 2000
Estimate = dict[str, float]


def estimate(values: NDArray[Any], *, seed: int = 0) -> Estimate:
    """Give the mean of (n,) values with its 95 % bootstrap interval."""
    low, high = bootstrap_intervals(values.astype(np.float64)[:, None], seed=seed, resamples=RESAMPLES)[0]
    return {"value": _round(values.mean()), "low": _round(low), "high": _round(high)}


def retrieval(frozen: ModalityVectors, contents: Contents, *, seed: int = 0) -> dict[str, Any]:
    """Find the picture of each text, and the text of each picture, among all items that have both.

    Args:
        frozen: Vectors of N items.
        contents: What these items hold: an item with the same text or the same picture is right too.
        seed: Of the intervals.

    Returns:
        Number of pairs and their rows; for each direction recall at 1, 5 and 10, median rank, and the ranks. Empty
        when fewer than two items have both.
    """
    if not {Modality.TEXT, Modality.IMAGE} <= set(frozen.vectors):
        return {}
    rows = np.flatnonzero(frozen.exists[Modality.TEXT] & frozen.exists[Modality.IMAGE])
    if len(rows) < 2:
        return {}
    texts, pictures = (unit(frozen.vectors[modality][rows]) for modality in (Modality.TEXT, Modality.IMAGE))
    same = [_codes(keys, rows) for keys in (contents.texts, contents.pictures)]
    found: dict[str, Any] = {"pairs": len(rows), "rows": rows.tolist()}
    for name, queries, answers in (("text to image", texts, pictures), ("image to text", pictures, texts)):
        ranks = first_right(queries, answers, same)
        found[name] = {f"recall@{k}": estimate(ranks <= k, seed=seed) for k in CUTOFFS}
        found[name] |= {"median_rank": _median(ranks, seed), "ranks": ranks.tolist()}
    return found


def first_right(queries: Vectors, answers: Vectors, same: Sequence[Rows]) -> Rows:
    """Give the rank, from 1, of each query's first right answer by inner product; equal scores keep their order.

    Args:
        queries: (n, D) float32.
        answers: (n, D) float32; the i-th answers the i-th query.
        same: Some (n,) int64: answers whose number equals that of the query in any of them are right too.

    Returns:
        (n,) int64.

    >>> eye = np.eye(3, dtype=np.float32)
    >>> first_right(eye, eye[[1, 0, 2]], [np.array([0, 1, 2])])
    array([2, 2, 1])
    """
    ranks = np.empty(len(queries), np.int64)
    places = np.arange(len(answers))
    for start in range(0, len(queries), AT_ONCE):
        own = np.arange(start, min(start + AT_ONCE, len(queries)))
        scores = queries[own] @ answers.T
        right: Mask = own[:, None] == places
        for codes in same:
            right |= codes[own][:, None] == codes
        best = np.where(right, scores, -np.inf).argmax(axis=1)
        reached = scores[np.arange(len(own)), best][:, None]
        before = (scores > reached) | ((scores == reached) & (places < best[:, None]))
        ranks[own] = 1 + before.sum(axis=1)
    return ranks


def probes(frozen: ModalityVectors, label: LabelColumn, *, seed: int = 0) -> dict[str, Any]:
    """Tell the label from the text, from the picture, and from both side by side; a quarter of each class is the test.

    Which items are the test does not depend on the encoder.

    Args:
        frozen: Vectors of N items.
        label: Their classes.
        seed: Of the split and the intervals.
    """
    rng = np.random.default_rng(seed)
    labelled = np.flatnonzero(label.of_item != NO_CLASS)
    tested = labelled[stratified(label.of_item[labelled], TEST_SHARE, rng)]
    learned = np.setdiff1d(labelled, tested)
    valid = learned[stratified(label.of_item[learned], VALID_SHARE, rng)]
    largest = float((label.of_item[tested] == 0).mean())  # classes are sorted by size
    blocks = {}
    for name, (vectors, exists) in _blocks(frozen).items():
        train, test = learned[exists[learned]], tested[exists[tested]]
        if not len(train) or not len(test):
            continue
        known, asked = vectors[train], vectors[test]
        labels, truth = label.of_item[train], label.of_item[test]
        held_out = np.flatnonzero(np.isin(train, valid))
        held_out = held_out if len(held_out) < len(train) else held_out[:0]  # so few that nothing can be chosen
        linear = fit_linear(known, labels, valid=held_out, classes=len(label.classes))
        blocks[name] = {
            "train": len(train),
            "test": len(test),
            "linear": estimate(linear.classes(asked) == truth, seed=seed),
            "knn": estimate(knn_classes(known, labels, asked) == truth, seed=seed),
        }
    return {"label": label.name, "classes": len(label.classes), "largest_class": _round(largest), "from": blocks}


def health(frozen: ModalityVectors, contents: Contents, *, seed: int = 0) -> dict[str, Any]:
    """Look at the geometry of the vectors and of what would be served of them; see `indexing.diagnostics.health`."""
    some: Mask = np.any(list(frozen.exists.values()), axis=0)
    kept = frozen.take(some)
    names = [contents.item_ids[row] for row in np.flatnonzero(some)]
    findings = examine_vectors(kept, fuse(kept), names, np.random.default_rng(seed))
    return {finding.name: finding.to_json() for finding in findings}


def _blocks(frozen: ModalityVectors) -> dict[str, tuple[Vectors, Mask]]:
    """Give the vectors of each modality, and of all of them side by side, with who has them."""
    blocks = {str(m): (unit(frozen.vectors[m]), frozen.exists[m]) for m in frozen.modalities}
    if len(blocks) > 1:
        side_by_side = np.concatenate([vectors for vectors, _ in blocks.values()], axis=1)
        blocks["both"] = side_by_side, np.all([exists for _, exists in blocks.values()], axis=0)
    return blocks


def _codes(keys: Sequence[str], rows: Rows) -> Rows:
    """Number equal keys equally; one that is empty equals no other."""
    known: dict[str, int] = {}
    named = (keys[row] or f"none {row}" for row in rows)
    return np.array([known.setdefault(key, len(known)) for key in named], np.int64)


def _median(ranks: Rows, seed: int) -> Estimate:
    rng = np.random.default_rng(seed)
    medians = [np.median(ranks[rng.integers(len(ranks), size=len(ranks))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(medians, [0.025, 0.975])
    return {"value": _round(np.median(ranks)), "low": _round(low), "high": _round(high)}


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
