"""Search with queries of any kind; see `Retriever.search`."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

from indexing.arrays import Vectors, check_vectors
from indexing.encoders.base import require, with_audio
from indexing.index.base import check_k
from indexing.media.files import Modality
from indexing.runtime.arguments import check_choice, check_list
from retrieval.candidates import Candidates
from retrieval.filters import Where, allowed
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.compose import compose
from retrieval.retriever.queries.query import as_queries
from retrieval.retriever.query_inputs import Picture, Recording, open_pictures, open_sounds, worded
from retrieval.retriever.separate_spaces import modality_of, query_vectors, search_own_part

SearchMode = Literal["vector"]


def search(state: LoadedBundle, queries: Sequence[str | Query], k: int, mode: SearchMode, where: Where) -> Candidates:
    """Find the k items that answer each query best; see `Retriever.search`."""
    check_choice(mode, "mode", get_args(SearchMode))
    check_list(queries, "queries")
    if any(isinstance(query, Query) for query in queries):
        composed = as_queries(queries)
        vectors, _ = compose(state, composed)
        return state.search_content(vectors, k, where, kind=_kind(composed))
    texts = cast(Sequence[str], queries)
    worded(texts)  # refuses what is no text
    require(state.encoder, Modality.TEXT)
    return state.search_content(state.encoder.encode_texts(texts), k, where, kind="text")


def _kind(queries: Sequence[Query]) -> str | None:
    """Give the kind of all parts of all queries, None where they differ."""
    kinds = {part.kind for query in queries for part in query.parts if part.weight}
    return None if len(kinds) != 1 or "vector" in kinds else kinds.pop()


def search_images(state: LoadedBundle, images: Sequence[Picture], k: int, where: Where) -> Candidates:
    """Find the k items nearest to each picture; see `Retriever.search_images`."""
    check_list(images, "images")
    require(state.encoder, Modality.IMAGE)
    opened = open_pictures(images, state.encoder)
    return state.search_content(state.encoder.encode_images(opened), k, where, kind="image")


def search_audio(state: LoadedBundle, sounds: Sequence[Recording], k: int, where: Where) -> Candidates:
    """Find the k items nearest to each sound; see `Retriever.search_audio`."""
    check_list(sounds, "sounds")
    encoder = with_audio(state.encoder)
    heard = open_sounds(sounds, encoder)
    return state.search_content(encoder.encode_audio(heard), k, where, kind="audio")


def search_vectors(state: LoadedBundle, vectors: Vectors, k: int, modality: str | None, where: Where) -> Candidates:
    """Find the k items nearest to each of (B, D) query vectors, of any length but zero.

    Args:
        state: Of the bundle.
        vectors: B queries.
        k: Answers a query.
        modality: What they embed: ``"text"``, ``"image"`` or ``"audio"``. It must be said where the bundle's
            modalities are different spaces: D is then that of the modality's own vectors, only items that have the
            modality are answers, and the score is the cosine within it.
        where: What every answer satisfies.

    Raises:
        SeparateSpacesError: When the modality must be said and was not.
    """
    built = state.bundle.manifest.encoder
    asked = modality_of(modality, built)
    if asked is None or not built.separate:
        return state.search_content(check_vectors(vectors, built.dim, "queries"), k, where, kind=asked)
    queries = state.space.searched(query_vectors(state.encoder, asked, vectors))
    allow, frozen, k = allowed(state.bundle.attributes, where), state.bundle.modality_vectors, check_k(k)
    scores, rows = search_own_part(state.index, frozen, queries, k, modality=asked, allow=allow)
    return Candidates(queries, rows, scores, state.items, "retrieve").coming_from("content")
