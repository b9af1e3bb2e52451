"""Search by words, and by words and vectors together, whose lists are fused."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from indexing.errors import ShapeError
from retrieval.candidates import Candidates, codes_for
from retrieval.filters import Where
from retrieval.ranking.fusion import Fused, fuse
from retrieval.retriever.loaded_bundle import LoadedBundle

WORDS, VECTOR = "words", "vector"  # names of the lists
NUM_FUSED = 100  # candidates of each list
DEFAULT_WEIGHT = 0.5  # share of the words where none was tuned
TUNED_WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
TUNED_K = 10


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
    """Find the best k of words and vectors for each text by reciprocal rank fusion.

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
    lists = {VECTOR: search_vectors(depth), WORDS: words}
    return fuse(lists, min(k, len(state.items)), {VECTOR: 1 - share, WORDS: share})


def tune_weight(
    vectors: Candidates, words: Candidates, relevant: Sequence[Collection[str]]
) -> tuple[float, dict[float, float]]:
    """Choose the share of the words by ndcg@10 of judged queries, of equal ones the nearest to one half.

    Args:
        vectors: What the vectors find for B queries.
        words: What the words find for the same.
        relevant: For each query the item_ids that should be found.

    Returns:
        The share, and ndcg@10 by share.
    """
    if len(relevant) != len(vectors) or len(relevant) != len(words):
        raise ShapeError(f"{len(relevant)} judgements for lists of {len(vectors)} and {len(words)} queries")
    ndcg = {}
    for share in TUNED_WEIGHTS:
        fused = fuse({VECTOR: vectors, WORDS: words}, TUNED_K, {VECTOR: 1 - share, WORDS: share})
        gains = [_ndcg([hit.item_id for hit in hits], wanted) for hits, wanted in zip(fused, relevant, strict=True)]
        ndcg[share] = float(np.mean(gains))
    best = max(ndcg.values())
    return min((share for share in ndcg if ndcg[share] == best), key=lambda share: abs(share - 0.5)), ndcg


def _ndcg(found: Sequence[str], relevant: Collection[str]) -> float:
    """Give the ndcg of a list with items that are relevant or not."""
    discounts = 1 / np.log2(np.arange(2, TUNED_K + 2))
    gained = sum(discount for item_id, discount in zip(found, discounts, strict=False) if item_id in relevant)
    return float(gained / discounts[: len(relevant)].sum()) if relevant else 0.0
