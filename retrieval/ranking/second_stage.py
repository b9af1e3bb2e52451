"""The second stage: pools candidates of several sources and orders them by a trained head."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal, TypeAlias

import numpy as np

from indexing.arrays import Mask, Rows, Vectors, lengths_of
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem.checked_files import read_as
from indexing.index.search import check_scores
from indexing.runtime.threads import cores
from retrieval.candidates import Candidates
from retrieval.candidates.sources import EXACT, UNKNOWN, source_code, sources_of
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.features import BLOCK, IDLE, StageFeatures
from retrieval.ranking.heads import ScoringHead
from retrieval.ranking.reranker import NO_ROWS, STAGE, exact_scores
from retrieval.ranking.sources import (
    SpaceSource,
    UserBatch,
    pool_candidates,
    space_sources,
    users_of_space,
)
from retrieval.ranking.stored_stage import HINT, SOURCES, StoredStage

Requests: TypeAlias = Literal["visits", "returning", "new"]
"""Kinds of requests: of visits that go on, of users who come back, and of those without a history."""
Orderer: TypeAlias = Literal["own head", "head of visits", "retrieval"]
OWN_HEAD: Final = "own head"
VISIT_HEAD: Final = "head of visits"
RETRIEVAL: Final = "retrieval"
WORKERS = min(4, cores())  # threads, each with a block of queries


@dataclass(frozen=True, eq=False)
class SecondStage:
    """Retrieves candidates by all its sources, and orders any candidates by its head.

    Attributes:
        features: Inputs of the heads; their sources retrieve candidates. A head may go without those of the context,
            which come last.
        head: Scores candidates for users whose visit continues.
        vectors: (N, E) float32, item vectors for queries that the head does not order.
        min_history: Shortest history whose candidates the head orders; others keep the order of retrieval, because
            a head that was trained on long histories alone orders those of short ones worse.
        new_items: Whether the head orders new items too, as that of an earlier version may. Else they have the rank
            that the first source gives them: a head would put items with interactions before all of them.
        per_source: Candidates that a source retrieves, in serving as in training.
        penalties: (N,) float32, by how much the scores of items that would be shown too often are lowered, 0 for all
            others; None where there are none. See `retrieval.fitting.exposure_limit`.
        returning: Scores candidates for users who come back, and for new ones; ``head`` does where it is None.
        leaves_returning: Whether these users keep the order of retrieval, because a head for them did worse.
        orders_new: Whether ``returning`` orders the candidates of users without a history too.
        plain_penalties: Whether penalties are subtracted as they are, from scores of the heads alone, as in a stage of
            an earlier version. Else they are in standard deviations of the scores of a list, whatever ordered it.
    """

    features: StageFeatures
    head: ScoringHead
    vectors: Vectors
    min_history: int = 1
    new_items: bool = False
    per_source: int = 50
    penalties: Vectors | None = None
    returning: ScoringHead | None = None
    leaves_returning: bool = False
    orders_new: bool = True
    plain_penalties: bool = False

    def __post_init__(self) -> None:
        widths, width = (
            {head.width for head in (self.head, self.returning) if head is not None},
            len(_names(self.features)),
        )
        if not widths <= {width, width - (0 if self.features.context is None else self.features.context.width)}:
            raise DamagedFileError(f"the head reads {self.head.width} features of {_names(self.features)}: fit again")

    @property
    def space(self) -> ItemSpace:
        """The space that retrieval searches."""
        return next(source.space for source in self.features.sources if isinstance(source, SpaceSource))

    def recommend(
        self,
        batch: UserBatch,
        items: ItemIds,
        *,
        exclude: Sequence[Rows] | None = None,
        allow: Mask | None = None,
        query_ids: Sequence[str] = (),
    ) -> Candidates:
        """Recommend by both stages: the candidates of all sources, in the order of the head; see `pool`."""
        reranked = self.rerank(self.pool(batch, items, self.per_source, query_ids, exclude=exclude, allow=allow))
        return replace(reranked, among=reranked)

    def pool(
        self,
        batch: UserBatch,
        items: ItemIds,
        per_source: int,
        query_ids: Sequence[str] = (),
        *,
        exclude: Sequence[Rows] | None = None,
        allow: Mask | None = None,
    ) -> Candidates:
        """Give the candidates of all sources; see `pool_candidates`. Their queries order those that no head does."""
        pool = pool_candidates(
            self.features.sources, batch, items, per_source, exclude=exclude, allow=allow, query_ids=query_ids
        )
        return replace(pool, queries=self.queries(batch))

    def queries(self, batch: UserBatch) -> Vectors:
        """Give the index queries of users, (B, E) float32, of what each of them likes."""
        sources = self.features.sources
        if not isinstance(first := sources[0], SpaceSource):
            return np.zeros((len(batch), 0), np.float32)
        return first.queries(batch.liking(users_of_space(sources)))

    def liking(self, min_relevance: float | None) -> "SecondStage":
        """Give the stage for which a smaller weight is a dislike; this one when None, or when it is so already."""
        users = users_of_space(self.features.sources)
        if min_relevance is None or users is None or users.min_relevance == min_relevance:
            return self
        return replace(self, features=self.features.in_space(self.space.liking(min_relevance)))

    def rerank(self, candidates: Candidates) -> Candidates:
        """Order candidates by the heads, with new items at the rank that retrieval gives them.

        Candidates that were retrieved as new items stay as they are, with their stage, if no head scores new items. The
        stage is ``"exact"`` where no head orders any of the lists.
        """
        if self._has_only_new(candidates):
            return candidates
        visiting, returning = self._queries_of_heads(candidates)
        rows, scores = candidates.rows.copy(), np.empty(candidates.rows.shape, np.float32)
        remaining, ordered_blocks = np.flatnonzero(~(visiting | returning)), list[tuple[Rows, Candidates]]()
        for head, mask in ((self.head, visiting), (self.returning, returning)):
            if head is not None and len(queries := np.flatnonzero(mask)):
                blocks = np.split(queries, np.arange(BLOCK, len(queries), BLOCK))
                parts = self._order_blocks(head, [candidates.take(block) for block in blocks])
                ordered_blocks += zip(blocks, parts, strict=True)
        if len(remaining):
            ordered_blocks.append((remaining, self._without_head(candidates.take(remaining))))
        for block, ordered in ordered_blocks:
            rows[block], scores[block] = ordered.rows, ordered.scores
        check_scores(scores, rows)
        ranked = replace(candidates, rows=rows, scores=scores, stage=STAGE, sources=None)
        kept, by_head = sources_of(rows, candidates.rows, candidates.sources), self.ordered_by_head(ranked)
        codes = np.where(by_head, source_code("second stage"), UNKNOWN if kept is None else kept)
        return replace(ranked, sources=codes.astype(np.int8), stage=STAGE if by_head.any() else EXACT)

    def _without_head(self, candidates: Candidates) -> Candidates:
        """Order candidates without a head: by exact score; those without queries by the first source.

        Candidates without queries for users without a history stay as they are.
        """
        if candidates.queries.shape[1]:
            scores = exact_scores(candidates, self.vectors)
            return candidates.reordered(self.held_back(scores, candidates.rows, by_head=False), STAGE)
        scores = candidates.scores.copy()
        if len(with_history := np.flatnonzero(lengths_of(candidates.histories))):
            subset = candidates.take(with_history)
            batch = UserBatch.of(subset, self.features.default_weight, self.features.statistics.now).liking(
                self.space.users
            )
            scores[with_history] = self.features.sources[0].scores(batch, np.maximum(subset.rows, 0))
        return candidates.reordered(self.held_back(scores, candidates.rows, by_head=False), STAGE)

    def _order_blocks(self, head: ScoringHead, blocks: Sequence[Candidates]) -> Iterable[Candidates]:
        """Order blocks of candidates in several threads: numpy releases the lock while it computes."""
        workers = min(len(blocks), WORKERS)
        if workers <= 1:
            return map(partial(self._order, head), blocks)
        with ThreadPoolExecutor(workers, thread_name_prefix="rerank") as pool:
            return list(pool.map(partial(self._order, head), blocks))

    def _order(self, head: ScoringHead, candidates: Candidates) -> Candidates:
        columns = self.features.columns(candidates)
        scores = self.held_back(head.score(columns[: head.width].transpose(1, 2, 0)), candidates.rows)
        unseen = self._are_unseen(candidates.rows)
        if not unseen.any():
            return candidates.reordered(scores, STAGE)
        z_scores = self.held_back(columns[0], candidates.rows)  # z-scores of the first source
        retrieval = np.where(candidates.rows >= 0, z_scores, np.float32(-np.inf))
        retrieval = exchange_values(retrieval.astype(np.float32), self._scores_as_new(candidates, unseen), unseen)
        order = np.argsort(np.where(unseen.any(axis=1, keepdims=True), -retrieval, 0), axis=1, kind="stable")
        retrieval_scores, scores = (np.take_along_axis(array, order, axis=1) for array in (retrieval, scores))
        unseen = np.take_along_axis(unseen, order, axis=1)
        return candidates.placed(order, retrieval_scores, STAGE).reordered(scores, STAGE, unseen)

    def _scores_as_new(self, candidates: Candidates, unseen: Mask) -> Vectors:
        """Score candidates by the queries for new items, (B, K) float32, where a query has new items."""
        scores, queries = np.zeros(candidates.rows.shape, np.float32), np.flatnonzero(unseen.any(axis=1))
        subset, space = candidates.take(queries), self.space.for_new_items
        batch = UserBatch.of(subset, self.features.default_weight, self.features.statistics.now).liking(space.users)
        source = SpaceSource("new items", space, slice(0, space.indexed.shape[1]))
        scores[queries] = self.held_back(source.scores(batch, np.maximum(subset.rows, 0)), subset.rows)
        return scores

    def _are_unseen(self, rows: Rows) -> Mask:
        """Mark new items that the head does not order."""
        unseen: Mask = self.features.statistics.counts.take(rows, mode="clip") == 0
        return unseen & (rows >= 0) & (not self.new_items)

    def _has_only_new(self, candidates: Candidates) -> bool:
        """Say whether candidates were retrieved as new items, still are new, and no head scores them."""
        hits = candidates.rows[candidates.rows >= 0]
        return candidates.new_items and not self.new_items and self.space.has_only_new(hits)

    def held_back(self, scores: Vectors, rows: Rows, *, by_head: bool = True) -> Vectors:
        """Lower the scores of lists, (B, K) float32, for items that would be shown too often."""
        if self.penalties is None or (self.plain_penalties and not by_head):
            return scores
        penalties = np.where(rows >= 0, self.penalties.take(rows, mode="clip"), np.float32(0))
        if not self.plain_penalties:
            penalties *= score_spread(scores, rows)
        lowered: Vectors = scores - penalties
        return lowered

    def ordered_by_head(self, candidates: Candidates) -> Mask:
        """Mark the candidates that a head orders: (B, K) bool."""
        visiting, returning = self._queries_of_heads(candidates)
        by_head = (visiting | returning)[:, None] & (candidates.rows >= 0)
        return by_head & ~self._are_unseen(candidates.rows)

    @property
    def orders(self) -> Mapping[Requests, Orderer]:
        """What orders the candidates of each kind of request."""
        returning: Orderer = RETRIEVAL if self.leaves_returning else VISIT_HEAD
        if self.returning is not None:
            returning = OWN_HEAD
        orders_new = self.min_history == 0 if returning == VISIT_HEAD else self.orders_new
        new: Orderer = returning if orders_new else RETRIEVAL
        return {"visits": VISIT_HEAD, "returning": returning, "new": new}

    def reads_context(self, requests: Requests) -> bool:
        """Say whether a head orders the candidates of some kind of request, and reads their context."""
        head = {OWN_HEAD: self.returning, VISIT_HEAD: self.head, RETRIEVAL: None}[self.orders[requests]]
        return self.features.context is not None and head is not None and head.width == len(self.features.features)

    def head_of(self, candidates: Candidates, query: int) -> ScoringHead:
        """Give the head that orders the candidates of a query, if one does."""
        is_returning = self._queries_of_heads(candidates)[1][query]
        return self.returning if self.returning is not None and is_returning else self.head

    def _queries_of_heads(self, candidates: Candidates) -> tuple[Mask, Mask]:
        """Mark the queries of ``head``, and those of the head for users who come back."""
        lengths, orders = lengths_of(candidates.histories), self.orders
        with_history = orders["visits" if candidates.idle is None else "returning"]
        of_visits, of_returning = (
            np.where(lengths > 0, with_history == orderer, orders["new"] == orderer)
            for orderer in (VISIT_HEAD, OWN_HEAD)
        )
        return of_visits & (lengths >= self.min_history), of_returning

    def to_bytes(self) -> bytes:
        """Serialise as safetensors, without the space and the views, which have files of their own."""
        sources = tuple(source for source in self.features.sources if not isinstance(source, SpaceSource))
        if unknown := [source.name for source in sources if type(source).__name__ not in SOURCES]:
            raise InputError(f"sources {unknown} cannot be stored; only {sorted(SOURCES)} can")
        settings: dict[str, Any] = {"fewest": self.min_history, "new_items": self.new_items, "each": self.per_source}
        settings |= {"leaves_returning": self.leaves_returning, "orders_new": self.orders_new}
        if self.returning is not None:
            settings["returning"] = self.returning.kind
        if self.features.context is not None:
            settings["context"] = {name: list(values) for name, values in self.features.context.columns.items()}
        metadata = {"head": self.head.kind, **settings, "features": _names(self.features)}
        return StoredStage(
            metadata,
            self.head,
            self.features.statistics,
            sources,
            self.penalties,
            self.returning,
            self.features.context,
            self.plain_penalties,
        ).to_bytes()

    @classmethod
    def from_bytes(
        cls, data: bytes, space: ItemSpace, views: Mapping[str, Vectors], origins: Rows = NO_ROWS
    ) -> "SecondStage":
        """Read what `to_bytes` gave, for its items and M new rows.

        Args:
            data: The bytes.
            space: All items.
            views: The same representations of the items.
            origins: (M,) int64, for each new row the old row of the same item, or -1.

        Raises:
            DamagedFileError: When the bytes are no such stage, or of other items.
        """
        with read_as("the second stage", HINT):
            stored = StoredStage.from_bytes(data)
            stored = stored.carried(origins, np.ones(len(stored.statistics.counts) + len(origins), np.bool_))
            count = len(stored.statistics.counts)
            if count != len(space.indexed):
                raise DamagedFileError(
                    f"the second stage knows {count} items, the bundle {len(space.indexed)}: fit again"
                )
            with_idle = f"user_{IDLE}" in stored.metadata["features"]
            context = None if stored.context is None else replace(stored.context, views=views)
            features = StageFeatures(
                (*space_sources(space), *stored.sources), views, stored.statistics, with_idle, context
            )
            if _names(features) != stored.metadata["features"]:
                raise DamagedFileError(
                    f"the head reads {stored.metadata['features']}, this bundle has {_names(features)}: fit again"
                )
            fewest = stored.metadata.get(
                "fewest", 0 if stored.metadata.get("new_users") else 1
            )  # as earlier stages say it
            return cls(
                features,
                stored.head,
                space.indexed,
                int(fewest),
                bool(stored.metadata.get("new_items")),
                int(stored.metadata.get("each", cls.per_source)),
                stored.penalties,
                stored.returning,
                bool(stored.metadata.get("leaves_returning")),
                bool(stored.metadata.get("orders_new", True)),
                stored.plain_penalties,
            )


def exchange_values(values: Vectors, scores: Vectors, mask: Mask) -> Vectors:
    """Permute the values of the marked entries of each row, so that the highest goes to the highest score.

    >>> values, scores = np.array([[3.0, 2.0, 1.0]]), np.array([[0.1, 0.9, 0.5]])
    >>> exchange_values(values, scores, np.array([[True, False, True]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    value_order, score_order = (
        np.argsort(np.where(mask, -array, np.inf), axis=1, kind="stable") for array in (values, scores)
    )
    exchanged = np.empty_like(values)
    np.put_along_axis(exchanged, score_order, np.take_along_axis(values, value_order, axis=1), axis=1)
    return exchanged


def score_spread(scores: Vectors, rows: Rows) -> Vectors:
    """Give the standard deviation of the scores of each list, (B, 1) float32, without padding.

    >>> score_spread(np.array([[3.0, 1.0, -np.inf]]), np.array([[7, 2, -1]])).tolist()
    [[1.0]]
    """
    valid = rows >= 0
    count = np.maximum(valid.sum(axis=1, keepdims=True), 1)
    deviations = np.where(valid, scores, 0)
    deviations = np.where(valid, deviations - deviations.sum(axis=1, keepdims=True) / count, 0)
    spread: Vectors = np.sqrt((deviations**2).sum(axis=1, keepdims=True) / count).astype(np.float32)
    return spread


def _names(features: StageFeatures) -> list[str]:
    return [str(feature) for feature in features.features]
