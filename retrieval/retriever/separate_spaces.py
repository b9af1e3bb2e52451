"""Search where each modality has a space of its own: a query of one modality meets that part of items only."""

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

DEEPER = 50  # answers more than are asked for, of which the best by cosine are kept


def modality_of(modality: str | None, built: EncoderInfo) -> Modality | None:
    """Give what queries are of, if it was said; where each modality has its own space, it must be.

    Args:
        modality: What was said.
        built: The encoder of the bundle.

    Raises:
        InputError: For a modality that the bundle lacks.
        SeparateSpacesError: When it must be said and was not.
    """
    known = ", ".join(built.modalities)
    if modality is not None:
        check_kind(modality, str, "modality", f"give one of {known}")
    if modality is None and built.separate:
        raise SeparateSpacesError(
            f"the modalities of these items ({known}) are different spaces, and a query can only be compared with its "
            f"own: say what the vectors are of with modality=, one of {known}"
        )
    if modality is not None and modality not in built.modalities:
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

    What else an item has shortens its part: by inner product, items with fewer modalities would stand before those with
    more. So items are searched apart by the modalities that they have, deeper than asked for because learning has moved
    them, and then merged by the cosine itself, which is that of the frozen vectors.

    Args:
        index: Over the item vectors.
        items: The frozen vectors of its N items.
        queries: (B, D + R) float32: the part of the modality and, for behaviour, whatever the index asks for.
        k: Rows a query; at most the number of items are given.
        modality: What the queries are of. An item that lacks it is no answer.
        allow: (N,) bool, the rows that any query may have.

    Returns:
        Cosines (B, min(k, N)) float32 and rows (B, min(k, N)) int64, padded with -inf and -1.
    """
    check_search(index, queries, k, allow)
    k = min(k, len(index))
    content = unit(queries[:, : items.vectors[modality].shape[1]])
    having = items.exists[modality] if allow is None else items.exists[modality] & allow
    kinds = np.sum([exists * 2**place for place, exists in enumerate(items.exists.values())], axis=0)
    nothing = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    found = padded(*nothing, k)
    for one in np.unique(kinds[having]).tolist():
        group = having & (kinds == one)
        _, rows = retrieve(index, queries, k + DEEPER, allow=None if group.all() else group, kind=str(modality))
        found = merged(found, (_cosines(content, items.vectors[modality], rows), rows), k)
    return found


def _cosines(queries: Vectors, vectors: NDArray[np.float16], rows: Rows) -> Vectors:
    """Give the cosine of each of (B, D) unit queries with the (B, k) rows found for it; -inf where there is none."""
    scores = np.full(rows.shape, -np.inf, np.float32)
    for line, (query, found) in enumerate(zip(queries, rows, strict=True)):
        there = found >= 0
        scores[line, there] = unit(vectors[found[there]]) @ query
    return scores
