"""Search with queries of any kind, and with variants and near-duplicates shown once; see `Retriever.search`."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Literal, TypeVar, cast, get_args

import numpy as np

from indexing.arrays import Rows, Vectors, check_vectors
from indexing.encoders.base import require, with_audio
from indexing.errors import CommonspaceWarning, InputError
from indexing.index.base import check_k
from indexing.index.words.word_index import WeightedText
from indexing.media.files import Modality
from indexing.runtime.arguments import check_choice, check_list
from indexing.runtime.warn import warn
from retrieval.candidates import Candidates
from retrieval.candidates.lists import with_lists
from retrieval.candidates.sources import codes_for
from retrieval.filters import Where, allowed, selected
from retrieval.postprocess.duplicates import Collapse, ShowOnce, collapsed
from retrieval.ranking.fusion import Fused
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.compose import compose
from retrieval.retriever.queries.hybrid_search import search_both, search_words
from retrieval.retriever.queries.media import Picture, Recording, open_pictures, open_sounds
from retrieval.retriever.queries.query import as_queries
from retrieval.retriever.query_inputs import check_texts
from retrieval.retriever.separate_spaces import modality_of, query_vectors, search_own_part

SearchMode = Literal["vector", "words", "hybrid"]
_SEARCH_MODES: tuple[SearchMode, ...] = get_args(SearchMode)


def search(
    state: LoadedBundle, queries: Sequence[str | Query], k: int, mode: SearchMode, where: Where, once: ShowOnce
) -> Candidates:
    """Find the k items that answer each query best; see `Retriever.search`."""
    where = selected(state.bundle.attributes, where)
    encoded = cache(lambda: _encoded(state, queries))

    def by_vector(at: Rows | None, depth: int) -> Candidates:
        vectors, kind = encoded()
        return state.search_content(_rows_at(vectors, at), depth, where, kind=kind)

    def find(depth: int, at: Rows | None) -> Candidates:
        return _find(state, take_queries(queries, at), depth, mode, where, partial(by_vector, at))

    return shown_once(state, find, k, once)


def search_texts(state: LoadedBundle, texts: Sequence[str], k: int, where: Where, once: ShowOnce) -> Candidates:
    """Find the k items nearest to each text; see `Retriever.search_texts`."""
    check_texts(texts)
    return _search_encoded(state, lambda: _encoded_texts(state, texts), "text", k, where, once)


def search_images(state: LoadedBundle, images: Sequence[Picture], k: int, where: Where, once: ShowOnce) -> Candidates:
    """Find the k items nearest to each picture; see `Retriever.search_images`."""
    return _search_encoded(state, lambda: _encoded_images(state, images), "image", k, where, once)


def search_audio(state: LoadedBundle, sounds: Sequence[Recording], k: int, where: Where, once: ShowOnce) -> Candidates:
    """Find the k items nearest to each sound; see `Retriever.search_audio`."""
    return _search_encoded(state, lambda: _encoded_audio(state, sounds), "audio", k, where, once)


def _search_encoded(
    state: LoadedBundle, encode: Callable[[], Vectors], kind: str, k: int, where: Where, once: ShowOnce
) -> Candidates:
    """Find the k items nearest to each query of one kind, which are encoded once."""
    where, k = selected(state.bundle.attributes, where), check_k(k)
    encoded = cache(encode)

    def find(depth: int, at: Rows | None) -> Candidates:
        return state.search_content(_rows_at(encoded(), at), depth, where, kind=kind)

    return shown_once(state, find, k, once)


def search_vectors(
    state: LoadedBundle, vectors: Vectors, k: int, modality: str | None, where: Where, once: ShowOnce
) -> Candidates:
    """Find the k items nearest to each of (B, D) query vectors; see `Retriever.search_vectors`."""
    where = selected(state.bundle.attributes, where)

    def find(depth: int, at: Rows | None) -> Candidates:
        return _find_vectors(state, _rows_at(vectors, at), depth, modality, where)

    return shown_once(state, find, k, once)


def _find(
    state: LoadedBundle,
    queries: Sequence[str | Query],
    k: int,
    mode: SearchMode,
    where: Where,
    by_vector: Callable[[int], Candidates],
) -> Candidates:
    """Find the k items that answer each query best, in one of the modes."""
    check_choice(mode, "mode", _SEARCH_MODES)
    k = check_k(k)
    check_list(queries, "queries")
    match mode:
        case "words":
            return search_words(state, _words(queries, alone=True), k, where)
        case "hybrid":
            return search_both(state, _words(queries, alone=False), k, where, by_vector)
        case "vector":
            return by_vector(k)


def _encoded(state: LoadedBundle, queries: Sequence[str | Query]) -> tuple[Vectors, str | None]:
    """Give the vectors of texts and composed queries, (B, D) float32, and the kind of all of them."""
    if any(isinstance(query, Query) for query in queries):
        composed = as_queries(queries)
        vectors, _ = compose(state, composed)
        return vectors, _kind(composed)
    texts = cast(Sequence[str], queries)
    check_texts(texts)  # refuses what is no text
    return _encoded_texts(state, texts), "text"


def _encoded_texts(state: LoadedBundle, texts: Sequence[str]) -> Vectors:
    """Encode texts: (B, D) float32."""
    require(state.encoder, Modality.TEXT)
    return state.encoder.encode_texts(texts)


def _rows_at(vectors: Vectors, at: Rows | None) -> Vectors:
    """Give the vectors of the queries at some positions, None for all."""
    return vectors if at is None else vectors[at]


def _words(queries: Sequence[str | Query], *, alone: bool) -> list[WeightedText]:
    """Give the words of each query: its text, or the texts of positive weight among its parts.

    Where these weights differ, each text has its weight over the largest of them.

    Args:
        queries: Texts or composed queries.
        alone: Whether nothing but words is searched, so that no part may be anything else.

    Raises:
        InputError: When a query has no such text, or a part that words cannot find where they are searched alone.
    """
    texts, weighted = list[str](), list[WeightedText]()
    for position, query in enumerate(queries):
        if not isinstance(query, Query):
            texts.append(query)
            weighted.append(query)
            continue
        parts = [part for part in query.parts if part.weight]
        wanted = [part for part in parts if part.kind == "text" and part.weight > 0]
        if others := [part.label for part in parts if part not in wanted] if alone or not wanted else []:
            raise InputError(
                f"query {position} has parts that words cannot find: {', '.join(others[:3])}; give texts of positive "
                "weight, or search by vector"
            )
        texts.append(" ".join(part.value for part in wanted))
        largest = max(part.weight for part in wanted)
        shares = [part.weight / largest for part in wanted]
        weighted.append(
            texts[-1] if min(shares) == 1 else [(share, part.value) for share, part in zip(shares, wanted, strict=True)]
        )
    check_texts(texts)
    return weighted


def _kind(queries: Sequence[Query]) -> str | None:
    """Give the kind of all parts of all queries, None where they differ."""
    kinds = {part.kind for query in queries for part in query.parts if part.weight}
    return None if len(kinds) != 1 or "vector" in kinds else kinds.pop()


def _encoded_images(state: LoadedBundle, images: Sequence[Picture]) -> Vectors:
    """Open and encode pictures: (B, D) float32."""
    check_list(images, "images")
    require(state.encoder, Modality.IMAGE)
    return state.encoder.encode_images(open_pictures(images, state.encoder))


def _encoded_audio(state: LoadedBundle, sounds: Sequence[Recording]) -> Vectors:
    """Open and encode sounds: (B, D) float32."""
    check_list(sounds, "sounds")
    encoder = with_audio(state.encoder)
    return encoder.encode_audio(open_sounds(sounds, encoder))


def _find_vectors(state: LoadedBundle, vectors: Vectors, k: int, modality: str | None, where: Where) -> Candidates:
    """Find the k items nearest to each vector, in the space of its modality where each has its own."""
    built = state.bundle.manifest.encoder
    asked = modality_of(modality, built, state.bundle.generation.sample_queries)
    if asked is None or not built.separate:
        return state.search_content(check_vectors(vectors, built.dim, "queries"), k, where, kind=asked)
    queries = state.space.content_queries(query_vectors(state.encoder, asked, vectors))
    allow, frozen, k = allowed(state.bundle.attributes, where), state.bundle.modality_vectors, check_k(k)
    scores, rows = search_own_part(state.index, frozen, queries, k, modality=asked, allow=allow)
    return Candidates(queries, rows, scores, state.items, "retrieve", sources=codes_for(rows, "content"))


Find = Callable[[int, Rows | None], Candidates]
"""Finds so many items for the queries at some positions, None for all."""

DEEPER = 4  # times as many items as are asked for, and then as many as before
NEAR_DEPTH = 4_000  # candidates of a query among which near-duplicates are sought, or `DEEPER` times its k if more
MAX_CANDIDATES = 2_000_000  # retrieved at once beyond the first time
T = TypeVar("T")


def take_queries(queries: Sequence[T], at: Rows | None) -> Sequence[T]:
    """Give the queries at some positions, None for all.

    >>> take_queries(["red mug", "lamp"], None), take_queries(["red mug", "lamp"], np.array([1]))
    (['red mug', 'lamp'], ['lamp'])
    """
    return queries if at is None else [queries[position] for position in at.tolist()]


def shown_once(state: LoadedBundle, find: Find, k: int, asked: ShowOnce) -> Candidates:
    """Find k hits of each query that are shown once, as far as they exist; see `ShowOnce`.

    Warns of queries that have fewer because near-duplicates are sought among so many candidates alone.
    """
    collapse = Collapse.of(asked)
    if not collapse:
        return find(k, None)
    k = check_k(k)
    depth = DEEPER * k
    retrieved = find(depth, None)
    found = collapse_hits(state, retrieved, k, collapse)
    short = _short(retrieved, found, np.arange(len(found)), k, depth)
    deepest = len(state.items)
    if collapse.min_similarity is not None:
        deepest = min(deepest, max(depth, NEAR_DEPTH))
    while len(short) and depth < deepest:
        depth = min(DEEPER * depth, deepest)
        still: list[Rows] = []
        for block in np.array_split(short, -(-len(short) * depth // MAX_CANDIDATES)):
            retrieved = find(depth, block)
            deeper = collapse_hits(state, retrieved, k, collapse)
            found = _replaced(found, block, deeper)
            still.append(_short(retrieved, deeper, block, k, depth))
        short = np.concatenate(still)
    if len(short) and depth < len(state.items):
        warn(
            f"near-duplicates are sought among the best {depth:,} candidates of a list, and {len(short)} of "
            f"{len(found)} lists have fewer than {k} distinct hits there; raise min_similarity, or ask for fewer hits",
            CommonspaceWarning,
        )
    return found


def collapse_hits(state: LoadedBundle, candidates: Candidates, k: int | None, collapse: Collapse) -> Candidates:
    """Show each group of hits once; see `Retriever.collapse`."""
    candidates = state.here(candidates)
    codes = None if collapse.group_by is None else state.group_codes(collapse.group_by)
    if collapse.min_similarity is None:
        return collapsed(candidates, k, codes=codes)
    return collapsed(candidates, k, codes=codes, vectors=state.vectors, min_similarity=collapse.min_similarity)


def _short(retrieved: Candidates, found: Candidates, at: Rows, k: int, depth: int) -> Rows:
    """Give the positions of queries with less than k hits for which more can be retrieved."""
    num_retrieved, num_found = ((one.rows >= 0).sum(axis=1) for one in (retrieved, found))
    short: Rows = at[(num_found < k) & (num_retrieved >= depth)]
    return short


def _replaced(found: Candidates, at: Rows, deeper: Candidates) -> Candidates:
    """Give the lists of queries at some positions anew, of a hybrid search with the places in each list."""
    replaced = with_lists(found, at, deeper)
    if isinstance(replaced, Fused) and isinstance(deeper, Fused):
        places = dict(zip(at.tolist(), deeper.places, strict=True))
        known = enumerate(replaced.places)
        replaced = replace(replaced, places=tuple(places.get(position, of_query) for position, of_query in known))
    return replaced
