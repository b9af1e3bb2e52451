"""The user side: from a history to a content query. No table of users: whoever has one interaction has a taste."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, lengths_of, steps_back, unit, weighted_sums
from indexing.errors import InputError
from indexing.runtime.arguments import check_number, check_whole, shown

_LARGEST = float(np.finfo(np.float32).max)
ALL_ALIKE = 1e9  # a half-life of so many positions: JSON knows no infinity


@dataclass(frozen=True)
class UserModel:
    """A user's taste: the mean of the history's item vectors, recent and liked ones counting more.

    The catalogue's mean vector is subtracted, for all vectors share it: against it every taste looks alike. Doing so
    on the query alone changes an item's score only by what the taste has in common with the mean.

    Attributes:
        half_life: An item this many positions back counts half.
        longest: Only this many last items of a history are read.
        min_relevance: Interactions of a smaller weight are dislikes, and left out of the mean. When None, half of the
            largest weight of the same history; 0 where weights are no ratings, as of events.
        counts: Whether weights are counts, as of plays: who played something a hundred times does not like it a hundred
            times as much, so that they count by their logarithm.
    """

    half_life: float = 10.0
    longest: int = 200
    min_relevance: float | None = 0.0
    counts: bool = False

    def __post_init__(self) -> None:
        check_number(self.half_life, "half_life", "give a number of more than 0", above=0)
        check_whole(self.longest, "longest")
        if self.min_relevance is not None:
            check_number(self.min_relevance, "min_relevance", "give a number, or None")
        if not isinstance(self.counts, bool):
            raise InputError(f"counts is {shown(self.counts)}; give True or False")

    @property
    def in_order(self) -> bool:
        """Whether histories are in the order of time."""
        return self.half_life < ALL_ALIKE

    def interaction_weights(self, weights: Vectors) -> Vectors:
        """Give interaction weights: the logarithm of counts, other weights as they are.

        >>> UserModel(counts=True).interaction_weights(np.array([1, 3, 255])).tolist()
        [1.0, 2.0, 8.0]
        """
        values = np.asarray(weights, np.float32)
        return np.log2(1 + np.maximum(values, 0)) if self.counts else values

    def weight_of(self, interaction_weight: float) -> float:
        """Give the weight in the log of an interaction weight: the inverse of `interaction_weights`."""
        return 2**interaction_weight - 1 if self.counts else interaction_weight

    def liking(self, min_relevance: float | None) -> "UserModel":
        """Give the model for which interactions of a smaller weight are dislikes; this one when None."""
        same = min_relevance is None or min_relevance == self.min_relevance
        return self if same else replace(self, min_relevance=min_relevance)

    def is_liked(self, weights: Vectors) -> Mask:
        """Say which items of a history were liked, by their weights: (n,) bool.

        >>> UserModel(min_relevance=2.5).is_liked(np.array([1, 2.5, 5])).tolist()
        [False, True, True]
        """
        values = np.asarray(weights, np.float32)
        mask: Mask = (values >= self._smallest_liked(values)) & (values > 0)
        return mask

    def is_disliked(self, weights: Vectors) -> Mask:
        """Say which items of a history were disliked, by their weights: (n,) bool; a weight of 0 may be neither.

        >>> UserModel(min_relevance=2.5).is_disliked(np.array([1, 2.5, 5])).tolist()
        [True, False, False]
        >>> UserModel().is_disliked(np.array([-1, 0, 1])).tolist()
        [True, False, False]
        """
        values = np.asarray(weights, np.float32)
        mask: Mask = values < np.maximum(self._smallest_liked(values), np.float32(0))
        return mask

    def _smallest_liked(self, values: Vectors) -> np.float32:
        """Give it in single precision, as weights are: a weight of just ``min_relevance`` is no dislike."""
        least = values.max(initial=0) / 2 if self.min_relevance is None else self.min_relevance
        return np.float32(np.clip(least, -_LARGEST, _LARGEST))

    def liked_items(
        self, histories: Sequence[Rows], weights: Sequence[Vectors] | None
    ) -> tuple[Sequence[Rows], Sequence[Vectors] | None]:
        """Give the liked items of histories with their interaction weights; all items if there are no weights."""
        if weights is None:
            return histories, None
        masks = [self.is_liked(values) for values in weights]
        rows = [history[mask] for history, mask in zip(histories, masks, strict=True)]
        return rows, [
            self.interaction_weights(np.asarray(values)[mask]) for values, mask in zip(weights, masks, strict=True)
        ]

    def weights(self, length: int) -> Vectors:
        """Weights of a history's items, oldest first, adding up to 1: (min(length, longest),) float32.

        >>> UserModel(half_life=1).weights(3).round(3).tolist()
        [0.14300000667572021, 0.28600001335144043, 0.5709999799728394]
        """
        age = np.arange(min(length, self.longest))[::-1]
        weights = 0.5 ** (age / self.half_life)
        shares: Vectors = (weights / weights.sum()).astype(np.float32)
        return shares

    def shares(self, lengths: NDArray[np.int64], liked: Sequence[Vectors] | None = None) -> Vectors:
        """Give the weight of each item in the taste of its history, which sum to 1: (T,) float32.

        Args:
            lengths: (B,) int64, how many items of each history are read, none of them 0; T in all.
            liked: For each of them the interaction weights; see `taste`.

        >>> UserModel(half_life=1).shares(np.array([2, 1]), [np.array([2, 3]), np.array([5])]).tolist()
        [0.25, 0.75, 1.0]
        """
        user, counts = (
            np.repeat(np.arange(len(lengths)), lengths),
            0.5 ** (steps_back(lengths) / self.half_life),
        )
        if liked is not None:
            likes = np.maximum(np.concatenate([np.empty(0), *liked]), 0)
            nothing = np.bincount(user, likes, minlength=len(lengths)) == 0
            counts *= np.where(nothing[user], 1, likes)
        counts /= np.bincount(user, counts)[user]
        shares: Vectors = counts.astype(np.float32)
        return shares

    def taste(
        self,
        vectors: Vectors,
        histories: Sequence[Rows],
        centre: Vectors | None = None,
        liked: Sequence[Vectors] | None = None,
    ) -> Vectors:
        """Give the query vector of each history: (B, D) float32, unit length.

        Args:
            vectors: (N, D) float32, the item vectors.
            histories: B arrays of rows, oldest first, none of them empty.
            centre: (D,) float32, the catalogue's mean vector; that of ``vectors`` when None.
            liked: The interaction weight of each item of each history; negative ones count as 0. When None, or all 0
                in a history, its items count equally.
        """
        centre = vectors.mean(axis=0) if centre is None else centre
        recent = [history[-self.longest :] for history in histories]
        lengths = lengths_of(recent)
        shares = self.shares(lengths, None if liked is None else [values[-self.longest :] for values in liked])
        rows = np.concatenate([np.empty(0, np.int64), *recent])
        tastes = weighted_sums(shares[None], vectors, rows, lengths)[:, 0]
        centred = unit(tastes - centre)
        # A history exactly at the centre has no direction; the mean that is not centred stands for it.
        return np.where(centred.any(axis=1, keepdims=True), centred, unit(tastes))
