"""What the last items of a history tell of a user's taste, and how near candidates are to it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.ragged import ages, lengths_of, means, products, weighted
from indexing.arrays.types import Rows, Vectors
from retrieval.ranking.sources import UserBatch

READ = 200  # last items of a history that tastes are made of
TASTES = 4
_HALF_LIFE = 15.0


class Told(NamedTuple):
    """What T items of histories, which follow each other, count to four tastes of each of B users.

    Attributes:
        rows: (T,) int64, the items.
        counts: (4, T) float32.
        lengths: (B,) int64, of each history.
    """

    rows: Rows
    counts: Vectors
    lengths: NDArray[np.int64]


def tastes(asked: UserBatch, usual: float, *, in_order: bool = True) -> Told:
    """Say how much each of the last items of a history counts to four tastes of the user.

    All of them by their weight, those liked more than the user's mean, those liked less, and the last one.

    Args:
        asked: Users.
        usual: What the only item of a history is compared with.
        in_order: Whether the order of a history says anything; else all of it is the last.
    """
    rows = np.concatenate([np.empty(0, np.int64), *(one[-READ:] for one in asked.histories)])
    told = np.concatenate([np.empty(0, np.float32), *(one[-READ:] for one in asked.weights)])
    lengths = np.minimum(lengths_of(asked.histories), READ)
    back = ages(lengths) if in_order else np.zeros(len(rows), np.int64)
    usually = np.where(lengths == 1, usual, means(told, lengths))
    recent, apart = 0.5 ** (back / _HALF_LIFE), told - np.repeat(usually, lengths)
    counts = np.stack([recent * told, recent * np.maximum(apart, 0), recent * np.maximum(-apart, 0), back == 0])
    return Told(rows, counts.astype(np.float32), lengths)


def compared(vectors: Vectors, told: Told, rows: Rows) -> Vectors:
    """Give the cosine of each candidate with each taste: (4, B, K) float32; 0 where either says nothing.

    Args:
        vectors: (N, D) float32, of length 1, or 0 where an item says nothing.
        told: Of B users.
        rows: (B, K) int64, their candidates.
    """
    found = weighted(told.counts, vectors, told.rows, told.lengths)
    lengths = np.sqrt(np.vecdot(found, found))[..., None]
    cosines = products(vectors, found, rows)
    cosines /= np.where(lengths > 1e-9, lengths, np.inf)
    return cosines.swapaxes(0, 1)
