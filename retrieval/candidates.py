"""The one type that flows: retrieval gives it, reranking takes and gives it, evaluation reads it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError, UnknownItemError, examples
from indexing.runtime.arguments import check_array, check_flag, check_kind, check_names, is_whole, shown, shown_number
from retrieval.interactions.learned_from import LearnedFrom

_FIXED = "give (B, K) bool as an array of numpy"


class Hit(NamedTuple):
    """One answer to one query; rank counts from 1, a higher score is better."""

    item_id: str
    score: float
    rank: int


@dataclass(frozen=True, eq=False)
class Candidates:
    """Ranked items for a batch of B queries, best first.

    Attributes:
        queries: (B, D) float32, the query vectors.
        rows: (B, K) int64, rows of the items; -1 pads at the end of a line.
        scores: (B, K) float32, higher is better, never rising along a line; -inf where the row is -1.
        items: The item_ids that the rows point into.
        stage: What ordered them last: ``"retrieve"``, ``"rerank"``, ``"exact"``, ….
        query_ids: B names of the queries; ``"0"``, ``"1"``, … when not given.
        histories: For recommendations, the rows each query's user has seen, oldest first; B empty arrays otherwise.
        weights: For each history how much each of its items was liked; none at all where that is not known.
        times: (B,) int64, when each was asked, in seconds since 1970; None is "after all that was learned from".
        new: (B, R) float32, what each user would ask behaviour with, had they done nothing; None is "what is popular".
        idle: (B,) float32, days between the last that each did and when they ask; None is none.
        among: All that a learned head ordered, where these are the best of it or were ordered by something else since;
            what the head reads of one depends on the others. See `Retriever.explain`.
        learned: For recommendations, what the bundle has learned from: `evaluate` refuses to look for it. None where
            nothing was learned, or nobody knows.
        new_items: Whether the index was searched for items without interactions, as all that a filter left were such;
            no ranker scores them.
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

    def __post_init__(self) -> None:
        self._check_kinds()
        count = len(self.queries)
        if not self.query_ids:
            object.__setattr__(self, "query_ids", tuple(str(i) for i in range(count)))
        if not self.histories:
            object.__setattr__(self, "histories", (np.empty(0, np.int64),) * count)
        if self.rows.shape != self.scores.shape or self.rows.ndim != 2:
            raise ShapeError(f"rows {self.rows.shape} but scores {self.scores.shape}; both must be (B, K)")
        lengths = {"rows": len(self.rows), "query_ids": len(self.query_ids), "histories": len(self.histories)}
        lengths |= {name: len(one) for name in ("times", "new", "idle") if (one := getattr(self, name)) is not None}
        if wrong := {name: length for name, length in lengths.items() if length != count}:
            raise ShapeError(f"{count} queries but {wrong}; one line a query")
        if self.weights and list(map(len, self.weights)) != list(map(len, self.histories)):
            raise ShapeError("weights and histories differ in length; give one weight for each row of each history")
        if self.rows.size and (self.rows.max() >= len(self.items) or self.rows.min() < -1):
            raise ShapeError(f"rows reach {self.rows.max()}, but there are {len(self.items)} items")

    def _check_kinds(self) -> None:
        for name in ("queries", "rows", "scores"):
            if not check_kind(getattr(self, name), np.ndarray, name, "give an array of numpy").ndim:
                raise ShapeError(f"{name} is a single number; give one line a query")
        if self.rows.dtype.kind not in "iu":
            raise InputError(f"rows hold {self.rows.dtype}; give whole numbers")
        check_kind(self.items, ItemIds, "items", "give the ItemIds that the rows point into")
        for name in ("query_ids", "histories", "weights"):
            check_kind(getattr(self, name), tuple, name, "give a tuple, one entry a query")
        for name in ("times", "new", "idle"):
            given = getattr(self, name)
            if given is not None and not check_kind(given, np.ndarray, name, "give an array of numpy, or None").ndim:
                raise ShapeError(f"{name} is a single number; give one line a query")
        check_kind(self.stage, str, "stage", "give the name of what ordered them")
        check_flag(self.new_items, "new_items")
        if self.among is not None:
            require_candidates(self.among, "among")
        if self.learned is not None:
            check_kind(self.learned, LearnedFrom, "learned", "give what a bundle has learned from, or None")

    def __len__(self) -> int:
        return len(self.queries)

    def __getitem__(self, query: int) -> list[Hit]:
        """Give the answers to one query, best first, without padding."""
        return [
            Hit(self.items[row], float(score), rank)
            for rank, (row, score) in enumerate(zip(self.rows[query], self.scores[query], strict=True), start=1)
            if row >= 0
        ]

    def __iter__(self) -> Iterator[list[Hit]]:
        return (self[query] for query in range(len(self)))

    def __repr__(self) -> str:
        hits = np.count_nonzero(self.rows >= 0)
        return f"<{type(self).__name__} {len(self)} queries, {hits} hits, stage {self.stage!r}>"

    def named(self, query_ids: Sequence[str]) -> "Candidates":
        """Give the queries other names."""
        names = tuple(check_names(query_ids, "query_ids"))
        return replace(self, query_ids=names, among=None if self.among is None else self.among.named(names))

    def take(self, lines: Sequence[int] | NDArray[np.int64]) -> "Candidates":
        """Keep some of the queries, in the order given."""
        lines = check_array(lines, "lines", np.int64, "give the positions of queries")
        if lines.ndim != 1 or (lines.size and not -len(self) <= lines.min() <= lines.max() < len(self)):
            raise InputError(f"lines is {shown(lines)}; give positions among {len(self)} queries")
        return replace(
            self,
            queries=self.queries[lines],
            rows=self.rows[lines],
            scores=self.scores[lines],
            query_ids=tuple(self.query_ids[line] for line in lines),
            histories=tuple(self.histories[line] for line in lines),
            weights=tuple(self.weights[line] for line in lines) if self.weights else (),
            times=None if self.times is None else self.times[lines],
            new=None if self.new is None else self.new[lines],
            idle=None if self.idle is None else self.idle[lines],
            among=None if self.among is None else self.among.take(lines),
        )

    def pointing_into(self, items: ItemIds) -> "Candidates":
        """Give the rows that the same items have in another bundle, or in another state of one: these where it is this.

        Rows of hits, of histories and of ``among`` are found by item_id. Queries, scores and weights stay.

        Raises:
            UnknownItemError: When an item is not there.
        """
        if check_kind(items, ItemIds, "items", "give those of a bundle, as retriever.items") is self.items:
            return self
        met = np.zeros(len(self.items) + 1, np.bool_)  # the last is that of padding
        for rows in (self.rows, *self.histories):
            met[rows] = True
        used = np.flatnonzero(met[:-1])
        item_ids = [self.items[row] for row in used.tolist()]
        if gone := [item_id for item_id in item_ids if item_id not in items]:
            raise UnknownItemError(
                f"{len(gone)} of {len(used)} items of these candidates and their histories are not in this bundle, "
                f"e.g. {examples(gone)}: they were found in an earlier state, or in another bundle; ask again, with "
                "the retriever that goes on with the answers"
            )
        numbers = np.full(len(met), -1, np.int64)
        numbers[used] = items.rows(item_ids)
        return self._numbered(numbers, items)

    def _numbered(self, numbers: NDArray[np.int64], items: ItemIds) -> "Candidates":
        """Put (N + 1,) numbers, of each row and of padding, in the place of rows."""
        return replace(
            self,
            rows=numbers[self.rows],
            histories=tuple(numbers[past] for past in self.histories),
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
        return replace(self, rows=self.rows[:, :k], scores=self.scores[:, :k])

    def followed_by(self, more: "Candidates") -> "Candidates":
        """Add to each list what another has for the same query and this one has not, in its order.

        Its scores go on below those of this one, as they are of another kind.
        """
        require_candidates(more, "more")
        if len(more) != len(self):
            raise ShapeError(f"more is of {len(more)} queries, expected {len(self)}")
        lists = []
        for line, later in zip(self.rows, more.rows, strict=True):
            here = line[line >= 0]
            lists.append(np.concatenate([here, later[(later >= 0) & ~np.isin(later, here)]]))
        lengths = np.array([len(one) for one in lists], np.int64)
        place = np.arange(lengths.max(initial=0))
        rows = np.full((len(lists), len(place)), -1, np.int64)
        rows[place < lengths[:, None]] = np.concatenate([np.empty(0, np.int64), *lists])
        own = (self.rows >= 0).sum(axis=1, keepdims=True)
        last = np.where(self.rows >= 0, self.scores, np.inf).min(axis=1, keepdims=True, initial=0)
        below = last - np.arange(1, len(place) + 1, dtype=np.float32)
        scores = np.where(place < lengths[:, None], below, -np.inf).astype(np.float32)
        shared = min(self.rows.shape[1], len(place))
        scores[:, :shared] = np.where(place[:shared] < own, self.scores[:, :shared], scores[:, :shared])
        return replace(self, rows=rows, scores=scores)

    def reordered(self, scores: Vectors, stage: str, fixed: Mask | None = None) -> "Candidates":
        """Order every line by new scores (B, K); equal scores keep their present order, padding stays last.

        Args:
            scores: Higher is better.
            stage: What gave them.
            fixed: (B, K) bool, never of padding: what keeps its place, the others being ordered around it. Its score is
                that of what stands before it then, or after it at the head of a line; a line of nothing else is kept.
        """
        check_kind(scores, np.ndarray, "scores", "give (B, K) numbers as an array of numpy")
        if fixed is not None and check_kind(fixed, np.ndarray, "fixed", _FIXED).shape != self.rows.shape:
            raise ShapeError(f"fixed {fixed.shape} but rows {self.rows.shape}; {_FIXED}")
        if scores.shape != self.rows.shape:
            raise ShapeError(f"scores {scores.shape} but rows {self.rows.shape}; one score a candidate")
        kept = np.where(self.rows >= 0, scores, -np.inf).astype(np.float32)
        if fixed is not None and fixed.any():
            return self._ordered_around(fixed, kept, stage)
        order = np.argsort(-kept, axis=1, kind="stable")
        return self.placed(order, np.take_along_axis(kept, order, axis=1), stage)

    def placed(self, order: NDArray[np.int64], scores: Vectors, stage: str) -> "Candidates":
        """Put each line in an order, (B, K) places, in which these are its scores."""
        order = check_array(order, "order", np.int64, "give (B, K) places")
        if order.shape != self.rows.shape or (order.size and not 0 <= order.min() <= order.max() < order.shape[1]):
            raise ShapeError(f"order is {shown(order)}; give (B, K) places, as rows of {self.rows.shape}")
        return replace(self, rows=np.take_along_axis(self.rows, order, axis=1), scores=scores, stage=stage)

    def _ordered_around(self, fixed: Mask, kept: Vectors, stage: str) -> "Candidates":
        order = np.argsort(np.where(fixed, np.nan, -kept), axis=1, kind="stable")  # what is fixed comes last
        width = np.arange(fixed.shape[1])
        placed = np.empty_like(order)
        placed[~fixed] = order[width < (~fixed).sum(axis=1, keepdims=True)]
        placed[fixed] = np.nonzero(fixed)[1]
        before = np.maximum.accumulate(np.where(fixed, -1, width), axis=1)
        beside = np.where(before < 0, fixed.argmin(axis=1)[:, None], before)
        found = np.take_along_axis(np.take_along_axis(kept, placed, axis=1), beside, axis=1)
        unmoved = (fixed | (self.rows < 0)).all(axis=1, keepdims=True)
        return self.placed(placed, np.where(unmoved, self.scores, found), stage)

    def to_arrow(self) -> pa.Table:
        """Give one line a hit: ``query_id, item_id, rank, score, stage``."""
        query, position = np.nonzero(self.rows >= 0)
        met, item = np.unique(self.rows[query, position], return_inverse=True)  # each name is made once
        return pa.table(
            {
                "query_id": pa.array(self.query_ids, pa.string()).take(pa.array(query)),
                "item_id": pa.array([self.items[row] for row in met.tolist()], pa.string()).take(pa.array(item)),
                "rank": pa.array(position + 1, pa.int64()),
                "score": pa.array(self.scores[query, position], pa.float32()),
                "stage": pa.array([self.stage] * len(query), pa.string()),
            }
        )

    def to_trec(self) -> str:
        """Give a TREC run: ``query_id Q0 item_id rank score stage``, one line a hit."""
        return "".join(
            f"{query_id} Q0 {hit.item_id} {hit.rank} {hit.score:.6f} {self.stage}\n"
            for query_id, hits in zip(self.query_ids, self, strict=True)
            for hit in hits
        )


def require_candidates(value: object, name: str = "candidates") -> None:
    """Check that candidates are some.

    Raises:
        InputError: When they are something else.
    """
    check_kind(value, Candidates, name, "give what a search, recommend or pool found")


def check_lines(count: int, candidates: Candidates, what: str) -> None:
    """Check that there is one line for each row of the items that candidates are of.

    Raises:
        ShapeError: When there are more or fewer.
    """
    if count != (expected := len(candidates.items)):
        raise ShapeError(
            f"{what} of {count} items, but candidates of {expected}; give those of the bundle that the candidates were "
            "found in, one line a row"
        )
