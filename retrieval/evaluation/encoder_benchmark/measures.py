"""Measures of an encoder's vectors: cross-modal retrieval, probes of a label, and health."""

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
BATCH_SIZE = 1024
RESAMPLES = 2000
Estimate = dict[str, float]


def estimate(values: NDArray[Any], *, seed: int = 0) -> Estimate:
    """Return the mean of (n,) values with its 95 % bootstrap interval."""
    low, high = bootstrap_intervals(values.astype(np.float64)[:, None], seed=seed, resamples=RESAMPLES)[0]
    return {"value": _round(values.mean()), "low": _round(low), "high": _round(high)}


def retrieval(frozen: ModalityVectors, contents: Contents, *, seed: int = 0) -> dict[str, Any]:
    """Retrieve the image of each text, and the text of each image, among all items that have both.

    Args:
        frozen: Vectors of N items.
        contents: Contents of these items: items with the same text or the same image are relevant too.
        seed: For the intervals.

    Returns:
        Number of pairs and their rows; for each direction recall at 1, 5 and 10, median rank, and the ranks. Empty
        if fewer than two items have both.
    """
    if not {Modality.TEXT, Modality.IMAGE} <= set(frozen.vectors):
        return {}
    rows = np.flatnonzero(frozen.exists[Modality.TEXT] & frozen.exists[Modality.IMAGE])
    if len(rows) < 2:
        return {}
    text_vectors, image_vectors = (unit(frozen.vectors[modality][rows]) for modality in (Modality.TEXT, Modality.IMAGE))
    equal_contents = [_codes(keys, rows) for keys in (contents.texts, contents.pictures)]
    results: dict[str, Any] = {"pairs": len(rows), "rows": rows.tolist()}
    for direction, queries, targets in (
        ("text to image", text_vectors, image_vectors),
        ("image to text", image_vectors, text_vectors),
    ):
        ranks = first_relevant_ranks(queries, targets, equal_contents)
        results[direction] = {f"recall@{k}": estimate(ranks <= k, seed=seed) for k in CUTOFFS}
        results[direction] |= {"median_rank": _median(ranks, seed), "ranks": ranks.tolist()}
    return results


def first_relevant_ranks(queries: Vectors, targets: Vectors, equal_contents: Sequence[Rows]) -> Rows:
    """Return the rank, from 1, of each query's first relevant target by inner product; ties keep their order.

    Args:
        queries: (n, D) float32.
        targets: (n, D) float32; the i-th is relevant to the i-th query.
        equal_contents: Arrays (n,) int64 of codes: targets with the code of the query in any of them are relevant too.

    Returns:
        (n,) int64.

    >>> eye = np.eye(3, dtype=np.float32)
    >>> first_relevant_ranks(eye, eye[[1, 0, 2]], [np.array([0, 1, 2])])
    array([2, 2, 1])
    """
    ranks = np.empty(len(queries), np.int64)
    columns = np.arange(len(targets))
    for start in range(0, len(queries), BATCH_SIZE):
        rows = np.arange(start, min(start + BATCH_SIZE, len(queries)))
        scores = queries[rows] @ targets.T
        is_relevant: Mask = rows[:, None] == columns
        for codes in equal_contents:
            is_relevant |= codes[rows][:, None] == codes
        best = np.where(is_relevant, scores, -np.inf).argmax(axis=1)
        best_scores = scores[np.arange(len(rows)), best][:, None]
        ranked_above = (scores > best_scores) | ((scores == best_scores) & (columns < best[:, None]))
        ranks[rows] = 1 + ranked_above.sum(axis=1)
    return ranks


def probes(frozen: ModalityVectors, label: LabelColumn, *, seed: int = 0) -> dict[str, Any]:
    """Predict the label from the text, from the image, and from both concatenated; a quarter of each class is the test.

    The test items do not depend on the encoder.

    Args:
        frozen: Vectors of N items.
        label: Their classes.
        seed: For the split and the intervals.
    """
    rng = np.random.default_rng(seed)
    labelled = np.flatnonzero(label.of_item != NO_CLASS)
    test_rows = labelled[stratified(label.of_item[labelled], TEST_SHARE, rng)]
    train_rows = np.setdiff1d(labelled, test_rows)
    valid_rows = train_rows[stratified(label.of_item[train_rows], VALID_SHARE, rng)]
    largest = float((label.of_item[test_rows] == 0).mean())  # classes are sorted by size
    blocks = {}
    for name, (vectors, exists) in _blocks(frozen).items():
        train, test = train_rows[exists[train_rows]], test_rows[exists[test_rows]]
        if not len(train) or not len(test):
            continue
        train_vectors, test_vectors = vectors[train], vectors[test]
        train_labels, test_labels = label.of_item[train], label.of_item[test]
        valid_positions = np.flatnonzero(np.isin(train, valid_rows))
        if len(valid_positions) == len(train):  # too few to validate on
            valid_positions = valid_positions[:0]
        linear = fit_linear(train_vectors, train_labels, valid=valid_positions, classes=len(label.classes))
        blocks[name] = {
            "train": len(train),
            "test": len(test),
            "linear": estimate(linear.classes(test_vectors) == test_labels, seed=seed),
            "knn": estimate(knn_classes(train_vectors, train_labels, test_vectors) == test_labels, seed=seed),
        }
    return {"label": label.name, "classes": len(label.classes), "largest_class": _round(largest), "from": blocks}


def health(frozen: ModalityVectors, contents: Contents, *, seed: int = 0) -> dict[str, Any]:
    """Examine the geometry of the vectors and of the fused item vectors; see `indexing.diagnostics.health`."""
    has_vector: Mask = np.any(list(frozen.exists.values()), axis=0)
    present = frozen.take(has_vector)
    names = [contents.item_ids[row] for row in np.flatnonzero(has_vector)]
    findings = examine_vectors(present, fuse(present), names, np.random.default_rng(seed))
    return {finding.name: finding.to_json() for finding in findings}


def _blocks(frozen: ModalityVectors) -> dict[str, tuple[Vectors, Mask]]:
    """Return the vectors of each modality, and all concatenated, with a mask of the items that have them."""
    blocks = {str(m): (unit(frozen.vectors[m]), frozen.exists[m]) for m in frozen.modalities}
    if len(blocks) > 1:
        side_by_side = np.concatenate([vectors for vectors, _ in blocks.values()], axis=1)
        blocks["both"] = side_by_side, np.all([exists for _, exists in blocks.values()], axis=0)
    return blocks


def _codes(keys: Sequence[str], rows: Rows) -> Rows:
    """Return a code for each key, the same for equal keys; empty keys differ from all others."""
    code_of: dict[str, int] = {}
    unique_keys = (keys[row] or f"none {row}" for row in rows)
    return np.array([code_of.setdefault(key, len(code_of)) for key in unique_keys], np.int64)


def _median(ranks: Rows, seed: int) -> Estimate:
    rng = np.random.default_rng(seed)
    medians = [np.median(ranks[rng.integers(len(ranks), size=len(ranks))]) for _ in range(RESAMPLES)]
    low, high = np.quantile(medians, [0.025, 0.975])
    return {"value": _round(np.median(ranks)), "low": _round(low), "high": _round(high)}


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
