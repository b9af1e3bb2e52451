"""What was shown to users, for training the second stage: which of it was taken, and what each candidate counts.

What was taken at a place that is seldom examined would have been taken more often at the top: it counts by its inverse
propensity, clipped (Joachims, Swaminathan, Schnabel: Unbiased Learning-to-Rank with Biased Feedback, WSDM 2017). What
was shown and not taken is a negative, the weaker the less its place is examined.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors
from indexing.catalogue.arrow_values import SECONDS_PER_DAY
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import TrainingError
from retrieval.interactions.histories import History, numbered
from retrieval.interactions.impressions import Impressions
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import known_rows
from retrieval.training.ranker.position_bias import PositionCurve, learn_position_curve

WINDOW = SECONDS_PER_DAY  # an item that is taken later than this after it was shown was found otherwise
MAX_REJECTION = 2.0  # examinations without success that an item counts by, at most


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
        """Say what of the impressions was taken, and learn the curve of positions.

        Raises:
            TrainingError: When the log has no times, no impression is of a known item, or nothing can be learned of
                positions.
        """
        if not interactions.has_times:
            raise TrainingError("the log has no times, so that nobody knows which impressions were taken")
        user_numbers, user_ids = numbered(impressions.table["user_id"])
        item_numbers, item_ids = numbered(impressions.table["item_id"])
        rows = known_rows(item_ids, items)[item_numbers]
        order = np.lexsort((rows, user_numbers))  # stable: each in time order
        order = order[rows[order] >= 0]
        if not len(order):
            raise TrainingError(f"none of {len(rows)} impressions is of an item of the bundle")
        rows, numbers = rows[order], user_numbers[order]
        times = impressions.table["timestamp"].to_numpy()[order]
        positions = impressions.table["position"].to_numpy()[order].astype(np.int64)
        taken = _are_taken((numbers, rows, times), _events(interactions, user_ids, items))
        curve = learn_position_curve(numbers, rows, positions, taken)
        starts = np.searchsorted(numbers, np.arange(len(user_ids) + 1))
        slices = {name: slice(*starts[one : one + 2].tolist()) for one, name in enumerate(user_ids)}
        return cls(slices, rows, times, curve.at(positions), taken, curve)

    def weights(self, candidates: Rows, gains: Vectors, pasts: Sequence[History], wanted: Sequence[History]) -> Vectors:
        """Say what each candidate counts in training: (B, K) float32, 1 where nothing is known.

        What is relevant counts by its inverse propensity, 1 on the average; what was shown after the past and not taken
        counts 1 and the propensities of its positions, at most 3.

        Args:
            candidates: (B, K) int64, -1 pads.
            gains: (B, K) float32, above 0 where it is relevant.
            pasts: What each user had done.
            wanted: What each did next.
        """
        weights = np.ones(candidates.shape, np.float64)
        for query, (past, following) in enumerate(zip(pasts, wanted, strict=True)):
            if (part := self.users.get(past.user_id or following.user_id)) is None or not len(following):
                continue
            start = int(past.timestamps[-1]) if len(past) else np.iinfo(np.int64).min
            for rows, counts in (self._rejected(part, following, start), self._propensities(part, following)):
                order = np.argsort(rows)
                places = np.searchsorted(rows[order], candidates[query])
                found = places < len(rows)
                found[found] = rows[order][places[found]] == candidates[query][found]
                weights[query, found] = counts[order][places[found]]
        relevant = gains > 0
        if relevant.any():
            weights[relevant] /= weights[relevant].mean()
        return weights.astype(np.float32)

    def gains(self, following: History, min_relevance: float) -> dict[int, float]:
        """Give the inverse propensity of each row that a user liked; 1 for what was not shown before it was taken."""
        gains = dict.fromkeys(following.liked(min_relevance).tolist(), 1.0)
        if (part := self.users.get(following.user_id)) is not None:
            rows, counts = self._propensities(part, following)
            gains |= {row: count for row, count in zip(rows.tolist(), counts.tolist(), strict=True) if row in gains}
        return gains

    def _rejected(self, part: slice, following: History, start: int) -> tuple[Rows, NDArray[np.float64]]:
        """Give what was shown and not taken between the past and the last of what follows, and what it counts."""
        rows, times = self.rows[part], self.times[part]
        mask = (times > start) & (times <= following.timestamps[-1]) & ~np.isin(rows, following.rows)
        different, inverse = np.unique(rows[mask], return_inverse=True)
        return different, 1 + np.minimum(np.bincount(inverse, self.propensities[part][mask]), MAX_REJECTION)

    def _propensities(self, part: slice, following: History) -> tuple[Rows, NDArray[np.float64]]:
        """Give what was shown and then taken, and the inverse propensity of its position."""
        rows, times, taken = self.rows[part], self.times[part], self.taken[part]
        found: dict[int, float] = {}
        for row, time in zip(following.rows.tolist(), following.timestamps.tolist(), strict=True):
            places = np.flatnonzero((rows == row) & taken & (times <= time) & (times >= time - WINDOW))
            if len(places):
                found[row] = 1 / float(self.propensities[part][places[-1]])
        return np.array(list(found), np.int64), np.array(list(found.values()))


def _events(interactions: Interactions, user_ids: list[str], items: ItemIds) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """Give the users, items and times of the interactions of these users."""
    numbers = {name: number for number, name in enumerate(user_ids)}
    user_codes, names = numbered(interactions.table["user_id"])
    users = np.array([numbers.get(name, -1) for name in names], np.int64)[user_codes]
    item_codes, item_ids = numbered(interactions.table["item_id"])
    rows = known_rows(item_ids, items)[item_codes]
    kept = (users >= 0) & (rows >= 0)
    return users[kept], rows[kept], interactions.table["timestamp"].to_numpy()[kept]


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
