"""From a bundle to verdicts: its own items are the queries whose answers are known."""

import numpy as np

from indexing.arrays.types import Vectors
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.media.files import Modality
from retrieval.candidates import Candidates, check_lines
from retrieval.ranking.confidence.match_confidence import MOST, Matching, Verdicts

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
    check_lines(len(vectors), candidates, "vectors")
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
