"""Tf-idf of words as sparse rows: rare words, such as names, are lost in the vector of a whole text."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Rows, Vectors, lengths_of, weighted_sums
from indexing.catalogue.arrow_values import python_values
from retrieval.models.features.column_encoders import column_of

MIN_ITEMS, MAX_FRACTION, MAX_WORDS = 3, 0.05, 8_000
ROWS_PER_BATCH = 2_048
_WORD = re.compile(r"\w\w+")


class SparseRows(NamedTuple):
    """A sparse matrix (N, V), row by row.

    Attributes:
        columns: (T,) int64, the columns of the stored entries.
        values: (T,) float32, their values; all others are 0.
        lengths: (N,) int64, the number of entries of each row.
        width: V.
    """

    columns: Rows
    values: Vectors
    lengths: NDArray[np.int64]
    width: int

    def take(self, rows: Rows | slice) -> "SparseRows":
        """Keep some rows."""
        ends = np.cumsum(self.lengths)
        starts, lengths = (ends - self.lengths)[rows], self.lengths[rows]
        entries = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return SparseRows(self.columns[entries], self.values[entries], lengths, self.width)

    def matmul(self, matrix: Vectors) -> Vectors:
        """Multiply with (V, K) float32: (N, K) float32."""
        product = np.zeros((len(self.lengths), matrix.shape[1]), np.float32)
        for start in range(0, len(product), ROWS_PER_BATCH):
            batch = self.take(slice(start, start + ROWS_PER_BATCH))
            product[start : start + ROWS_PER_BATCH] = weighted_sums(
                batch.values[None], matrix, batch.columns, batch.lengths
            )[:, 0]
        return product

    def dense(self) -> Vectors:
        """Give (N, V) float32."""
        dense = np.zeros((len(self.lengths), self.width), np.float32)
        dense[np.repeat(np.arange(len(dense)), self.lengths), self.columns] = self.values
        return dense


@dataclass(frozen=True, eq=False)
class Words:
    """Tf-idf of the words that several items have, and at most a twentieth of all.

    A row is ``(1 + log(count)) * idf`` of the words of a text, normalised (Salton and Buckley, "Term-weighting
    approaches in automatic text retrieval", 1988).

    Attributes:
        vocabulary: Sorted.
        idf: (V,) float32, inverse document frequencies.
    """

    vocabulary: tuple[str, ...]
    idf: Vectors

    @classmethod
    def fit(cls, texts: Sequence[str]) -> "Words | None":
        """Fit the vocabulary to the texts of a catalogue; None when it is empty."""
        counts = Counter(word for text in texts for word in set(tokenize(text)))
        common = MAX_FRACTION * len(texts)
        words = [word for word, count in counts.most_common() if MIN_ITEMS <= count <= common]
        vocabulary = tuple(sorted(words[:MAX_WORDS]))
        if not vocabulary:
            return None
        shared = np.array([counts[word] for word in vocabulary])
        return cls(vocabulary, (np.log((1 + len(texts)) / (1 + shared)) + 1).astype(np.float32))

    @cached_property
    def _column_of_word(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}

    def transform(self, texts: Sequence[str], length: float = 1.0) -> SparseRows:
        """Give the rows of N texts, (N, V), of this length; 0 for a text without any of the words."""
        counted = [Counter(word for word in tokenize(text) if word in self._column_of_word) for text in texts]
        lengths = lengths_of(counted)
        columns = np.array([self._column_of_word[word] for counter in counted for word in counter], np.int64)
        matmul = np.array([count for counter in counted for count in counter.values()], np.float64)
        values = (1 + np.log(matmul)) * self.idf[columns]
        row = np.repeat(np.arange(len(texts)), lengths)
        norms = np.sqrt(np.bincount(row, values**2, minlength=len(texts)))
        return SparseRows(columns, (length * values / norms[row]).astype(np.float32), lengths, len(self.vocabulary))


def tokenize(text: str) -> list[str]:
    """Give the lower-case words of a text, of two letters and more.

    >>> tokenize("Toy Story 2: a boy's best friend")
    ['toy', 'story', 'boy', 'best', 'friend']
    """
    return _WORD.findall(text.lower())


def texts_of(attributes: pa.Table, columns: Sequence[str]) -> list[str]:
    """Join the texts of each row by spaces, lists of texts included."""
    text_columns = [python_values(column_of(attributes, name)) for name in columns]
    return [" ".join(_text(value) for value in values) for values in zip(*text_columns, strict=True)]


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))
    return "" if value is None else str(value)
