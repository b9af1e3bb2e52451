"""The protocol of rerankers, and reranking by exact score."""

from typing import Protocol

import numpy as np

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError
from retrieval.candidates import Candidates, check_num_rows
from retrieval.candidates.sources import EXACT, RERANKED

RERANKER = "reranker.safetensors"
STAGE = RERANKED
# Queries scored at once: 256 x 200 candidates x 512 dimensions of float32 are 100 MB.
BLOCK = 256
NO_ROWS: Rows = np.empty(0, np.int64)


class Reranker(Protocol):
    """Reorders the candidates of each query; drops none, adds none."""

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the same candidates in a better order, with stage ``"rerank"``, or ``"exact"`` without a head."""
        ...


class ExactReranker:
    """Orders by the exact inner product of query and item vector, in float32; used where there is no head."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the candidates in order of exact score."""
        return candidates.reordered(exact_scores(candidates, self.vectors), EXACT)


def exact_scores(candidates: Candidates, vectors: Vectors) -> Vectors:
    """Inner products of each query with its candidates: (B, K) float32.

    Raises:
        InputError: When the queries have another width than the vectors.
        ShapeError: When the vectors are of other items.
    """
    if candidates.queries.shape[1] != vectors.shape[1]:
        raise InputError(
            f"queries have dimension {candidates.queries.shape[1]}, the bundle {vectors.shape[1]}, so that they were "
            "made by another bundle or an earlier generation; search again with the current retriever"
        )
    check_num_rows(len(vectors), candidates, "vectors")
    scores = np.empty(candidates.rows.shape, np.float32)
    for start in range(0, len(candidates), BLOCK):
        block = slice(start, start + BLOCK)
        scores[block] = np.einsum("bkd,bd->bk", vectors[candidates.rows[block]], candidates.queries[block])
    return scores
