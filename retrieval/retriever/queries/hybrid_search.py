"""Search by words, and by words and vectors together, whose lists are fused."""

from collections.abc import Callable, Sequence

import numpy as np

from retrieval.candidates import Candidates, codes_for
from retrieval.filters import Where
from retrieval.ranking.fusion import Fused, fuse
from retrieval.retriever.loaded_bundle import LoadedBundle

WORDS, VECTOR = "words", "vector"  # names of the lists
NUM_FUSED = 100  # candidates of each list
DEFAULT_WEIGHT = 0.7  # share of the words where none was tuned; chosen on products, see docs/how-to/words.md


def search_words(state: LoadedBundle, texts: Sequence[str], k: int, where: Where = ()) -> Candidates:
    """Find the k items with the highest BM25 score for each text; without any of its words an item is no answer.

    Nothing is encoded: the query vectors of the candidates are zero.

    Raises:
        InputError: When the bundle has no index of words.
    """
    scores, rows = state.words.search(texts, k, state.allowed_rows(where))
    queries = np.zeros((len(texts), state.indexed.shape[1]), np.float32)
    return Candidates(queries, rows, scores, state.items, WORDS, sources=codes_for(rows, "words"))


def search_both(
    state: LoadedBundle,
    texts: Sequence[str],
    k: int,
    where: Where,
    search_vectors: Callable[[int], Candidates],
    weight: float | None = None,
) -> Fused:
    """Find the best k of words and vectors for each text, fused by score.

    Args:
        state: Of the bundle.
        texts: B texts.
        k: Answers a query.
        where: What every answer satisfies.
        search_vectors: Finds so many items by the vectors of the same queries.
        weight: Share of the words, from 0 to 1; that of the bundle when None.

    Raises:
        InputError: When the bundle has no index of words.
    """
    depth = max(k, NUM_FUSED)
    words = search_words(state, texts, depth, where)  # first, as it may say that there are none
    share = state.words_weight if weight is None else weight
    share = DEFAULT_WEIGHT if share is None else share
    return fuse_words(search_vectors(depth), words, min(k, len(state.items)), share)


def fuse_words(vectors: Candidates, words: Candidates, k: int, weight: float) -> Fused:
    """Fuse the lists of vectors and words; the words count by ``weight``, from 0 to 1.

    The lowest BM25 score is that of an item without any of the words, 0, so that each item with one stands above it.
    """
    return fuse({VECTOR: vectors, WORDS: words}, k, {VECTOR: 1 - weight, WORDS: weight}, {WORDS: 0.0})
