"""Words of texts as sparse lines: what few items share, as a name, is lost in a vector of the whole text."""

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
from retrieval.features.column_encoders import column_of

FEWEST_ITEMS, LARGEST_SHARE, MOST_WORDS = 3, 0.05, 8_000
AT_ONCE = 2_048  # lines
_WORD = re.compile(r"\w\w+")


class SparseRows(NamedTuple):
    """N sparse lines of V numbers behind each other.

    Attributes:
        places: (T,) int64, which numbers of its line are given.
        values: (T,) float32, what they are; all others are 0.
        lengths: (N,) int64, how many are given of each line.
        width: V.
    """

    places: Rows
    values: Vectors
    lengths: NDArray[np.int64]
    width: int

    def take(self, rows: Rows | slice) -> "SparseRows":
        """Keep some lines."""
        ends = np.cumsum(self.lengths)
        starts, lengths = (ends - self.lengths)[rows], self.lengths[rows]
        entries = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        return SparseRows(self.places[entries], self.values[entries], lengths, self.width)

    def times(self, matrix: Vectors) -> Vectors:
        """Multiply with (V, K) float32: (N, K) float32."""
        product = np.zeros((len(self.lengths), matrix.shape[1]), np.float32)
        for start in range(0, len(product), AT_ONCE):
            batch = self.take(slice(start, start + AT_ONCE))
            product[start : start + AT_ONCE] = weighted_sums(batch.values[None], matrix, batch.places, batch.lengths)[
                :, 0
            ]
        return product

    def dense(self) -> Vectors:
        """Give (N, V) float32."""
        dense = np.zeros((len(self.lengths), self.width), np.float32)
        dense[np.repeat(np.arange(len(dense)), self.lengths), self.places] = self.values
        return dense


@dataclass(frozen=True, eq=False)
class Words:
    """The words that several items share and few of all, each of which counts the more the rarer it is.

    A line is the logarithm of one and how often its text has each word, times how rare that is, all lines equally long
    (Salton and Buckley, "Term-weighting approaches in automatic text retrieval", 1988).

    Attributes:
        vocabulary: Sorted.
        rarity: (V,) float32, the logarithm of how many times fewer than all items have a word, and 1.
    """

    vocabulary: tuple[str, ...]
    rarity: Vectors

    @classmethod
    def learn(cls, texts: Sequence[str]) -> "Words | None":
        """Find the words of the texts of a catalogue; None when items share none."""
        counts = Counter(word for text in texts for word in set(spelled(text)))
        common = LARGEST_SHARE * len(texts)
        words = [word for word, count in counts.most_common() if FEWEST_ITEMS <= count <= common]
        vocabulary = tuple(sorted(words[:MOST_WORDS]))
        if not vocabulary:
            return None
        shared = np.array([counts[word] for word in vocabulary])
        return cls(vocabulary, (np.log((1 + len(texts)) / (1 + shared)) + 1).astype(np.float32))

    @cached_property
    def _place(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.vocabulary)}

    def lines(self, texts: Sequence[str], length: float = 1.0) -> SparseRows:
        """Give a line of V numbers for each of N texts, of this length; 0 for one that has none of the words."""
        counted = [Counter(word for word in spelled(text) if word in self._place) for text in texts]
        lengths = lengths_of(counted)
        columns = np.array([self._place[word] for counter in counted for word in counter], np.int64)
        times = np.array([count for counter in counted for count in counter.values()], np.float64)
        values = (1 + np.log(times)) * self.rarity[columns]
        row = np.repeat(np.arange(len(texts)), lengths)
        norms = np.sqrt(np.bincount(row, values**2, minlength=len(texts)))
        return SparseRows(columns, (length * values / norms[row]).astype(np.float32), lengths, len(self.vocabulary))


def spelled(text: str) -> list[str]:
    """Give the words of a text, of two letters and more, in small letters.

    >>> spelled("Toy Story 2: a boy's best friend")
    ['toy', 'story', 'boy', 'best', 'friend']
    """
    return _WORD.findall(text.lower())


def texts_of(attributes: pa.Table, columns: Sequence[str]) -> list[str]:
    """Give all texts of each line, with a space between them; a list of texts counts as its values."""
    text_columns = [python_values(column_of(attributes, name)) for name in columns]
    return [" ".join(_text(value) for value in values) for values in zip(*text_columns, strict=True)]


def _text(value: object) -> str:
    if isinstance(value, list):
        return " ".join(filter(None, map(_text, value)))
    return "" if value is None else str(value)
