"""What the last items of a history tell of a user's taste, and how near candidates are to it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from indexing.types import Rows, Vectors
from retrieval.products import multiplied, products, taken
from retrieval.ragged import ages, means
from retrieval.sources import Asked

READ = 200  # last items of a history that tastes are made of
TASTES = 4
_HALF_LIFE = 15.0
_TOGETHER = 4  # users whose histories are multiplied at once: more calls take longer, so do more zeros


class Few(NamedTuple):
    """The tastes of b users, as one product with vectors.

    Attributes:
        users: Which of those who ask.
        rows: (H,) int64, all their items.
        counts: (4 b, H) float32, how much each item counts to each taste: nothing to those of another user.
    """

    users: slice
    rows: Rows
    counts: Vectors


def tastes(asked: Asked, usual: float) -> list[Few]:
    """Say how much each of the last items of a history counts to four tastes of the user.

    All of them by their weight, those liked more than the user's mean, those liked less, and the last one.

    Args:
        asked: Users.
        usual: What the only item of a history is compared with.
    """
    histories, weights = [rows[-READ:] for rows in asked.histories], [one[-READ:] for one in asked.weights]
    lengths = np.array(list(map(len, histories)), np.int64)
    told, back = np.concatenate([np.empty(0, np.float32), *weights]), ages(lengths)
    usually = np.where(lengths == 1, usual, means(told, lengths))
    recent, apart = 0.5 ** (back / _HALF_LIFE), told - np.repeat(usually, lengths)
    counts = np.stack([recent * told, recent * np.maximum(apart, 0), recent * np.maximum(-apart, 0), back == 0])
    return _grouped(histories, lengths, counts.astype(np.float32))


def _grouped(histories: Sequence[Rows], lengths: Rows, counts: Vectors) -> list[Few]:
    """Give some users at a time a matrix of their counts, (4, H) of all."""
    found, ends = [], np.cumsum(lengths)
    for start in range(0, len(lengths), _TOGETHER):
        users = slice(start, min(start + _TOGETHER, len(lengths)))
        several = lengths[users]
        here = counts[:, ends[start] - several[0] : ends[users.stop - 1]]
        user = np.repeat(np.arange(len(several)), several)
        apart = np.zeros((len(several), TASTES, len(user)), np.float32)
        apart[user, :, np.arange(len(user))] = here.T
        found.append(Few(users, np.concatenate(histories[users]), apart.reshape(-1, len(user))))
    return found


def compared(vectors: Vectors, told: Sequence[Few], rows: Rows) -> Vectors:
    """Give the cosine of each candidate with each taste: (4, B, K) float32; 0 where either says nothing.

    Args:
        vectors: (N, D) float32, of length 1, or 0 where an item says nothing.
        told: Of B users.
        rows: (B, K) int64, their candidates.
    """
    found = np.empty((len(rows), TASTES, vectors.shape[1]), np.float32)
    room = np.empty((max((len(few.rows) for few in told), default=0), vectors.shape[1]), np.float32)
    for few in told:
        out = found[few.users].reshape(len(few.counts), -1)
        multiplied(few.counts, taken(vectors, few.rows, room), out)
    lengths = np.sqrt(np.vecdot(found, found))[..., None]
    cosines = products(vectors, found, rows)
    cosines /= np.where(lengths > 1e-9, lengths, np.inf)
    return cosines.swapaxes(0, 1)
