"""Search where each modality has its own space: a query is compared only with that modality's part of an item."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.encoders.alignment.separate_encoder import SpacesEncoder
from indexing.encoders.base import Encoder, EncoderInfo
from indexing.errors import EncoderError, InputError, SeparateSpacesError
from indexing.index import VectorIndex
from indexing.index.base import check_search, merged, padded
from indexing.index.search import retrieve
from indexing.media.files import Modality
from indexing.runtime.arguments import check_kind
from indexing.store.collect import ModalityVectors

EXTRA = 50  # further candidates that are retrieved, of which the best by cosine are kept


def modality_of(modality: str | None, encoder_info: EncoderInfo, asked: Collection[str] = ()) -> Modality | None:
    """Give the modality of queries, None where none was named; it must be named where each modality has its own space.

    Args:
        modality: The name of the modality.
        encoder_info: The encoder of the bundle.
        asked: Modalities of queries that the build was given.

    Raises:
        InputError: For a modality that the bundle lacks.
        SeparateSpacesError: When it must be named and was not.
    """
    modalities = dict.fromkeys([*encoder_info.modalities, *asked])
    known = ", ".join(modalities)
    if modality is not None:
        check_kind(modality, str, "modality", f"give one of {known}")
    if modality is None and encoder_info.separate:
        raise SeparateSpacesError(
            f"the modalities of these items ({known}) are different spaces, and a query can only be compared with its "
            f"own: name the modality of the vectors with modality=, one of {known}"
        )
    if modality is not None and modality not in modalities:
        raise InputError(f"the bundle has no modality {modality!r}, only {known}; name one of these")
    return None if modality is None else Modality(modality)


def query_vectors(encoder: Encoder, modality: Modality, vectors: Vectors) -> Vectors:
    """Map queries of a modality into its part: (B, D) float32, unit length; see `SpacesEncoder.encode_vectors`.

    Raises:
        EncoderError: When the encoder has no such maps.
    """
    if not isinstance(encoder, SpacesEncoder):
        raise EncoderError(f"encoder {encoder.info.name!r} has no maps of separate spaces; load the bundle without it")
    return encoder.encode_vectors(modality, vectors)


def search_own_part(
    index: VectorIndex,
    items: ModalityVectors,
    queries: Vectors,
    k: int,
    *,
    modality: Modality,
    allow: Mask | None = None,
) -> tuple[Vectors, Rows]:
    """Find the k items whose part of a modality is nearest to each mapped query of that modality.

    An item's part of one modality is shorter the more modalities the item has, so inner products would favour items
    with few modalities. Items are therefore searched in groups with the same modalities, for more than k candidates
    because learning has moved their vectors, and then merged by the cosine of the frozen vectors.

    Args:
        index: Over the item vectors.
        items: The frozen vectors of its N items.
        queries: (B, D + R) float32, content in the part of the modality, and behaviour.
        k: Hits for each query, at most N.
        modality: The modality of the queries. Items without it are not found.
        allow: (N,) bool, the rows that may be found.

    Returns:
        Cosines (B, min(k, N)) float32 and rows (B, min(k, N)) int64, padded with -inf and -1.
    """
    check_search(index, queries, k, allow)
    k = min(k, len(index))
    content = unit(queries[:, : items.vectors[modality].shape[1]])
    has_modality = items.exists[modality] if allow is None else items.exists[modality] & allow
    combinations = np.sum([exists * 2**bit for bit, exists in enumerate(items.exists.values())], axis=0)
    empty = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    results = padded(*empty, k)
    for combination in np.unique(combinations[has_modality]).tolist():
        group = has_modality & (combinations == combination)
        _, rows = retrieve(index, queries, k + EXTRA, allow=None if group.all() else group, kind=str(modality))
        results = merged(results, (_cosines(content, items.vectors[modality], rows), rows), k)
    return results


def _cosines(queries: Vectors, vectors: NDArray[np.float16], rows: Rows) -> Vectors:
    """Give the cosine of each of (B, D) unit queries with its (B, k) rows; -inf for padding."""
    scores = np.full(rows.shape, -np.inf, np.float32)
    for position, (query, query_rows) in enumerate(zip(queries, rows, strict=True)):
        is_hit = query_rows >= 0
        scores[position, is_hit] = unit(vectors[query_rows[is_hit]]) @ query
    return scores
