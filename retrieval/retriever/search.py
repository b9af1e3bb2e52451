"""Search with queries of any kind; see `Retriever.search`."""

from collections.abc import Sequence
from typing import Literal, cast, get_args

from indexing.encoders.base import require
from indexing.media.files import Modality
from indexing.runtime.arguments import check_choice, check_list
from retrieval.candidates import Candidates
from retrieval.filters import Where
from retrieval.retriever.compose import compose
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.queries import Query
from retrieval.retriever.queries.query import as_queries
from retrieval.retriever.query_inputs import worded

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
