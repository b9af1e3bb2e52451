"""Calibrated lists: who watches 70 % drama and 30 % comedy gets a list of about these shares.

Source: Steck 2018, "Calibrated recommendations".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from retrieval.candidates import Candidates, check_num_rows
from retrieval.models.features.attribute_values import Attribute
from retrieval.models.user_model import UserModel
from retrieval.postprocess.diversify.greedy import check, relevance

SMOOTHING = 0.01


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Gain: what the item adds to (1 - strength) * relevance of the list - strength * its KL divergence.

    The divergence is that of `retrieval.evaluation.beyond_accuracy.calibration`, sum of p ln(p / q'),
    q' = .99 q + .01 p, but that p weighs recent items of the history more, as the user model does. Items that were
    disliked in the request of the candidates are no part of the history. A list without values has q = 0. Without a
    history, or one without values, relevance alone counts.

    Attributes:
        attribute: The values of each row.
        strength: From 0, relevance alone, to 1, calibration alone.
        sharpness: The exponent of relevance; see `relevance`.
        users: Weighs the history.
    """

    attribute: Attribute
    strength: float = 0.3
    sharpness: float = 1.0
    users: UserModel = UserModel()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        check(self.strength, self.sharpness)

    @property
    def width(self) -> int:
        """How many numbers are held for each candidate."""
        return 3 * max(1, len(self.attribute.values))

    def begin(self, candidates: Candidates, k: int) -> "_Shares":  # noqa: ARG002
        """Begin lists."""
        check_num_rows(len(self.attribute), candidates, "an attribute")
        users = self.users.liking(candidates.min_relevance)
        histories, _ = users.liked_items(candidates.histories, candidates.weights or None)
        targets = history_shares(self.attribute, histories, users)
        known = np.flatnonzero(targets.any(axis=0))  # what no history has adds nothing to the sum
        candidate_shares = self.attribute.alone(candidates.rows)
        has = np.asarray((candidate_shares > 0).any(axis=2), np.bool_)
        return _Shares(
            candidate_shares[:, :, known],
            has,
            targets[:, known],
            (relevance(candidates, self.sharpness), self.strength),
        )


def history_shares(attribute: Attribute, histories: Sequence[Rows], users: UserModel) -> NDArray[np.float64]:
    """Give the share of each value in each history, recent items counting more: (B, V) float64."""
    recent = [history[-users.longest :] for history in histories]
    return attribute.shares(recent, [users.weights(len(history)) for history in recent])


class _Shares:
    """The sum of the shares of what was picked.

    Args:
        candidate_shares: (b, K, V) float64, the shares of each candidate.
        has: (b, K) bool, which candidates have any value, also one that no history has.
        targets: (b, V) float64, the shares of the history.
        relevance_and_strength: Relevance, (b, K) float64, and the strength as above.
    """

    def __init__(
        self,
        candidate_shares: NDArray[np.float64],
        has: Mask,
        targets: NDArray[np.float64],
        relevance_and_strength: tuple[NDArray[np.float64], float],
    ) -> None:
        relevant, strength = relevance_and_strength
        self._candidate_shares, self._has, self._targets = candidate_shares, has, targets
        self._relevant, self._strength = (1 - strength) * relevant, strength
        self._sum, self._count = np.zeros(targets.shape), np.zeros(len(targets))

    def values(self) -> NDArray[np.float64]:
        # Only what the next item changes is compared: relevance of those picked is the same for all.
        count = np.maximum(self._count[:, None] + self._has, 1)[:, :, None]
        shares = (self._sum[:, None, :] + self._candidate_shares) / count
        targets = self._targets[:, None, :]
        mixed = np.where(targets > 0, (1 - SMOOTHING) * shares + SMOOTHING * targets, 1)
        terms = targets * np.log(np.where(targets > 0, targets, 1) / mixed)
        # Summed one by one: a sum in pairs depends on the values that other queries of the batch bring.
        divergence = terms.cumsum(axis=2)[:, :, -1] if terms.shape[2] else np.zeros(terms.shape[:2])
        return np.asarray(self._relevant - self._strength * divergence, np.float64)

    def pick(self, positions: NDArray[np.int64]) -> None:
        queries = np.arange(len(positions))
        self._sum += self._candidate_shares[queries, positions]
        self._count += self._has[queries, positions]
