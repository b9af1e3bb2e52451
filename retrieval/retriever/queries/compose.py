"""Vectors of composed queries: weighted sums of the encoded parts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from indexing.arrays import Vectors, check_vectors, unit
from indexing.encoders.base import require, with_audio
from indexing.errors import InputError, SeparateSpacesError
from indexing.media.files import Modality
from indexing.runtime.arguments import check_list
from retrieval.candidates import Candidates
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.queries.media import open_pictures, open_sounds
from retrieval.retriever.queries.query import Query, QueryPart, as_queries
from retrieval.retriever.query_inputs import check_texts


class Contribution(NamedTuple):
    """What one part of a query adds to the score of a hit.

    Attributes:
        part: The part, with its weight.
        score: The contributions of all parts of weight other than 0 sum to the score of the search.
    """

    part: QueryPart
    score: float


def compose(state: LoadedBundle, queries: Sequence[Query]) -> tuple[Vectors, list[Vectors]]:
    """Encode composed queries, all texts and all pictures of all queries at once.

    A query of one part of positive weight is the vector of that part, to the last digit.

    Returns:
        (B, D) float32, unit length; and for each query (P, D) float32 that sum to it, one row for each part of weight
        other than 0.

    Raises:
        SeparateSpacesError: When a query has parts of several modalities and these are separate spaces.
        InputError: When a part cannot be read, or the parts of a query cancel out.
        UnknownItemError: When an item is not in the bundle.
    """
    used = [[part for part in query.parts if part.weight] for query in queries]
    for position, (query, parts) in enumerate(zip(queries, used, strict=True)):
        if not parts:
            raise InputError(f"query {position}, {query.label}, has no part of weight other than 0; give one")
    if state.bundle.manifest.encoder.separate:
        _require_one_modality(queries, used)
    flat = [part for parts in used for part in parts]
    vectors = _encoded(state, flat)
    composed, terms, start = [], [], 0
    for position, parts in enumerate(used):
        query_terms = _terms(state, parts, vectors[start : start + len(parts)])
        total = query_terms.sum(axis=0)
        largest = float(np.linalg.norm(query_terms, axis=1).max())
        if not (length := float(np.linalg.norm(total))) > 1e-6 * largest:
            raise InputError(f"query {position}, {queries[position].label}, cancels out; change a weight")
        single = len(parts) == 1 and parts[0].weight > 0
        composed.append(query_terms[0] if single else total / np.float32(length))
        terms.append(query_terms if single else query_terms / np.float32(length))
        start += len(parts)
    return np.stack(composed) if composed else np.empty((0, state.vectors.shape[1]), np.float32), terms


def encoded_queries(state: LoadedBundle, queries: Sequence[str | Query]) -> list[Query]:
    """Encode the parts of queries, for a search that is explained afterwards: nothing is encoded twice.

    Raises:
        InputError: When a part cannot be read.
        UnknownItemError: When an item is not in the bundle.
    """
    composed = as_queries(queries)
    vectors = iter(_encoded(state, [part for query in composed for part in query.parts if part.weight]))
    return [
        Query(tuple(replace(part, encoded=next(vectors)) if part.weight else part for part in query.parts))
        for query in composed
    ]


def _require_one_modality(queries: Sequence[Query], used: Sequence[Sequence[QueryPart]]) -> None:
    for position, (query, parts) in enumerate(zip(queries, used, strict=True)):
        if len({part.kind for part in parts}) > 1:
            raise SeparateSpacesError(
                f"query {position}, {query.label}, adds parts of different modalities, which are separate spaces in "
                "this bundle; compose texts with texts or pictures with pictures, or build with an encoder of one space"
            )


def _encoded(state: LoadedBundle, parts: Sequence[QueryPart]) -> Vectors:
    """Encode parts, all of a kind at once: (P, D) float32."""
    vectors = np.empty((len(parts), state.vectors.shape[1]), np.float32)
    by_kind: dict[str, list[int]] = {}
    for position, part in enumerate(parts):
        if part.encoded is not None:
            vectors[position] = part.encoded
        else:
            by_kind.setdefault(part.kind, []).append(position)
    for kind, positions in by_kind.items():
        vectors[positions] = _encoded_kind(state, kind, [parts[position].value for position in positions])
    return vectors


def _encoded_kind(state: LoadedBundle, kind: str, values: list[object]) -> Vectors:
    if kind == "item":
        return state.vectors[state.items.rows(values)]  # type: ignore[arg-type]
    if kind == "vector":
        dim = state.vectors.shape[1]
        return unit(np.concatenate([check_vectors(np.asarray(value)[None], dim, "vector") for value in values]))
    if kind == "text":
        check_texts(values)  # type: ignore[arg-type]
        require(state.encoder, Modality.TEXT)
        return state.encoder.encode_texts(values)  # type: ignore[arg-type]
    if kind == "image":
        require(state.encoder, Modality.IMAGE)
        return state.encoder.encode_images(open_pictures(values, state.encoder))  # type: ignore[arg-type]
    encoder = with_audio(state.encoder)
    return encoder.encode_audio(open_sounds(values, encoder))  # type: ignore[arg-type]


def _terms(state: LoadedBundle, parts: Sequence[QueryPart], vectors: Vectors) -> Vectors:
    """Weigh the vectors of a query, by their weights over the largest: (P, D) float32.

    Each is divided by the scale of its modality, so that a weight moves the scores as much for a text as for a picture.
    All vectors of a modality share a mean. Where more of a modality is subtracted than added, the query would move
    out of the modality, not away from what the part shows; so the surplus of the mean is left out.
    """
    if len(parts) == 1 and parts[0].weight > 0:
        return vectors
    largest = max(abs(part.weight) for part in parts)
    shares = [part.weight / largest for part in parts]
    sums: dict[str, list[float]] = {}
    for part, share in zip(parts, shares, strict=True):
        sums.setdefault(part.kind, []).append(share)
    rows = []
    for part, share, vector in zip(parts, shares, vectors, strict=True):
        mean, scale = state.modality_statistics(part.kind)
        negative = sum(min(weight, 0.0) for weight in sums[part.kind])
        surplus = min(sum(sums[part.kind]), 0.0) / negative if share < 0 else 0.0
        rows.append(share / scale * (vector - surplus * mean))
    return np.array(rows, np.float32)


def contributions(
    state: LoadedBundle, queries: Sequence[str | Query], candidates: Candidates
) -> list[list[tuple[Contribution, ...]]]:
    """Split the score of each hit by the parts of its query; see `Retriever.explain_queries`."""
    check_list(queries, "queries")
    composed, candidates = as_queries(queries), state.here(candidates)
    if len(queries) != len(candidates):
        raise InputError(f"{len(queries)} queries for {len(candidates)} lists; give the queries of the search")
    _, terms = compose(state, composed)
    result = []
    for query, query_terms, rows in zip(composed, terms, candidates.rows, strict=True):
        parts = [part for part in query.parts if part.weight]
        scores = state.vectors[rows[rows >= 0]] @ query_terms.T
        result.append([tuple(map(Contribution, parts, hit.tolist())) for hit in scores])
    return result
