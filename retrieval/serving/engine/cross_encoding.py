"""A cross-encoder that many requests share."""

import threading
from collections.abc import Sequence

from indexing.arrays import Vectors
from indexing.errors import InputError
from retrieval.candidates import Candidates
from retrieval.models.features.item_texts import ItemTexts
from retrieval.ranking.cross_encoder import CrossEncoderReranker, PairScorer
from retrieval.retriever.retriever import Retriever


class OneAtATime:
    """A scorer that no two threads use at once."""

    def __init__(self, scorer: PairScorer) -> None:
        self._scorer, self._lock = scorer, threading.Lock()

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Score N pairs of query and text: (N,) float32."""
        with self._lock:
            return self._scorer.score(pairs)


def cross_encoded(
    scorer: PairScorer | None, retriever: Retriever, texts: Sequence[str], found: Candidates
) -> Candidates:
    """Order candidates of texts by a cross-encoder.

    Raises:
        InputError: When there is none, or the bundle has no texts.
    """
    if scorer is None:
        raise InputError("this service has no cross-encoder; leave it out, or start it with --cross-encoder NAME")
    names = dict(zip(found.query_ids, texts, strict=True))
    return CrossEncoderReranker(scorer, ItemTexts(retriever.bundle), names).rerank(found)
