"""Scores for hits that are appended to a list, and were not scored as those before them."""

import numpy as np

from indexing.arrays import Rows, Vectors

SHARE = 0.01  # of the range of a list, which is that of all hits that are appended
_STEP = 4  # units in the last place between two scores, at least


def continued_scores(rows: Rows, scores: Vectors, num_scored: Rows) -> Vectors:
    """Give scores that fall from the first hit to the last, where only the first of each list are scored.

    All appended hits of a list share one hundredth of the range of the scored ones, just below the lowest of these,
    however many they are: a reader that takes scores as relevance sees the scored hits as if they were alone, and the
    others at the end of the scale. Where the scored hits are all equal, and where there is none, there is no range, and
    the appended ones share 1.

    Args:
        rows: (B, K) int64, the hits; -1 pads the end of each row.
        scores: (B, L) float32, those of the first hits of each list; L may be more or less than K.
        num_scored: (B,) int64, how many hits of each list are scored.

    Returns:
        (B, K) float32, -inf for padding.

    >>> continued_scores(np.array([[3, 1, 0, 2]]), np.array([[9.0, 8.0]], np.float32), np.array([2])).round(4).tolist()
    [[9.0, 8.0, 7.992499828338623, 7.989999771118164]]
    """
    position, own = np.arange(rows.shape[1]), num_scored[:, None]
    is_hit, is_scored = rows >= 0, position < own
    width = min(rows.shape[1], scores.shape[1])
    known = np.zeros(rows.shape)
    known[:, :width] = np.where(is_scored[:, :width], scores[:, :width], 0.0)
    low = np.where(is_scored, known, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    high = np.where(is_scored, known, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    low, high = (np.where(own > 0, bound, 0.0) for bound in (low, high))
    count = np.maximum(is_hit.sum(axis=1, keepdims=True) - own, 1)
    below = np.where(high > low, SHARE * (high - low), 1.0)
    least = 2 * _STEP * count * np.spacing(np.abs(low).astype(np.float32)).astype(np.float64)
    continued = low - np.maximum(below, least) * (1 + (position - own + 1) / count) / 2
    return np.where(is_hit, np.where(is_scored, known, continued), -np.inf).astype(np.float32)
