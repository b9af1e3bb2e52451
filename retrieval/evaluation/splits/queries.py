"""Evaluation queries of a split: a history and the relevant items of each user of the future part."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.candidates.sources import have_same_stage, joined_stage
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.histories import histories

_NOTHING: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class EvaluationQueries:
    """The users with relevant items, sorted by user_id.

    Attributes:
        items: The catalogue that rows refer to.
        query_ids: B ids, ``user@split``.
        user_ids: B user ids.
        histories: B arrays of rows in the past, oldest first; empty for new users.
        weights: B arrays of float32, the weights of the histories.
        relevant: B sets of relevant item_ids, none empty; includes items that the catalogue lacks.
        left_out: Number of interactions of the future that are not relevant, by reason.
    """

    items: ItemIds
    query_ids: tuple[str, ...]
    user_ids: tuple[str, ...]
    histories: tuple[Rows, ...]
    weights: tuple[Vectors, ...]
    relevant: tuple[frozenset[str], ...]
    left_out: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.query_ids)

    @property
    def new(self) -> Mask:
        """(B,) bool, users without a history."""
        return np.array([not len(history) for history in self.histories], np.bool_)

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> "EvaluationQueries":
        """Return the queries at these positions, in their order."""
        return replace(
            self,
            query_ids=tuple(self.query_ids[position] for position in positions),
            user_ids=tuple(self.user_ids[position] for position in positions),
            histories=tuple(self.histories[position] for position in positions),
            weights=tuple(self.weights[position] for position in positions),
            relevant=tuple(self.relevant[position] for position in positions),
        )

    def candidates(self, rows: Rows, scores: Vectors, stage: str) -> Candidates:
        """Return a recommender's ranked rows for these histories as candidates."""
        return Candidates(
            np.zeros((len(self), 0), np.float32), rows, scores, self.items, stage, self.query_ids, self.histories
        )


def evaluation_queries(split: Split, items: ItemIds, *, min_weight: float | None = None) -> EvaluationQueries:
    """Make the queries of a split: relevant are the items of a user's future that are not in the user's past.

    Args:
        split: The split.
        items: The catalogue.
        min_weight: Only items with at least this weight in the future are relevant.

    Raises:
        InputError: If no user has relevant items.
    """
    past = {history.user_id: history for history in histories(split.past, items)}
    table = split.future.table
    left_out = {"weighs too little": 0, "in the history already": 0, "asked for already": 0}
    if min_weight is not None:
        at_least_min_weight = table.filter(pc.greater_equal(table["weight"], min_weight))
        left_out["weighs too little"], table = len(table) - len(at_least_min_weight), at_least_min_weight
    seen = {user: {items[row] for row in history.rows.tolist()} for user, history in past.items()}
    relevant: dict[str, set[str]] = {}
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        if item in seen.get(user, ()):
            left_out["in the history already"] += 1
        elif item in relevant.setdefault(user, set()):
            left_out["asked for already"] += 1
        else:
            relevant[user].add(item)
    users = sorted(user for user, item_ids in relevant.items() if item_ids)
    if not users:
        raise InputError(f"no user of {split} has relevant items; left out: {left_out}")
    return EvaluationQueries(
        items=items,
        query_ids=tuple(map(split.query_id, users)),
        user_ids=tuple(users),
        histories=tuple(past[user].rows if user in past else _NOTHING for user in users),
        weights=tuple(past[user].weights if user in past else np.empty(0, np.float32) for user in users),
        relevant=tuple(frozenset(relevant[user]) for user in users),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def pooled(parts: Sequence[Candidates]) -> Candidates:
    """Concatenate the candidates of several splits.

    Raises:
        ShapeError: If they differ in items, list length or stage.
    """
    first = parts[0]
    stage = joined_stage([part.stage for part in parts])
    for part in parts:
        is_alike = part.rows.shape[1] == first.rows.shape[1] and have_same_stage(part.stage, first.stage)
        if part.items != first.items or not is_alike:
            raise ShapeError(f"{part} and {first} do not belong together; pool lists of one length over the same items")
    return Candidates(
        queries=np.concatenate([part.queries for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        items=first.items,
        stage=stage,
        query_ids=tuple(name for part in parts for name in part.query_ids),
        histories=tuple(history for part in parts for history in part.histories),
    )
