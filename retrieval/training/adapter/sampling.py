"""What a batch of the adapter is made of: who has seen what, what is dropped, how often targets are drawn."""

from collections.abc import Sequence

import numpy as np

from indexing.arrays.types import Mask, Rows, Vectors
from indexing.store.collect import ModalityVectors, fuse

_BLOCK = 16_384


def seen_by(pasts: Sequence[Rows], candidates: Rows, count: int) -> Mask:
    """Say which of C candidates are in each of B histories, of a catalogue of ``count`` items: (B, C)."""
    flags, seen = np.zeros(count, np.bool_), np.zeros((len(pasts), len(candidates)), np.bool_)
    for line, past in enumerate(pasts):
        flags[past] = True
        seen[line] = flags[candidates]
        flags[past] = False
    return seen


def dropped(exists: Mask, share: float, rng: np.random.Generator) -> Mask:
    """Take one modality, any of them alike, from a share of the items that have several: (M, R)."""
    lost = (exists.sum(axis=0) >= 2) & (rng.random(exists.shape[1]) < share)
    place = np.where(exists, rng.random(exists.shape), -1).argmax(axis=0)
    left = exists.copy()
    left[place[lost], np.flatnonzero(lost)] = False
    return left


def target_share(histories: Sequence[Rows], count: int) -> Vectors:
    """Share of drawn targets that each of N items has: every position but the first is drawn alike."""
    share = np.zeros(count)
    for history in histories:
        np.add.at(share, history[1:], 1 / (len(history) - 1))
    return (share / len(histories)).astype(np.float32)


def mean_worth(weights: Sequence[Vectors]) -> float:
    """The mean weight of drawn targets: every position but the first is drawn alike.

    >>> mean_worth([np.array([9.0, 1.0]), np.array([9.0, 2.0, 4.0])])
    2.0
    """
    return float(np.mean([one[1:].mean(dtype=np.float64) for one in weights]))


def mean_fused(items: ModalityVectors) -> Vectors:
    """The mean of the frozen vectors of all items: (D,) float32, block by block."""
    total = np.zeros(next(iter(items.vectors.values())).shape[1])
    for start in range(0, items.count, _BLOCK):
        total += fuse(items.take(slice(start, start + _BLOCK))).sum(axis=0, dtype=np.float64)
    return (total / items.count).astype(np.float32)
