"""Related items: similar ones, what goes with a basket, and what users take next."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from indexing.arrays import Rows, Vectors
from indexing.errors import InputError
from indexing.index.base import check_k
from indexing.runtime.arguments import check_choice, check_list
from retrieval.candidates import Candidates
from retrieval.candidates.sources import UNKNOWN, Codes, source_code
from retrieval.filters import Where, selected
from retrieval.models.behaviour import Behaviour
from retrieval.postprocess.duplicates import ShowOnce
from retrieval.ranking.second_stage import SecondStage
from retrieval.ranking.sources import Neighbours, UserBatch
from retrieval.retriever.loaded_bundle import LoadedBundle
from retrieval.retriever.search import shown_once, take_queries

By: TypeAlias = Literal["content", "behaviour", "both"]
BY: tuple[By, ...] = ("content", "behaviour", "both")

# Candidates by behaviour, for each answer and at least, among which the complements of a basket are.
_DEPTH, _MIN_DEPTH = 10, 200
# How much the likeness of a candidate to an item of the basket counts against it, both in standard deviations; chosen
# on a simulated shop, see docs/how-to/related_items.md.
LIKENESS_PENALTY = 1.0


def similar(
    state: LoadedBundle, item_ids: Sequence[str] | Literal["all"], k: int, by: By, where: Where, once: ShowOnce
) -> Candidates:
    """Find similar items of each item; see `Retriever.similar_items`."""
    where = selected(state.bundle.attributes, where)
    return shown_once(state, lambda depth, at: _similar(state, take_queries(item_ids, at), depth, by, where), k, once)


def _similar(state: LoadedBundle, item_ids: Sequence[str] | Literal["all"], k: int, by: By, where: Where) -> Candidates:
    """Find similar items of each item, or of all items."""
    check_choice(by, "by", BY)
    if isinstance(item_ids, str) and item_ids == "all":
        rows = np.flatnonzero(state.bundle.is_live)
    else:
        check_list(item_ids, "item_ids")
        rows = state.items.rows(item_ids)
    return similar_rows(state, rows, k, by, where)


def similar_rows(state: LoadedBundle, rows: Rows, k: int, by: By, where: Where = ()) -> Candidates:
    """Find the k rows that are nearest to each of B rows, which is itself left out.

    Args:
        state: Of the bundle.
        rows: (B,) int64.
        k: Answers an item.
        by: The vectors that are compared.
        where: What every answer satisfies.

    Raises:
        InputError: When behaviour is to be compared, and the bundle has learned none.
    """
    exclude = list(rows[:, None])
    if by == "content":
        found = state.search_content(state.vectors[rows], k, where, exclude, kind="item")
    elif by == "behaviour":
        queries = association_queries(state, exclude)
        found = state.search(queries, k, where, exclude, kind="history", source="behaviour")
    else:
        queries, means = _standardised(state, rows)
        found = state.search(queries, k, where, exclude)
        codes = _stronger_sources(state, queries, means, found.rows, found.scores)
        found = replace(found, scores=found.scores - means.sum(axis=1, keepdims=True), sources=codes)
    return replace(found, query_ids=tuple(state.items[row] for row in rows.tolist()))


def complements(state: LoadedBundle, baskets: Sequence[Sequence[str]], k: int, where: Where) -> Candidates:
    """Find items that users take with each basket, without similar items; see `Retriever.complements`."""
    k, rows = check_k(k), _basket_rows(state, baskets)
    queries = association_queries(state, rows)
    depth = max(_DEPTH * k, _MIN_DEPTH)
    found = state.search(queries, depth, where, rows, kind="history")
    dim = state.space.dim
    sample = state.sampled_rows
    behaviour = _Sample.of(state.indexed[sample, dim:]).moments(queries[:, dim:])
    likeness = _likeness(state, rows, found.rows, _Sample.of(state.vectors[sample]))
    scores = (found.scores - behaviour.mean) / behaviour.std - np.float32(LIKENESS_PENALTY) * likeness
    return found.reordered(scores, "retrieve").top(k).coming_from("behaviour")


def _basket_rows(state: LoadedBundle, baskets: Sequence[Sequence[str]]) -> list[Rows]:
    """Give the rows of baskets, each item once.

    Raises:
        InputError: When a basket is no list, or empty.
        UnknownItemError: When an item is not in the bundle.
    """
    check_list(baskets, "baskets")
    rows = []
    for position, basket in enumerate(baskets):
        check_list(basket, f"baskets[{position}]")
        if not len(basket):
            raise InputError(f"baskets[{position}] is empty; give the item_ids of at least one item, or leave it out")
        rows.append(state.items.rows(dict.fromkeys(basket)))
    return rows


def _likeness(state: LoadedBundle, baskets: Sequence[Rows], candidates: Rows, sample: "_Sample") -> Vectors:
    """Give the largest similarity of each candidate to an item of its basket: (B, K) float32.

    It is the standard score of their content, 0 for padding.
    """
    likeness = np.zeros(candidates.shape, np.float32)
    for line, (basket, rows) in enumerate(zip(baskets, candidates, strict=True)):
        content = state.vectors[basket]
        moments = sample.moments(content)
        scores = (content @ state.vectors[rows].T - moments.mean) / moments.std
        likeness[line] = np.where(rows >= 0, scores.max(axis=0), 0)
    return likeness


def next_items(state: LoadedBundle, item_ids: Sequence[str], k: int, where: Where) -> Candidates:
    """Find what users take soon after each item; see `Retriever.next_items`."""
    check_list(item_ids, "item_ids")
    rows, k, source = state.items.rows(item_ids), check_k(k), _next_source(state)
    histories = list(rows[:, None])
    usual = np.float32(1)  # the source counts all weights alike
    batch = UserBatch(histories, [np.full(1, usual)] * len(rows), np.zeros(len(rows), np.int64))
    found = source.best(batch, histories, k, state.allowed_rows(where))
    scores = np.where(found >= 0, source.scores(batch, np.maximum(found, 0)), np.float32(-np.inf))
    queries = np.zeros((len(rows), 0), np.float32)
    names = tuple(item_ids)
    answers = Candidates(queries, found, scores.astype(np.float32), state.items, "retrieve", names)
    return answers.coming_from("behaviour")


def _next_source(state: LoadedBundle) -> Neighbours:
    """Give what the second stage knows of the order in which items are taken.

    Raises:
        InputError: When nothing was learned of it.
    """
    stage = state.reranker
    sources = stage.features.sources if isinstance(stage, SecondStage) else ()
    for source in sources:
        if isinstance(source, Neighbours) and source.name == "next":
            return source
    raise InputError(
        "this bundle has learned nothing of the order in which items are taken",
        python="learn a second stage with fit(), or ask by behaviour: similar_items(..., by='behaviour')",
        cli="learn a second stage with `commonspace fit`, or ask by behaviour: similar --by behaviour",
        http='let `fit` learn a second stage, or ask /similar with "by": "behaviour"',
    )


def association_queries(state: LoadedBundle, histories: Sequence[Rows]) -> Vectors:
    """Give the queries for items that users take together with B groups of items: (B, D + R) float32.

    It is the query of a history without its popularity and content parts.
    """
    block = behaviour_of(state)
    nothing = np.zeros((len(histories), block.items.shape[1]), np.float32)
    asked = replace(block, popular=0.0, history_shrinkage=0.0).queries(histories, None, nothing)
    return np.concatenate([np.zeros((len(histories), state.space.dim), np.float32), asked], axis=1)


def behaviour_of(state: LoadedBundle) -> Behaviour:
    """Give the behaviour block.

    Raises:
        InputError: When nothing was.
    """
    if state.behaviour is None:
        raise InputError(
            "this bundle has learned nothing of what users take together; compare by content, or learn from "
            "interactions with `fit`"
        )
    return state.behaviour


def _stronger_sources(state: LoadedBundle, queries: Vectors, means: Vectors, rows: Rows, scores: Vectors) -> Codes:
    """Name for each hit the one of two standard scores that is larger; content where nobody has met the item.

    Args:
        state: Of the bundle.
        queries: (B, D + R), of `_standardised`.
        means: (B, 2), as well.
        rows: (B, K), the hits.
        scores: (B, K), the sums of both.
    """
    dim = state.space.dim
    content = np.stack([state.vectors[hits] @ query for query, hits in zip(queries[:, :dim], rows, strict=True)])
    of_content, of_behaviour = content - means[:, :1], scores - content - means[:, 1:]
    is_new = state.space.is_new(np.maximum(rows, 0).ravel()).reshape(rows.shape)
    codes = np.where((of_behaviour > of_content) & ~is_new, source_code("behaviour"), source_code("content"))
    stronger: Codes = np.where(rows >= 0, codes, UNKNOWN).astype(np.int8)
    return stronger


def _standardised(state: LoadedBundle, rows: Rows) -> tuple[Vectors, Vectors]:
    """Give queries (B, D + R) for the sum of two standard scores, content and behaviour, and the means of both (B, 2).

    A standard score is the score less its mean over all items, divided by its standard deviation.
    """
    dim = state.space.dim
    content, behaviour = state.vectors[rows], association_queries(state, list(rows[:, None]))[:, dim:]
    sample = state.sampled_rows
    moments = (
        _Sample.of(state.vectors[sample]).moments(content),
        _Sample.of(state.indexed[sample, dim:]).moments(behaviour),
    )
    queries = np.concatenate([part / one.std for part, one in zip((content, behaviour), moments, strict=True)], axis=1)
    return queries, np.concatenate([one.mean / one.std for one in moments], axis=1)


class _Moments(NamedTuple):
    """The mean and the standard deviation of the scores of B queries over all items: (B, 1) float32 each."""

    mean: Vectors
    std: Vectors


class _Sample(NamedTuple):
    """Vectors that stand for those of all items: their mean, (D,), and their covariance, (D, D), float32."""

    mean: Vectors
    covariance: Vectors

    @classmethod
    def of(cls, vectors: Vectors) -> "_Sample":
        """Take them of (n, D) vectors."""
        mean = vectors.mean(axis=0)
        centred = vectors - mean
        return cls(mean, centred.T @ centred / np.float32(len(vectors)))

    def moments(self, queries: Vectors) -> _Moments:
        """Give those of the scores of B queries; a standard deviation of 0, where all scores are equal, is 1."""
        variance = np.einsum("bd,bd->b", queries @ self.covariance, queries)[:, None]
        std = np.sqrt(np.maximum(variance, 0)).astype(np.float32)
        return _Moments((queries @ self.mean)[:, None], np.where(std > 0, std, np.float32(1)))
