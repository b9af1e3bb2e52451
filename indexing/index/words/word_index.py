"""An index of the words of N items, and of those that changed since: BM25 as Lucene has it, by `bm25s`.

S. Robertson and H. Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009; X. H. Lù, "BM25S", 2024.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import InputError, ShapeError
from indexing.index.base import check_k
from indexing.index.words.bm25_files import Content, file_contents, index_tokens, of_arrays, read_files
from indexing.index.words.spelling import index_spelling, similar_words
from indexing.index.words.tokenizer import item_tokens, query_tokens

SPELLING = "spelling."
K1, B = 1.5, 0.75


WeightedText: TypeAlias = str | Sequence[tuple[float, str]]
"""A text; or several with a weight for each."""


@dataclass(frozen=True, eq=False)
class ChangedWords:
    """The words of items that came or changed since an index was built, scored by its statistics.

    Attributes:
        rows: (M,) int64, rising.
        model: A `bm25s.BM25` of them.
    """

    rows: Rows
    model: Any


@dataclass(frozen=True, eq=False)
class WordIndex:
    """Finds the items that have the words of a query.

    Attributes:
        base: A `bm25s.BM25` of the first items.
        spelling: Another, of the words of the first by the pairs of their characters.
        mean_length: Mean number of tokens of the first items.
        count: N, all items.
        changed: Those that came or changed since.
    """

    base: Any
    spelling: Any
    mean_length: float
    count: int
    changed: ChangedWords | None = None

    @classmethod
    def build(cls, texts: Sequence[str]) -> "WordIndex":
        """Index the texts of N items; one without text is found by no query.

        Raises:
            InputError: When there is no word in any of them.

        >>> index = WordIndex.build(["red canvas shoe", "red mug", "SKU-123 lamp"])
        >>> index.search(["sku-123", "a red shoe"], k=2)[1].tolist()
        [[2, -1], [0, 1]]
        """
        tokens = [item_tokens(text) for text in texts]
        if not any(tokens):
            raise InputError(f"there is no word in {len(tokens)} texts; name other columns")
        base = index_tokens(tokens, k1=K1, b=B)
        mean_length = sum(map(len, tokens)) / len(tokens)
        return cls(base, index_spelling(base.vocab_dict), mean_length, len(tokens))

    @classmethod
    def read(cls, folder: Path, mean_length: float) -> "WordIndex":
        """Open the files of `contents`; arrays stay in them.

        Raises:
            OSError: When a file is missing.
            ValueError: When a file holds something else.
        """
        base, spelling = read_files(folder, ""), read_files(folder, SPELLING)
        if spelling.scores["num_docs"] != len(base.vocab_dict):
            raise ValueError(f"it spells {spelling.scores['num_docs']} of {len(base.vocab_dict)} words")
        return cls(base, spelling, mean_length, int(base.scores["num_docs"]))

    def contents(self) -> dict[str, Content]:
        """Return the files of an index without changes by their names."""
        return {**file_contents(self.base, ""), **file_contents(self.spelling, SPELLING)}

    def with_changes(self, rows: Rows, texts: Sequence[str], count: int) -> "WordIndex":
        """Return the index of so many items, with these texts at some rows; a row after the first without one is empty.

        Word frequencies and the mean length stay those of the first items until the index is built again, as in the
        segments of a search engine; a word that these lack has the frequency that it has in the changes.

        Args:
            rows: (M,) int64, rising.
            texts: M texts.
            count: N, all items.
        """
        first = int(self.base.scores["num_docs"])
        if len(rows) != len(texts) or count < first:
            raise ShapeError(f"{len(texts)} texts for {len(rows)} rows of {count} items, {first} of them indexed")
        if not len(rows):
            return replace(self, count=count, changed=None)
        return replace(self, count=count, changed=ChangedWords(rows, self._scored(texts)))

    def search(self, texts: Sequence[WeightedText], k: int, allow: Mask | None = None) -> tuple[Vectors, Rows]:
        """Find the k items with the highest BM25 score for each text, equal scores in row order.

        An item without any word of a text is no answer. A word of four letters or more that no item has counts as the
        words that are spelt most like it.

        Args:
            texts: B texts, or lists of texts with weights, whose scores are added.
            k: Answers a text, fewer where fewer have one of its words.
            allow: (N,) bool, the items that may be answers.

        Returns:
            Scores (B, k) float32 and rows (B, k) int64, padded with -inf and -1.
        """
        k = min(check_k(k), self.count)
        if allow is not None and (allow.shape != (self.count,) or allow.dtype != np.bool_):
            raise ShapeError(f"allow has shape {allow.shape} and dtype {allow.dtype}, expected ({self.count},) bool")
        scores = np.full((len(texts), k), -np.inf, np.float32)
        rows = np.full((len(texts), k), -1, np.int64)
        for query, text in enumerate(texts):
            all_scores = self.scores(text)
            if allow is not None:
                all_scores[~allow] = 0
            best = _best(all_scores, k)
            rows[query, : len(best)], scores[query, : len(best)] = best, all_scores[best]
        return scores, rows

    def scores(self, text: WeightedText) -> Vectors:
        """Give the BM25 score of each item for a text: (N,) float32, 0 for an item without any of its words."""
        parts = [(1.0, text)] if isinstance(text, str) else text
        weights = [(token, share * weight) for share, part in parts for token, weight in self._weights(part)]
        scores = np.zeros(self.count, np.float32)
        base_count = self.base.scores["num_docs"]
        scores[:base_count] = _weighted_scores(self.base, weights)
        if self.changed is not None:
            scores[self.changed.rows] = _weighted_scores(self.changed.model, weights)
        return scores

    def meanings(self, text: str) -> dict[str, dict[str, float]]:
        """Give for each word of a text that no item has the words it counts as, with their weights."""
        return {
            word: similar_words(word, self._vocabulary, self.spelling)
            for word in dict.fromkeys(query_tokens(text).words)
            if not self._has(word)
        }

    def _has(self, token: str) -> bool:
        return token in self.base.vocab_dict or (self.changed is not None and token in self.changed.model.vocab_dict)

    def _weights(self, text: str) -> list[tuple[str, float]]:
        """Give the tokens of a text that items have, with how much each counts."""
        tokens, meanings = query_tokens(text), self.meanings(text)
        weights = [(token, 1.0) for token in (*tokens.words, *tokens.exact) if self._has(token)]
        return weights + [pair for word in tokens.words for pair in meanings.get(word, {}).items()]

    @cached_property
    def _vocabulary(self) -> list[str]:
        """The words of the first items by their numbers."""
        return sorted(self.base.vocab_dict, key=self.base.vocab_dict.__getitem__)

    def _scored(self, texts: Sequence[str]) -> Any:  # noqa: ANN401 - bm25s has no types
        """Score the words of texts by the statistics of the base: a `bm25s.BM25` of them."""
        columns: dict[str, list[tuple[int, int]]] = {}
        tokens = [item_tokens(text) for text in texts]
        for document, words in enumerate(tokens):
            for word, times in Counter(words).items():
                columns.setdefault(word, []).append((document, times))
        lengths = np.array([len(words) for words in tokens])
        pairs = np.array([pair for column in columns.values() for pair in column], np.int64).reshape(-1, 2)
        documents, counts = pairs.T
        sizes = np.array([len(column) for column in columns.values()], np.int64)
        base_count = self.base.scores["num_docs"]
        bounds = self.base.scores["indptr"]
        known = np.array([self.base.vocab_dict.get(word, -1) for word in columns], np.int64)
        frequency = np.where(known >= 0, bounds[known + 1] - bounds[known], sizes) if len(known) else sizes
        idf = np.log1p((max(base_count, int(frequency.max(initial=0))) - frequency + 0.5) / (frequency + 0.5))
        norm = self.base.k1 * (1 - self.base.b + self.base.b * lengths[documents] / self.mean_length)
        data = (np.repeat(idf, sizes) * counts / (counts + norm)).astype(np.float32)
        arrays = {"data": data, "indices": documents.astype(np.int32), "indptr": np.append(0, np.cumsum(sizes))}
        return of_arrays(arrays, {word: number for number, word in enumerate(columns)}, len(texts))


def _weighted_scores(model: Any, weights: Sequence[tuple[str, float]]) -> Vectors:  # noqa: ANN401
    """Sum the scores of tokens, each times its weight: (N,) float32."""
    plain = [model.vocab_dict[token] for token, weight in weights if weight == 1 and token in model.vocab_dict]
    scores: Vectors = model.get_scores_from_ids(plain)
    for token, weight in weights:
        if weight != 1 and token in model.vocab_dict:
            scores += np.float32(weight) * model.get_scores_from_ids([model.vocab_dict[token]])
    return scores


def _best(scores: Vectors, k: int) -> Rows:
    """Give the rows of the k highest scores of more than 0, equal ones in row order."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > k:
        row_scores = scores[rows]
        rows = rows[row_scores >= np.partition(row_scores, len(rows) - k)[len(rows) - k]]
    return rows[np.lexsort((rows, -scores[rows]))][:k]
