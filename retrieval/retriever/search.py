"""Search with queries of any kind; see `Retriever.search`."""

from collections.abc import Sequence
from typing import Literal, get_args

from indexing.encoders.base import require
from indexing.media.files import Modality
from indexing.runtime.arguments import check_choice
from retrieval.candidates import Candidates
from retrieval.filters import Where
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.query_inputs import worded

SearchMode = Literal["vector"]


def search(state: LoadedBundle, queries: Sequence[str], k: int, mode: SearchMode, where: Where) -> Candidates:
    """Find the k items that answer each query best; see `Retriever.search`."""
    check_choice(mode, "mode", get_args(SearchMode))
    worded(queries)
    require(state.encoder, Modality.TEXT)
    return state.search_content(state.encoder.encode_texts(queries), k, where, kind="text")
