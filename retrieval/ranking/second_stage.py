"""The second stage: candidates of several sources, ordered by a learned head. Candidates in, Candidates out."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays import Mask, Rows, Vectors, lengths_of
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem.checked_files import finite_tensors, read_as
from indexing.index.search import check_scores
from indexing.runtime.threads import cores
from retrieval.candidates import Candidates
from retrieval.features.item_texts import metadata_entry
from retrieval.models.item_space import ItemSpace
from retrieval.ranking.features import BLOCK, IDLE, ItemStatistics, StageFeatures
from retrieval.ranking.heads import BothHead, NeuralHead, ScoringHead, TreesHead
from retrieval.ranking.reranker import NO_ROWS, STAGE, exact_scores
from retrieval.ranking.sources import (
    Neighbours,
    Popular,
    Recent,
    Source,
    SpaceSource,
    UserBatch,
    pooled,
    renumbered,
    space_sources,
    users_of_space,
)

_WAY_OUT = "fit again, or go back"
WORKERS = min(4, cores())  # threads, each with a block of queries
_STORED: dict[str, Callable[..., Source]] = {
    "Neighbours": Neighbours.read,
    "Popular": Popular.read,
    "Recent": Recent.read,
}
_HEADS: dict[str, Callable[..., ScoringHead]] = {
    "neural": NeuralHead.read,
    "trees": TreesHead.read,
    "both": BothHead.read,  # of earlier versions
}


@dataclass(frozen=True, eq=False)
class SecondStage:
    """Finds candidates by all its sources, and orders any candidates by its head.

    Attributes:
        features: What the head reads; its sources find candidates.
        head: Scores them for users whose visit goes on.
        vectors: (N, E) float32, what queries that the head does not order are compared with.
        fewest: Items that a history must have for the head to order its candidates; others have the order of retrieval,
            for a head that has met long histories alone orders short ones worse.
        new_items: Whether it orders items that nobody has met too, as a stage of an earlier version may. Else they have
            the place among the candidates that the first source gives them: a head finds others more certain, and
            nobody would ever meet them.
        each: Candidates that a source brings up, in serving as where the head learned.
        held: (N,) float32, what is taken from the score of items that would be shown out of proportion, 0 for all
            others; None where there is none. See `retrieval.fitting.exposure_limit`.
        returning: Scores them for users who come back, and for new ones; the other head does where there is none.
        leaves_returning: Whether these have the order of retrieval, as a head for them did worse.
    """

    features: StageFeatures
    head: ScoringHead
    vectors: Vectors
    fewest: int = 1
    new_items: bool = False
    each: int = 50
    held: Vectors | None = None
    returning: ScoringHead | None = None
    leaves_returning: bool = False

    def __post_init__(self) -> None:
        widths = {head.width for head in (self.head, self.returning) if head is not None}
        if widths != {len(self.features.features)}:
            raise DamagedFileError(f"the head reads {self.head.width} features of {_names(self.features)}: fit again")

    @property
    def space(self) -> ItemSpace:
        """What retrieval serves."""
        return next(one.space for one in self.features.sources if isinstance(one, SpaceSource))

    def recommend(
        self,
        asked: UserBatch,
        items: ItemIds,
        *,
        exclude: Sequence[Rows] | None = None,
        allow: Mask | None = None,
        names: Sequence[str] = (),
    ) -> Candidates:
        """Answer users by both stages: the candidates of all sources in the order of the head; see `pool`."""
        found = self.pool(asked, items, self.each, names, exclude=exclude, allow=allow)
        ranked = self.rerank(replace(found, queries=self.queries(asked)))
        return replace(ranked, among=ranked)

    def pool(
        self,
        asked: UserBatch,
        items: ItemIds,
        each: int,
        names: Sequence[str] = (),
        *,
        exclude: Sequence[Rows] | None = None,
        allow: Mask | None = None,
    ) -> Candidates:
        """Give the candidates of all sources; see `pooled`."""
        return pooled(self.features.sources, asked, items, each, exclude=exclude, allow=allow, names=names)

    def queries(self, asked: UserBatch) -> Vectors:
        """Give what users ask the index with, (B, E) float32: what the head does not order has that order."""
        first = self.features.sources[0]
        return first.queries(asked) if isinstance(first, SpaceSource) else np.zeros((len(asked), 0), np.float32)

    def liking(self, least: float | None) -> "SecondStage":
        """Give the stage that takes what weighs less for disliked; this one when None, or when it does so already."""
        users = users_of_space(self.features.sources)
        if least is None or users is None or users.least == least:
            return self
        return replace(self, features=self.features.in_space(self.space.liking(least)))

    def rerank(self, candidates: Candidates) -> Candidates:
        """Give the candidates in the order of the heads, around new items; others in that of retrieval.

        Candidates that were retrieved as new items stay as they are, with their stage, where this stage scores no such.
        """
        if self._are_new(candidates):
            return candidates
        visiting, returning = self._ordered_by(candidates)
        rows, scores = candidates.rows.copy(), np.empty(candidates.rows.shape, np.float32)
        others, found = np.flatnonzero(~(visiting | returning)), list[tuple[Rows, Candidates]]()
        for head, mask in ((self.head, visiting), (self.returning, returning)):
            if head is not None and len(lines := np.flatnonzero(mask)):
                blocks = np.split(lines, np.arange(BLOCK, len(lines), BLOCK))
                parts = self._ordered(head, [candidates.take(block) for block in blocks])
                found += zip(blocks, parts, strict=True)
        if len(others):
            found.append((others, self._unlearned(candidates.take(others))))
        for block, part in found:
            rows[block], scores[block] = part.rows, part.scores
        check_scores(scores, rows)
        return replace(candidates, rows=rows, scores=scores, stage=STAGE)

    def _unlearned(self, part: Candidates) -> Candidates:
        """Order what the head does not: by exact score; a pool, which has no vectors to ask with, by the first source.

        A pool for users without a history stays as it is.
        """
        if part.queries.shape[1]:
            return part.reordered(exact_scores(part, self.vectors), STAGE)
        scores = part.scores.copy()
        if len(short := np.flatnonzero(lengths_of(part.histories))):
            some = part.take(short)
            asked = UserBatch.of(some, self.features.usual, self.features.facts.now).liking(self.space.users)
            scores[short] = self.features.sources[0].scores(asked, np.maximum(some.rows, 0))
        return part.reordered(scores, STAGE)

    def _ordered(self, head: ScoringHead, parts: Sequence[Candidates]) -> Iterable[Candidates]:
        """Order blocks of candidates, several at once: numpy leaves the other threads alone while it computes."""
        workers = min(len(parts), WORKERS)
        if workers <= 1:
            return map(partial(self._by_head, head), parts)
        with ThreadPoolExecutor(workers, thread_name_prefix="rerank") as pool:
            return list(pool.map(partial(self._by_head, head), parts))

    def _by_head(self, head: ScoringHead, part: Candidates) -> Candidates:
        columns = self.features.columns(part)
        scores = head.score(columns.transpose(1, 2, 0)) - self.held_of(part.rows)
        new = self._new(part.rows)
        if not new.any():
            return part.reordered(scores, STAGE)
        of_first = columns[0] - self.held_of(part.rows)  # z-scores of the first source
        first = np.where(part.rows >= 0, of_first, np.float32(-np.inf))
        first = exchanged(first.astype(np.float32), self._as_new(part, new), new)
        order = np.argsort(np.where(new.any(axis=1, keepdims=True), -first, 0), axis=1, kind="stable")
        placed, scores = (np.take_along_axis(one, order, axis=1) for one in (first, scores))
        new = np.take_along_axis(new, order, axis=1)
        return part.placed(order, placed, STAGE).reordered(scores, STAGE, new)

    def _as_new(self, part: Candidates, new: Mask) -> Vectors:
        """Score candidates as items that nobody has met are asked for, (B, K) float32, where a query has such."""
        scores, lines = np.zeros(part.rows.shape, np.float32), np.flatnonzero(new.any(axis=1))
        some, space = part.take(lines), self.space.for_new_items
        asked = UserBatch.of(some, self.features.usual, self.features.facts.now).liking(space.users)
        of_space = SpaceSource("new items", space, slice(0, space.indexed.shape[1]))
        scores[lines] = of_space.scores(asked, np.maximum(some.rows, 0)) - self.held_of(some.rows)
        return scores

    def _new(self, rows: Rows) -> Mask:
        """Mark what nobody has met and the head does not order."""
        unmet: Mask = self.features.facts.counts.take(rows, mode="clip") == 0
        return unmet & (rows >= 0) & (not self.new_items)

    def _are_new(self, candidates: Candidates) -> bool:
        """Say whether candidates were retrieved as items without interactions, still are such, and have no score."""
        hits = candidates.rows[candidates.rows >= 0]
        return candidates.new_items and not self.new_items and self.space.has_only_new(hits)

    def held_of(self, rows: Rows) -> Vectors:
        """Give what is taken from the scores of items: float32, as many as there are rows, 0 for padding."""
        if self.held is None:
            return np.zeros(rows.shape, np.float32)
        taken: Vectors = np.where(rows >= 0, self.held.take(rows, mode="clip"), np.float32(0))
        return taken

    def ordered_by_head(self, candidates: Candidates) -> Mask:
        """Say which candidates the head orders, (B, K) bool; the others have their place from elsewhere."""
        visiting, returning = self._ordered_by(candidates)
        learned = (visiting | returning)[:, None] & (candidates.rows >= 0)
        return learned & ~self._new(candidates.rows)

    def head_of(self, candidates: Candidates, line: int) -> ScoringHead:
        """Give the head that orders a query, if one does."""
        return self.returning if self.returning is not None and self._ordered_by(candidates)[1][line] else self.head

    def _ordered_by(self, candidates: Candidates) -> tuple[Mask, Mask]:
        """Mark the queries that the head orders, and those that the one for users who come back does."""
        lengths = lengths_of(candidates.histories)
        back = np.full(len(lengths), candidates.idle is not None) | (lengths == 0)
        if self.returning is None and not self.leaves_returning:
            back[:] = False
        return (lengths >= self.fewest) & ~back, back & (self.returning is not None)

    def to_bytes(self) -> bytes:
        """Give all that no other file has, as safetensors: not the space nor the views."""
        kept = tuple(source for source in self.features.sources if not isinstance(source, SpaceSource))
        if unknown := [source.name for source in kept if type(source).__name__ not in _STORED]:
            raise InputError(f"sources {unknown} cannot be stored; only {sorted(_STORED)} can")
        asked: dict[str, Any] = {"fewest": self.fewest, "new_items": self.new_items, "each": self.each}
        asked["leaves_returning"] = self.leaves_returning
        if self.returning is not None:
            asked["returning"] = self.returning.kind
        told = {"head": self.head.kind, **asked, "features": _names(self.features)}
        return _Stored(told, self.head, self.features.facts, kept, self.held, self.returning).to_bytes()

    @classmethod
    def from_bytes(
        cls, data: bytes, space: ItemSpace, views: Mapping[str, Vectors], origins: Rows = NO_ROWS
    ) -> "SecondStage":
        """Read what `to_bytes` gave, for its items and M more.

        Args:
            data: What it gave.
            space: All items as they are served.
            views: The same ways to look at them.
            origins: (M,) int64, for each of the last M the row that had the same item before, or -1.

        Raises:
            DamagedFileError: When it is something else, or of other items.
        """
        with read_as("the second stage", _WAY_OUT):
            stored = _Stored.from_bytes(data)
            stored = stored.carried(origins, np.ones(len(stored.facts.counts) + len(origins), np.bool_))
            known = len(stored.facts.counts)
            if known != len(space.indexed):
                raise DamagedFileError(
                    f"the second stage knows {known} items, the bundle {len(space.indexed)}: fit again"
                )
            with_idle = f"user_{IDLE}" in stored.told["features"]
            features = StageFeatures((*space_sources(space), *stored.sources), views, stored.facts, with_idle)
            if _names(features) != stored.told["features"]:
                raise DamagedFileError(
                    f"the head reads {stored.told['features']}, this bundle has {_names(features)}: fit again"
                )
            fewest = stored.told.get("fewest", 0 if stored.told.get("new_users") else 1)  # as earlier stages say it
            return cls(
                features,
                stored.head,
                space.indexed,
                int(fewest),
                bool(stored.told.get("new_items")),
                int(stored.told.get("each", cls.each)),
                stored.held,
                stored.returning,
                bool(stored.told.get("leaves_returning")),
            )


def exchanged(values: Vectors, scores: Vectors, marked: Mask) -> Vectors:
    """Give what is marked of each line the values that what is marked has, the highest to the highest of the scores.

    >>> values, scores = np.array([[3.0, 2.0, 1.0]]), np.array([[0.1, 0.9, 0.5]])
    >>> exchanged(values, scores, np.array([[True, False, True]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    of_values, of_scores = (
        np.argsort(np.where(marked, -one, np.inf), axis=1, kind="stable") for one in (values, scores)
    )
    found = np.empty_like(values)
    np.put_along_axis(found, of_scores, np.take_along_axis(values, of_values, axis=1), axis=1)
    return found


def carried_over(data: bytes, origins: Rows, rows: Mask) -> bytes:
    """Give a stored stage for other rows: those that it knows and M more, of which some are kept.

    Args:
        data: What `SecondStage.to_bytes` gave for N items.
        origins: (M,) int64, for each row after these the one that had the same item, or -1.
        rows: (N + M,) bool, the rows to keep.
    """
    with read_as("the second stage", _WAY_OUT):
        return _Stored.from_bytes(data).carried(origins, rows).to_bytes()


class _Stored(NamedTuple):
    """What a file holds of a stage."""

    told: dict[str, Any]
    head: ScoringHead
    facts: ItemStatistics
    sources: tuple[Source, ...]
    held: Vectors | None = None
    returning: ScoringHead | None = None

    def carried(self, origins: Rows, rows: Mask) -> "_Stored":
        sources = tuple(source.carried(origins, rows) for source in self.sources)
        held = self.held
        if held is not None:
            _, came = renumbered(origins, rows)
            held = np.where(came >= 0, held[came], np.float32(0))
        return self._replace(facts=self.facts.carried(origins, rows), sources=sources, held=held)

    def to_bytes(self) -> bytes:
        tensors = _prefixed("head", self.head.tensors()) | _prefixed("facts", self.facts.tensors())
        for source in self.sources:
            tensors |= _prefixed(f"source.{source.name}", source.tensors())
        if self.returning is not None:
            tensors |= _prefixed("returning", self.returning.tensors())
        if self.held is not None:
            tensors["held"] = self.held
        sources = [[source.name, type(source).__name__] for source in self.sources]
        return save(tensors, {"stage": json.dumps(self.told | {"sources": sources})})

    @classmethod
    def from_bytes(cls, data: bytes) -> "_Stored":
        told, tensors = metadata_entry(data, "stage"), finite_tensors(data)
        sources = tuple(_STORED[kind](name, _those(tensors, f"source.{name}")) for name, kind in told["sources"])
        head = _HEADS[told["head"]](_those(tensors, "head"))
        facts, held = ItemStatistics.read(_those(tensors, "facts")), tensors.get("held")
        if held is not None and held.shape != facts.counts.shape:
            raise DamagedFileError(
                f"the second stage holds back {held.shape} of {facts.counts.shape} items: {_WAY_OUT}"
            )
        kind = told.get("returning")
        returning = None if kind is None else _HEADS[kind](_those(tensors, "returning"))
        return cls(told, head, facts, sources, held, returning)


def _names(features: StageFeatures) -> list[str]:
    return [str(one) for one in features.features]


def _prefixed(prefix: str, tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    return {f"{prefix}.{name}": np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _those(tensors: dict[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    start = f"{prefix}."
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
