"""From a split to what is asked: for each user of the future a history, and the items to be found."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import InputError, ShapeError
from retrieval.candidates import Candidates
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.histories import histories

_NOTHING: Rows = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Questions:
    """One line a user with something to find, sorted by user_id.

    Attributes:
        items: The catalogue that rows point into.
        query_ids: B names, ``user@split``.
        user_ids: B users.
        histories: B arrays of rows in the past, oldest first; empty for new users.
        weights: B arrays of float32, the weight of each of these.
        relevant: B sets of item_ids that should be found, none empty; also of items that the catalogue lacks.
        left_out: Interactions of the future that ask for nothing, by reason.
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
        """(B,) bool: users without a history."""
        return np.array([not len(history) for history in self.histories], np.bool_)

    def take(self, lines: Sequence[int] | NDArray[np.int64]) -> "Questions":
        """Keep some of the users, in the order given."""
        return replace(
            self,
            query_ids=tuple(self.query_ids[line] for line in lines),
            user_ids=tuple(self.user_ids[line] for line in lines),
            histories=tuple(self.histories[line] for line in lines),
            weights=tuple(self.weights[line] for line in lines),
            relevant=tuple(self.relevant[line] for line in lines),
        )

    def candidates(self, rows: Rows, scores: Vectors, stage: str) -> Candidates:
        """Make candidates of what a recommender gave for these histories."""
        return Candidates(
            np.zeros((len(self), 0), np.float32), rows, scores, self.items, stage, self.query_ids, self.histories
        )


def questions(split: Split, items: ItemIds, *, min_weight: float | None = None) -> Questions:
    """Ask for what each user comes to in the future, and had not come to before.

    Args:
        split: Past and future.
        items: The catalogue.
        min_weight: Only interactions of the future of at least this weight are answers.

    Raises:
        InputError: When nothing is left to be found.
    """
    pasts = {history.user_id: history for history in histories(split.past, items)}
    table = split.future.table
    left_out = {"weighs too little": 0, "in the history already": 0, "asked for already": 0}
    if min_weight is not None:
        asked = table.filter(pc.greater_equal(table["weight"], min_weight))
        left_out["weighs too little"], table = len(table) - len(asked), asked
    seen = {user: {items[row] for row in history.rows.tolist()} for user, history in pasts.items()}
    relevant: dict[str, set[str]] = {}
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        if item in seen.get(user, ()):
            left_out["in the history already"] += 1
        elif item in relevant.setdefault(user, set()):
            left_out["asked for already"] += 1
        else:
            relevant[user].add(item)
    users = sorted(user for user, wanted in relevant.items() if wanted)
    if not users:
        raise InputError(f"nothing of the future of {split} is left to be found: {left_out}")
    return Questions(
        items=items,
        query_ids=tuple(map(split.query_id, users)),
        user_ids=tuple(users),
        histories=tuple(pasts[user].rows if user in pasts else _NOTHING for user in users),
        weights=tuple(pasts[user].weights if user in pasts else np.empty(0, np.float32) for user in users),
        relevant=tuple(frozenset(relevant[user]) for user in users),
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def pooled(parts: Sequence[Candidates]) -> Candidates:
    """Put the candidates of several splits below each other, as if all had been asked at once.

    Raises:
        ShapeError: When they are over different items, differ in length or in stage.
    """
    first = parts[0]
    for part in parts:
        if part.items != first.items or part.rows.shape[1] != first.rows.shape[1] or part.stage != first.stage:
            raise ShapeError(f"{part} and {first} do not belong together; pool lists of one length over the same items")
    return Candidates(
        queries=np.concatenate([part.queries for part in parts]),
        rows=np.concatenate([part.rows for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
        items=first.items,
        stage=first.stage,
        query_ids=tuple(name for part in parts for name in part.query_ids),
        histories=tuple(history for part in parts for history in part.histories),
    )
