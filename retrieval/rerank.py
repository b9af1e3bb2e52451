"""Second stage: order candidates anew. Candidates in, Candidates out."""

import json
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from safetensors.numpy import load, save

from indexing.errors import DamagedFileError, InputError
from indexing.fusion import ModalityVectors
from indexing.types import Mask, Modality, Rows, Vectors
from retrieval.candidates import Candidates
from retrieval.features import FeatureSource
from retrieval.users import UserModel

RERANKER = "reranker.safetensors"
STAGE = "rerank"
# Queries scored at once: 256 x 200 candidates x 512 dimensions of float32 are 100 MB.
BLOCK = 256
NO_ROWS: Rows = np.empty(0, np.int64)


class Reranker(Protocol):
    """Orders the candidates of each query anew; drops none, adds none."""

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the same candidates in a better order, with stage ``"rerank"``."""
        ...


class ExactReranker:
    """Orders by the exact inner product of query and item vector, in float32."""

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the candidates in order of exact score."""
        return candidates.reordered(exact_scores(candidates, self.vectors), STAGE)


def exact_scores(candidates: Candidates, vectors: Vectors) -> Vectors:
    """Inner products of each query with its candidates: (B, K) float32."""
    if candidates.queries.shape[1] != vectors.shape[1]:
        raise InputError(f"queries have dimension {candidates.queries.shape[1]}, the bundle {vectors.shape[1]}")
    scores = np.empty(candidates.rows.shape, np.float32)
    for start in range(0, len(candidates), BLOCK):
        block = slice(start, start + BLOCK)
        scores[block] = np.einsum("bkd,bd->bk", vectors[candidates.rows[block]], candidates.queries[block])
    return scores


@dataclass(frozen=True, eq=False)
class Head:
    """A small scoring network over standardised features: ``x v + tanh(x w1 + b1) w2``.

    With ``w2 = 0`` and ``v`` on the retrieval score alone, as before any training, it keeps the order of retrieval.

    Attributes:
        mean, scale: (F,) float32, standardise the features.
        linear: (F,) float32, ``v``.
        w1: (F, H) float32.
        b1: (H,) float32.
        w2: (H,) float32.
    """

    mean: Vectors
    scale: Vectors
    linear: Vectors
    w1: Vectors
    b1: Vectors
    w2: Vectors

    def score(self, features: Vectors) -> Vectors:
        """Map (…, F) features to (…) scores, higher is better."""
        x = ((features - self.mean) / self.scale).astype(np.float32, copy=False)
        scores: Vectors = x @ self.linear + np.tanh(x @ self.w1 + self.b1) @ self.w2
        return scores


class HeadReranker:
    """Orders recommendations by a learned head, and queries without a history by exact score."""

    def __init__(self, head: Head, source: FeatureSource, vectors: Vectors | None = None) -> None:
        """Take a head, what it reads, and (N, E) what queries are compared with, if that is more than content."""
        if len(head.mean) != len(source.names):
            raise DamagedFileError(
                f"reranker reads {len(head.mean)} features, the bundle has {source.names}: fit again"
            )
        self.head, self.source = head, source
        self.vectors = source.vectors if vectors is None else vectors

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the candidates in the order of the head."""
        scores = exact_scores(candidates, self.vectors)
        learned = np.flatnonzero([len(history) > 0 for history in candidates.histories])
        for start in range(0, len(learned), BLOCK):
            block = learned[start : start + BLOCK]
            scores[block] = self.head.score(self.source.of(candidates.take(block)))
        return candidates.reordered(scores, STAGE)

    def to_bytes(self) -> bytes:
        """Give the head and the popularity it reads as safetensors."""
        tensors = {name: getattr(self.head, name) for name in Head.__dataclass_fields__}
        metadata = {"features": json.dumps(self.source.names)}
        return save({**tensors, "popularity": self.source.popularity}, metadata)

    @classmethod
    def from_bytes(
        cls, data: bytes, vectors: Vectors, frozen: ModalityVectors, users: UserModel, origins: Rows = NO_ROWS
    ) -> "HeadReranker":
        """Read what `to_bytes` gave, for its items and M more, which replace those at ``origins`` or none (-1).

        Of the (N + M, D + R) vectors the first D are content.
        """
        tensors = load(data)
        popularity = _carried(tensors.pop("popularity"), origins)
        if len(popularity) != len(vectors):
            raise DamagedFileError(f"reranker knows {len(popularity)} items, the bundle {len(vectors)}: fit again")
        read = json.loads(_metadata(data).get("features", "[]"))
        modalities = tuple(modality for modality in Modality if f"{modality}_cosine" in read)
        content = vectors[:, : next(iter(frozen.vectors.values())).shape[1]]
        return cls(Head(**tensors), FeatureSource(content, frozen, popularity, users, modalities), vectors)


def carried_over(data: bytes, origins: Rows, rows: Mask) -> bytes:
    """Give a stored reranker for other rows: those that it knows and M more, of which some are kept.

    Args:
        data: What `HeadReranker.to_bytes` gave for N items.
        origins: (M,) int64, for each row after these the one that had the same item, or -1.
        rows: (N + M,) bool, the rows to keep.
    """
    tensors = load(data)
    tensors["popularity"] = _carried(tensors["popularity"], origins)[rows]
    return save(tensors, _metadata(data))


def _carried(popularity: Vectors, origins: Rows) -> Vectors:
    """Give popularities with those of M more rows: of a new item the lowest there is, for nobody has met it yet."""
    unmet = popularity.min(initial=0.0)
    return np.concatenate([popularity, np.where(origins >= 0, popularity[origins], unmet).astype(np.float32)])


def _metadata(data: bytes) -> dict[str, str]:
    """Give the metadata in the header of safetensors."""
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata: dict[str, str] = header.get("__metadata__", {})
    return metadata
