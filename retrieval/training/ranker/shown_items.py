"""Impressions for training the second stage: which were taken, and the weight of each candidate.

An item that was taken at a position that is seldom examined is weighted by its clipped inverse propensity (Joachims,
Swaminathan, Schnabel: Unbiased Learning-to-Rank with Biased Feedback, WSDM 2017). An item that was shown and not taken
is a negative, with a smaller weight at positions that are seldom examined.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import TrainingError
from retrieval.interactions.histories import History, numbered
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import known_rows
from retrieval.training.ranker.position_bias import PositionCurve, fit_position_curve

WINDOW = SECONDS_PER_DAY  # an interaction later than this after an impression is not its result
MAX_REJECTION = 2.0  # maximum of the summed propensities of an item that was not taken


@dataclass(frozen=True, eq=False)
class ShownItems:
    """M impressions of items of a bundle, sorted by user, then item, then time.

    Attributes:
        users: For each user the slice of the impressions.
        rows: (M,) int64, the items.
        times: (M,) int64, seconds since 1970.
        propensities: (M,) float64, of the positions.
        taken: (M,) bool, whether the item was taken within a day, before it was shown again.
        curve: Of the positions.
    """

    users: dict[str, slice]
    rows: Rows
    times: NDArray[np.int64]
    propensities: NDArray[np.float64]
    taken: Mask
    curve: PositionCurve

    @classmethod
    def of(cls, impressions: Impressions, interactions: Interactions, items: ItemIds) -> "ShownItems":
        """Match impressions with interactions, and fit the curve of positions.

        Raises:
            TrainingError: When the log has no times, no impression is of a known item or user, or no
                curve can be fitted.
        """
        if not interactions.has_times:
            raise TrainingError("the log has no times, so it is unknown which impressions were taken")
        user_numbers, user_ids = numbered(impressions.table["user_id"])
        item_numbers, item_ids = numbered(impressions.table["item_id"])
        rows = known_rows(item_ids, items)[item_numbers]
        order = np.lexsort((rows, user_numbers))  # stable: each in time order
        order = order[rows[order] >= 0]
        if not len(order):
            raise TrainingError(f"none of {len(rows)} impressions is of an item of the bundle")
        in_log = interactions.table["user_id"]
        if len(in_log) and not pc.any(pc.is_in(pa.array(user_ids, in_log.type), pc.unique(in_log))).as_py():
            raise TrainingError(
                f"none of the {len(user_ids)} users of the impressions, as {user_ids[0]!r}, is in the log, which names "
                f"users as {in_log[0].as_py()!r}"
            )
        rows, numbers = rows[order], user_numbers[order]
        times = impressions.table["timestamp"].to_numpy()[order]
        positions = impressions.table["position"].to_numpy()[order].astype(np.int64)
        taken = _are_taken((numbers, rows, times), _events(interactions, user_ids, items))
        curve = fit_position_curve(numbers, rows, positions, taken)
        starts = np.searchsorted(numbers, np.arange(len(user_ids) + 1))
        slices = {name: slice(*starts[number : number + 2].tolist()) for number, name in enumerate(user_ids)}
        return cls(slices, rows, times, curve.at(positions), taken, curve)

    def weights(
        self, candidates: Rows, gains: Vectors, histories: Sequence[History], targets: Sequence[History]
    ) -> Vectors:
        """Give the weight of each candidate in training: (B, K) float32, 1 without impressions.

        A relevant candidate has its inverse propensity, 1 on average. One that was shown after the history and not
        taken has 1 plus the propensities of its positions, at most 3.

        Args:
            candidates: (B, K) int64, -1 pads.
            gains: (B, K) float32, above 0 where relevant.
            histories: The history of each user.
            targets: The next interactions of each.
        """
        weights = np.ones(candidates.shape, np.float64)
        for query, (history, following) in enumerate(zip(histories, targets, strict=True)):
            if (part := self.users.get(history.user_id or following.user_id)) is None or not len(following):
                continue
            start = int(history.timestamps[-1]) if len(history) else np.iinfo(np.int64).min
            for rows, counts in (self._rejected(part, following, start), self._propensities(part, following)):
                order = np.argsort(rows)
                positions = np.searchsorted(rows[order], candidates[query])
                matched = positions < len(rows)
                matched[matched] = rows[order][positions[matched]] == candidates[query][matched]
                weights[query, matched] = counts[order][positions[matched]]
        relevant = gains > 0
        if relevant.any():
            weights[relevant] /= weights[relevant].mean()
        return weights.astype(np.float32)

    def gains(self, following: History, min_relevance: float) -> dict[int, float]:
        """Give the inverse propensity of each liked row; 1 for an item that was not shown before."""
        gains = dict.fromkeys(following.liked(min_relevance).tolist(), 1.0)
        if (part := self.users.get(following.user_id)) is not None:
            rows, counts = self._propensities(part, following)
            gains |= {row: count for row, count in zip(rows.tolist(), counts.tolist(), strict=True) if row in gains}
        return gains

    def _rejected(self, part: slice, following: History, start: int) -> tuple[Rows, NDArray[np.float64]]:
        """Give the items that were shown and not taken after the history, up to the last target, and their weights."""
        rows, times = self.rows[part], self.times[part]
        mask = (times > start) & (times <= following.timestamps[-1]) & ~np.isin(rows, following.rows)
        distinct, inverse = np.unique(rows[mask], return_inverse=True)
        return distinct, 1 + np.minimum(np.bincount(inverse, self.propensities[part][mask]), MAX_REJECTION)

    def _propensities(self, part: slice, following: History) -> tuple[Rows, NDArray[np.float64]]:
        """Give the items that were shown and then taken, and the inverse propensity of their positions."""
        rows, times, taken = self.rows[part], self.times[part], self.taken[part]
        matched: dict[int, float] = {}
        for row, time in zip(following.rows.tolist(), following.timestamps.tolist(), strict=True):
            positions = np.flatnonzero((rows == row) & taken & (times <= time) & (times >= time - WINDOW))
            if len(positions):
                matched[row] = 1 / float(self.propensities[part][positions[-1]])
        return np.array(list(matched), np.int64), np.array(list(matched.values()))


def _events(interactions: Interactions, user_ids: list[str], items: ItemIds) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """Give the users, items and times of the interactions of these users."""
    numbers = {name: number for number, name in enumerate(user_ids)}
    user_codes, names = numbered(interactions.table["user_id"])
    users = np.array([numbers.get(name, -1) for name in names], np.int64)[user_codes]
    item_codes, item_ids = numbered(interactions.table["item_id"])
    rows = known_rows(item_ids, items)[item_codes]
    mask = (users >= 0) & (rows >= 0)
    return users[mask], rows[mask], interactions.table["timestamp"].to_numpy()[mask]


def _are_taken(shown: tuple[Rows, Rows, NDArray[np.int64]], events: tuple[Rows, Rows, NDArray[np.int64]]) -> Mask:
    """Say which impressions were taken: an event is of the last impression of its user and item within a day.

    Args:
        shown: Users, items and times of M impressions, sorted by these.
        events: The same of interactions.
    """
    users, rows, times = (np.concatenate(pair) for pair in zip(shown, events, strict=True))
    count = len(shown[0])
    is_event = np.arange(len(users)) >= count
    order = np.lexsort((is_event, times, rows, users))
    last = np.maximum.accumulate(np.where(is_event[order], -1, np.arange(len(order))))
    events_at = np.flatnonzero(is_event[order] & (last >= 0))
    event, impression = order[events_at], order[last[events_at]]
    same = (users[event] == users[impression]) & (rows[event] == rows[impression])
    taken = np.zeros(count, np.bool_)
    taken[impression[same & (times[event] - times[impression] <= WINDOW)]] = True
    return taken
