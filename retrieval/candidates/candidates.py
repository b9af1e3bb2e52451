"""Candidates: ranked items for a batch of queries, passed from retrieval to reranking and evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError, UnknownItemError, examples, import_extra, require_extra
from indexing.runtime.arguments import check_array, check_flag, check_kind, check_names, is_whole, shown, shown_number
from retrieval.candidates.continued import continued_scores
from retrieval.candidates.folded import check_position, ids_in, place_folded, with_new_rows
from retrieval.candidates.sources import (
    SOURCES,
    UNKNOWN,
    Codes,
    Source,
    check_codes,
    codes_for,
    sources_of,
    stage_of_list,
)
from retrieval.candidates.tables import hits_table, trec_run
from retrieval.interactions.context import Context
from retrieval.interactions.learned_from import LearnedFrom

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

_BY_QUERY = ("times", "new", "idle", "context")
_OF_REQUEST: Mapping[str, tuple[Any, str]] = {
    "context": (Context, "give a Context, or None"),
    "learned": (LearnedFrom, "give the LearnedFrom of a bundle, or None"),
    "min_relevance": (float | int, "give a number, or None"),
}
_FIXED = "give (B, K) bool as an array of numpy"


class Hit(NamedTuple):
    """An item found for a query; ranks count from 1, a higher score is better.

    ``source`` is where it comes from, one of `SOURCES`; None where that is not known.
    """

    item_id: str
    score: float
    rank: int
    source: Source | None = None


@dataclass(frozen=True, eq=False)
class Candidates:
    """Ranked items for a batch of B queries, best first.

    Attributes:
        queries: (B, D) float32, the query vectors.
        rows: (B, K) int64, rows of the items; -1 pads the end of each row.
        scores: (B, K) float32, in descending order; -inf where ``rows`` is -1.
        items: The item_ids that the rows point into.
        stage: The stage that ordered them last: ``"retrieve"``, ``"rerank"``, ``"exact"``, …; see also
            `stage_of`, as a head may order some of the lists alone.
        query_ids: B names of the queries; ``"0"``, ``"1"``, … when not given.
        histories: For recommendations, the rows in the history of each user, oldest first; B empty arrays otherwise.
        weights: For each history the weights of its items; empty where they are not known.
        times: (B,) int64, the time of each query, in seconds since 1970; None is after all training data.
        new: (B, R) float32, the behaviour query of each user for an empty history; None is popularity.
        idle: (B,) float32, days between the last interaction of each user and the query; None during a visit.
        among: All candidates that the ranker scored, where these are the top of them or were reordered since: the
            features of one depend on the others. See `Retriever.explain`.
        learned: For recommendations, the interactions that the bundle has learned from, which `evaluate` refuses as
            targets. None where nothing was learned, or it is not known.
        new_items: Whether the index was searched for items without interactions, as all that a filter left were such;
            no ranker scores them.
        sources: (B, K) int8, where each hit comes from, as its position in `SOURCES`; -1 for padding. None where that
            is not known, as of candidates of a file.
        folded: For each query the rows that each hit stands for, by its row; none at all where nothing was collapsed.
            See `Retriever.collapse`.
        context: What held at each query, for the second stage; None where nothing is known of it.
        min_relevance: Interactions of a smaller weight were dislikes in the request; None is as the bundle has learned.
    """

    queries: Vectors
    rows: Rows
    scores: Vectors
    items: ItemIds
    stage: str
    query_ids: tuple[str, ...] = ()
    histories: tuple[Rows, ...] = ()
    weights: tuple[Vectors, ...] = ()
    times: NDArray[np.int64] | None = None
    new: Vectors | None = None
    idle: Vectors | None = None
    among: "Candidates | None" = None
    learned: LearnedFrom | None = None
    new_items: bool = False
    sources: Codes | None = None
    folded: tuple[Mapping[int, Rows], ...] = ()
    context: Context | None = None
    min_relevance: float | None = None

    def __post_init__(self) -> None:
        self._check_kinds()
        num_queries = len(self.queries)
        if not self.query_ids:
            object.__setattr__(self, "query_ids", tuple(str(i) for i in range(num_queries)))
        if not self.histories:
            object.__setattr__(self, "histories", (np.empty(0, np.int64),) * num_queries)
        if self.rows.shape != self.scores.shape or self.rows.ndim != 2:
            raise ShapeError(f"rows {self.rows.shape} but scores {self.scores.shape}; both must be (B, K)")
        lengths = {"rows": len(self.rows), "query_ids": len(self.query_ids), "histories": len(self.histories)}
        lengths |= {name: len(array) for name in _BY_QUERY if (array := getattr(self, name)) is not None}
        if mismatched := {name: length for name, length in lengths.items() if length != num_queries}:
            raise ShapeError(f"{num_queries} queries but {mismatched}; give one row for each query")
        if self.weights and list(map(len, self.weights)) != list(map(len, self.histories)):
            raise ShapeError("weights and histories differ in length; give one weight for each row of each history")
        if self.rows.size and (self.rows.max() >= len(self.items) or self.rows.min() < -1):
            raise ShapeError(f"rows reach {self.rows.max()}, but there are {len(self.items)} items")

        if self.sources is not None:
            check_codes(self.sources, self.rows)

    def _check_kinds(self) -> None:
        for name in ("queries", "rows", "scores"):
            if not check_kind(getattr(self, name), np.ndarray, name, "give an array of numpy").ndim:
                raise ShapeError(f"{name} is a single number; give one row for each query")
        if self.rows.dtype.kind not in "iu":
            raise InputError(f"rows hold {self.rows.dtype}; give whole numbers")
        check_kind(self.items, ItemIds, "items", "give the ItemIds that the rows point into")
        for name in ("query_ids", "histories", "weights", "folded"):
            check_kind(getattr(self, name), tuple, name, "give a tuple, one entry a query")
        for name in ("times", "new", "idle"):
            array = getattr(self, name)
            if array is not None and not check_kind(array, np.ndarray, name, "give an array of numpy, or None").ndim:
                raise ShapeError(f"{name} is a single number; give one row for each query")
        check_kind(self.stage, str, "stage", "give the name of the stage")
        check_flag(self.new_items, "new_items")
        if self.among is not None:
            require_candidates(self.among, "among")
        for name, (kind, hint) in _OF_REQUEST.items():
            if getattr(self, name) is not None:
                check_kind(getattr(self, name), kind, name, hint)

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, query: int) -> list[Hit]:
        """Give the hits of one query, best first, without padding."""
        codes = np.full(self.rows.shape[1], -1) if self.sources is None else self.sources[query]
        return [
            Hit(self.items[row], float(score), rank, SOURCES[code] if code >= 0 else None)
            for rank, (row, score, code) in enumerate(
                zip(self.rows[query], self.scores[query], codes.tolist(), strict=True), start=1
            )
            if row >= 0
        ]

    def __iter__(self) -> Iterator[list[Hit]]:
        return (self[query] for query in range(len(self)))

    def __repr__(self) -> str:
        hits = np.count_nonzero(self.rows >= 0)
        return f"<{type(self).__name__} {len(self)} queries, {hits} hits, stage {self.stage!r}>"

    def named(self, query_ids: Sequence[str]) -> "Candidates":
        """Rename the queries."""
        names = tuple(check_names(query_ids, "query_ids"))
        return replace(self, query_ids=names, among=None if self.among is None else self.among.named(names))

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> "Candidates":
        """Keep the queries at some positions, in that order."""
        positions = check_array(positions, "positions", np.int64, "give the positions of queries")
        if positions.ndim != 1 or (positions.size and not -len(self) <= positions.min() <= positions.max() < len(self)):
            raise InputError(f"positions is {shown(positions)}; give positions among {len(self)} queries")
        return replace(
            self,
            queries=self.queries[positions],
            rows=self.rows[positions],
            scores=self.scores[positions],
            query_ids=tuple(self.query_ids[position] for position in positions),
            histories=tuple(self.histories[position] for position in positions),
            weights=tuple(self.weights[position] for position in positions) if self.weights else (),
            times=None if self.times is None else self.times[positions],
            new=None if self.new is None else self.new[positions],
            idle=None if self.idle is None else self.idle[positions],
            context=None if self.context is None else self.context[positions],
            sources=None if self.sources is None else self.sources[positions],
            folded=tuple(self.folded[position] for position in positions) if self.folded else (),
            among=None if self.among is None else self.among.take(positions),
        )

    def pointing_into(self, items: ItemIds) -> "Candidates":
        """Map all rows to those of the same items in another bundle or state; itself where they are the same.

        Rows of hits, of histories and of ``among`` are looked up by item_id. Queries, scores and weights stay.

        Raises:
            UnknownItemError: When an item is not among ``items``.
        """
        if check_kind(items, ItemIds, "items", "give the ItemIds of a bundle, as retriever.items") is self.items:
            return self
        is_used = np.zeros(len(self.items) + 1, np.bool_)  # the last entry stands for padding
        for rows in (self.rows, *self.histories):
            is_used[rows] = True
        used = np.flatnonzero(is_used[:-1])
        item_ids = [self.items[row] for row in used.tolist()]
        if missing := [item_id for item_id in item_ids if item_id not in items]:
            raise UnknownItemError(
                f"{len(missing)} of {len(used)} items of these candidates and their histories are not in this bundle, "
                f"e.g. {examples(missing)}: they were found in an earlier state, or in another bundle; search or "
                "recommend again with the same retriever"
            )
        new_rows = np.full(len(is_used), -1, np.int64)
        new_rows[used] = items.rows(item_ids)
        place_folded(self.folded, new_rows, self.items, items)
        return self._numbered(new_rows, items)

    def _numbered(self, new_rows: NDArray[np.int64], items: ItemIds) -> "Candidates":
        """Replace each row by its new row, given as (N + 1,) int64, the last for padding."""
        return replace(
            self,
            rows=new_rows[self.rows],
            histories=tuple(new_rows[history] for history in self.histories),
            folded=tuple(with_new_rows(folded, new_rows) for folded in self.folded),
            among=None if self.among is None else self.among.pointing_into(items),
            items=items,
        )

    def top(self, k: int) -> "Candidates":
        """Keep the best k of each query.

        Raises:
            InputError: When k is no whole number of at least 0.
        """
        if not is_whole(k, 0):
            raise InputError(
                f"k is {shown_number(k)}; give how many answers to keep of each query, a whole number of at least 0"
            )
        sources = None if self.sources is None else self.sources[:, :k]
        return replace(self, rows=self.rows[:, :k], scores=self.scores[:, :k], sources=sources)

    def coming_from(self, source: Source) -> "Candidates":
        """Name the source of all hits."""
        return replace(self, sources=codes_for(self.rows, source))

    def followed_by(self, more: "Candidates") -> "Candidates":
        """Append to each list the further hits of ``more`` for the same query, in their order.

        Theirs are on another scale, and are replaced by scores just below the lowest one; see `continued_scores`.
        """
        require_candidates(more, "more")
        if len(more) != len(self):
            raise ShapeError(f"more has {len(more)} queries, expected {len(self)}")
        lists = []
        for own_rows, more_rows in zip(self.rows, more.rows, strict=True):
            present = own_rows[own_rows >= 0]
            lists.append(np.concatenate([present, more_rows[(more_rows >= 0) & ~np.isin(more_rows, present)]]))
        lengths = np.array([len(row_list) for row_list in lists], np.int64)
        position = np.arange(lengths.max(initial=0))
        rows = np.full((len(lists), len(position)), -1, np.int64)
        rows[position < lengths[:, None]] = np.concatenate([np.empty(0, np.int64), *lists])
        scores = continued_scores(rows, self.scores, (self.rows >= 0).sum(axis=1))
        return replace(self, rows=rows, scores=scores, sources=self._sources_with(more, rows))

    def _sources_with(self, more: "Candidates", rows: Rows) -> Codes | None:
        """Give the sources of hits of these candidates and of others, whose hits follow."""
        if self.sources is None and more.sources is None:
            return None
        own, other = (sources_of(rows, found.rows, found.sources) for found in (self, more))
        is_own = np.arange(rows.shape[1]) < (self.rows >= 0).sum(axis=1, keepdims=True)
        codes: Codes = np.where(is_own, UNKNOWN if own is None else own, UNKNOWN if other is None else other)
        return codes.astype(np.int8)

    def reordered(self, scores: Vectors, stage: str, fixed: Mask | None = None) -> "Candidates":
        """Sort each list by new scores (B, K); equal scores keep their present order, padding stays last.

        Args:
            scores: Higher is better.
            stage: The name of what gave the scores.
            fixed: (B, K) bool, False for padding: candidates that keep their position, while the others are sorted
                around them. Each takes the score of the one before it, or after it at the top of a list; a list in
                which all are fixed is unchanged.
        """
        check_kind(scores, np.ndarray, "scores", "give (B, K) numbers as an array of numpy")
        if fixed is not None and check_kind(fixed, np.ndarray, "fixed", _FIXED).shape != self.rows.shape:
            raise ShapeError(f"fixed {fixed.shape} but rows {self.rows.shape}; {_FIXED}")
        if scores.shape != self.rows.shape:
            raise ShapeError(f"scores {scores.shape} but rows {self.rows.shape}; give one score for each candidate")
        masked_scores = np.where(self.rows >= 0, scores, -np.inf).astype(np.float32)
        if fixed is not None and fixed.any():
            return self._ordered_around(fixed, masked_scores, stage)
        order = np.argsort(-masked_scores, axis=1, kind="stable")
        return self.placed(order, np.take_along_axis(masked_scores, order, axis=1), stage)

    def placed(self, order: NDArray[np.int64], scores: Vectors, stage: str) -> "Candidates":
        """Put each list in an order, (B, K) positions, with the scores in that order."""
        order = check_array(order, "order", np.int64, "give (B, K) positions")
        if order.shape != self.rows.shape or (order.size and not 0 <= order.min() <= order.max() < order.shape[1]):
            raise ShapeError(f"order is {shown(order)}; give (B, K) positions, as rows of {self.rows.shape}")
        sources = None if self.sources is None else np.take_along_axis(self.sources, order, axis=1)
        rows = np.take_along_axis(self.rows, order, axis=1)
        return replace(self, rows=rows, scores=scores, stage=stage, sources=sources)

    def _ordered_around(self, fixed: Mask, masked_scores: Vectors, stage: str) -> "Candidates":
        order = np.argsort(np.where(fixed, np.nan, -masked_scores), axis=1, kind="stable")  # fixed candidates come last
        positions = np.arange(fixed.shape[1])
        new_order = np.empty_like(order)
        new_order[~fixed] = order[positions < (~fixed).sum(axis=1, keepdims=True)]
        new_order[fixed] = np.nonzero(fixed)[1]
        last_free = np.maximum.accumulate(np.where(fixed, -1, positions), axis=1)
        neighbour = np.where(last_free < 0, fixed.argmin(axis=1)[:, None], last_free)
        new_scores = np.take_along_axis(np.take_along_axis(masked_scores, new_order, axis=1), neighbour, axis=1)
        unmoved = (fixed | (self.rows < 0)).all(axis=1, keepdims=True)
        return self.placed(new_order, np.where(unmoved, self.scores, new_scores), stage)

    def to_arrow(self) -> pa.Table:
        """Give a table with one row for each hit: ``query_id, item_id, rank, score, stage, source``.

        The source is null where it is not known. Where duplicates were collapsed, ``folded`` lists the item_ids that
        the hit stands for.
        """
        return hits_table(self)

    def stage_of(self, query: int) -> str:
        """Give the stage that ordered one list: ``"exact"`` where no head did, as for a short history.

        Raises:
            InputError: When there is no such query.
        """
        check_position(query, len(self))
        by_head = None if self.among is None or self.among.sources is None else self.among.sources[query]
        return self.stage if by_head is None else stage_of_list(self.stage, by_head)

    def folded_ids(self, query: int) -> list[list[str]]:
        """Give the item_ids that each hit of a query stands for, in the order of the hits.

        Raises:
            InputError: When there is no such query.
        """
        check_position(query, len(self))
        rows = self.rows[query]
        return ids_in(self.folded[query] if self.folded else {}, rows[rows >= 0], self.items)

    def to_pandas(self) -> "pd.DataFrame":
        """Give the table of `to_arrow` as a pandas DataFrame.

        Raises:
            MissingExtraError: When pandas is not installed.
        """
        require_extra("pandas", "pandas")
        return self.to_arrow().to_pandas()

    def to_polars(self) -> "pl.DataFrame":
        """Give the table of `to_arrow` as a polars DataFrame.

        Raises:
            MissingExtraError: When polars is not installed.
        """
        frame: pl.DataFrame = import_extra("polars", "polars").from_arrow(self.to_arrow())
        return frame

    def to_trec(self) -> str:
        """Give a TREC run: ``query_id Q0 item_id rank score stage``, one line for each hit."""
        return trec_run(self)


def require_candidates(value: object, name: str = "candidates") -> None:
    """Check that a value is `Candidates`.

    Raises:
        InputError: When it is something else.
    """
    check_kind(value, Candidates, name, "give the result of a search, recommend or pool")


def check_num_rows(count: int, candidates: Candidates, name: str) -> None:
    """Check that there is one value for each item that the candidates may point to.

    Raises:
        ShapeError: When there are more or fewer.
    """
    if count != (expected := len(candidates.items)):
        raise ShapeError(
            f"{name} of {count} items, but candidates of {expected}; give those of the bundle that the candidates were "
            "found in, one for each row"
        )
