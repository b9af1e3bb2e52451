"""Words that are spelt alike: what a misspelt word of a query may mean."""

import difflib
from collections.abc import Mapping
from typing import Any

import numpy as np

from indexing.index.words.bm25_files import index_tokens
from indexing.index.words.tokenizer import spelling_grams

MIN_SIMILARITY = 0.75  # of `difflib`: one letter of four, two of eight
MAX_MEANINGS = 3
_MIN_LETTERS = 4
_COMPARED = 50  # words that share the most pairs of letters


def index_spelling(words: Mapping[str, int]) -> Any:  # noqa: ANN401 - bm25s has no types
    """Index the words of a vocabulary by the pairs of their characters."""
    return index_tokens([spelling_grams(word) for word in words])


def similar_words(word: str, vocabulary: list[str], model: Any) -> dict[str, float]:  # noqa: ANN401
    """Give the words of a vocabulary that a misspelt word may mean, with a similarity of at most 1.

    Args:
        word: It is not in the vocabulary.
        vocabulary: Its words by their numbers.
        model: What `index_spelling` gave.
    """
    grams = [gram for gram in spelling_grams(word) if gram in model.vocab_dict]
    if len(word) < _MIN_LETTERS or not grams:
        return {}
    scores = model.get_scores(grams)
    best = np.argsort(-scores, kind="stable")[:_COMPARED] if len(scores) <= _COMPARED else _best(scores)
    near = [vocabulary[number] for number in best.tolist() if scores[number] > 0]
    similar = {other: difflib.SequenceMatcher(None, other, word).ratio() for other in near}
    max_similarity = max(similar.values(), default=0.0)
    if max_similarity < MIN_SIMILARITY:
        return {}
    meant = [other for other, value in similar.items() if value == max_similarity and not any(map(str.isdigit, other))]
    return dict.fromkeys(meant[:MAX_MEANINGS], max_similarity)


def _best(scores: Any) -> Any:  # noqa: ANN401
    candidates = np.argpartition(-scores, _COMPARED)[:_COMPARED]
    return candidates[np.argsort(-scores[candidates], kind="stable")]
