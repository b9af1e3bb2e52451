"""A second stage for text queries: a model that reads the query and the item's text together."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import InputError, examples
from retrieval.candidates import Candidates
from retrieval.models.features.item_texts import ItemTexts

STAGE = "cross-encoder"
BLOCK = 64  # different queries at once: 64 x 100 pairs of texts in memory, however many queries there are


class PairScorer(Protocol):
    """Says how well a text answers the query beside it, as `indexing.encoders.cross_encoder.CrossEncoder` does."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Score N pairs of query and text: (N,) float32, higher is better."""
        ...


class CrossEncoderReranker:
    """Orders by a cross-encoder what was found by text queries.

    Items without a text, which it cannot read, follow those with one in their present order.

    Args:
        scorer: The model, as from `indexing.encoders.cross_encoder.load_cross_encoder`.
        item_texts: Gives the texts of rows, as `retrieval.models.features.item_texts.ItemTexts` of a bundle.
        query_texts: The text of each query by its query_id.
    """

    def __init__(
        self, scorer: PairScorer, item_texts: Callable[[Rows], Sequence[str]], query_texts: Mapping[str, str]
    ) -> None:
        self.scorer, self.item_texts, self.query_texts = scorer, item_texts, query_texts

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the same candidates in the order of the model; what is alike in query and text is read once.

        Raises:
            InputError: When the text of a query is not known.
            UnknownItemError: When a candidate is not in the bundle that `ItemTexts` reads.
        """
        if isinstance(self.item_texts, ItemTexts):
            candidates = candidates.pointing_into(self.item_texts.items)
        if missing := [name for name in candidates.query_ids if name not in self.query_texts]:
            raise InputError(f"the texts of queries {examples(missing)} are not known: give them by query_id")
        scores = np.empty(candidates.rows.shape, np.float32)
        for block in _blocks([self.query_texts[name] for name in candidates.query_ids]):
            scores[block] = self._scores(candidates.take(block))
        return candidates.reordered(scores, STAGE)

    def _scores(self, candidates: Candidates) -> Vectors:
        query_numbers, positions = np.nonzero(candidates.rows >= 0)
        rows, inverse = np.unique(candidates.rows[query_numbers, positions], return_inverse=True)
        texts = self.item_texts(rows)
        query_texts = [self.query_texts[name] for name in candidates.query_ids]
        pair_numbers: dict[tuple[str, str], int] = {}
        pair_of = np.full(candidates.rows.shape, -1)
        for query, position, text in zip(query_numbers, positions, inverse, strict=True):
            if texts[text]:
                pair_of[query, position] = pair_numbers.setdefault((query_texts[query], texts[text]), len(pair_numbers))
        scores = np.append(self.scorer.score(list(pair_numbers)), np.float32(0))
        return _unread_last(scores[pair_of].astype(np.float32), pair_of < 0)


def _unread_last(scores: Vectors, unread: Mask) -> Vectors:
    """Give what was not read a score just below the lowest of its line, or 0 when nothing was."""
    lowest = np.where(unread, np.inf, scores).min(axis=1, keepdims=True, initial=np.inf)
    below = np.where(np.isfinite(lowest), np.nextafter(lowest, np.float32(-np.inf)), 0)
    filled: Vectors = np.where(unread, below, scores).astype(np.float32)
    return filled


def _blocks(texts: Sequence[str]) -> Iterator[list[int]]:
    """Give the lines of queries, those of equal texts in one block."""
    by_text: dict[str, list[int]] = {}
    for number, text in enumerate(texts):
        by_text.setdefault(text, []).append(number)
    groups = list(by_text.values())
    for start in range(0, len(groups), BLOCK):
        yield [number for group in groups[start : start + BLOCK] for number in group]
