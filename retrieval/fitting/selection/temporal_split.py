"""Splits histories in time into train, validation and test parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from indexing.errors import InputError
from retrieval.interactions.histories import History

SplitMethod = Literal["both", "user", "time"]
VALID_FROM, TEST_FROM = 0.7, 0.9  # fractions of all interactions, in the order of time
MIN_LENGTH = 5  # of a history that is split by itself


@dataclass(frozen=True)
class TemporalSplit:
    """One user's history in three parts, oldest first.

    Attributes:
        train: Trains the behaviour block or the adapter.
        valid: Trains the reranker, and selects the weights of a query's parts.
        test: Validates what is published.
    """

    train: History
    valid: History
    test: History

    @property
    def before_test(self) -> History:
        """The train and validation parts together."""
        return self.train.joined(self.valid)


def temporal_split(histories: Sequence[History], split: SplitMethod) -> list[TemporalSplit]:
    """Split histories.

    Args:
        histories: Of all users.
        split: ``"user"``: the last tenth of each history is its test part and the tenth before it its validation part;
            a history of fewer than five is all train. The test part often continues a visit that was trained on.
            ``"time"``: at the same two moments for all users, after 70 % and 90 % of all interactions: harder, and
            closer to use. ``"both"`` splits by user here; see `retrieval.fit` for the moment that it adds.

    >>> days = np.arange(10)
    >>> (one,) = temporal_split([History("ann", days, days, np.ones(10, np.float32))], "user")
    >>> one.train.rows.tolist(), one.valid.rows.tolist(), one.test.rows.tolist()
    ([0, 1, 2, 3, 4, 5, 6, 7], [8], [9])
    """
    if split not in get_args(SplitMethod):
        raise InputError(f"split={split!r} is none of {', '.join(map(repr, get_args(SplitMethod)))}")
    if split != "time":
        return [_split_by_position(history) for history in histories]
    times = np.concatenate([history.timestamps for history in histories])
    valid_from, test_from = np.quantile(times, [VALID_FROM, TEST_FROM])
    return [_split_by_time(history, float(valid_from), float(test_from)) for history in histories]


def split_at(history: History, time: int) -> TemporalSplit:
    """Split one history after a time in seconds since 1970: later interactions are the test part."""
    length = len(history) - len(history.after(time))
    return TemporalSplit(history[:length], history[length:length], history[length:])


def split_since(histories: Sequence[History], time: int) -> list[TemporalSplit]:
    """Split histories at a time in seconds since 1970, and again in the middle of all that came later.

    What came later is split at the same moment for all users; half of it, or a little less, is for validation.

    >>> days = np.arange(10)
    >>> (one,) = split_since([History("ann", days, days, np.ones(10, np.float32))], 5)
    >>> one.train.rows.tolist(), one.valid.rows.tolist(), one.test.rows.tolist()
    ([0, 1, 2, 3, 4, 5], [6, 7], [8, 9])
    """
    times = np.concatenate([np.empty(0, np.int64), *(history.after(time).timestamps for history in histories)])
    test_from = float(np.quantile(times, 0.5)) if len(times) else float(time + 1)
    return [_split_by_time(history, time + 1, test_from) for history in histories]


def _split_by_position(history: History) -> TemporalSplit:
    length = len(history)
    if length < MIN_LENGTH:
        return TemporalSplit(history, history[length:], history[length:])
    size = -(-length // 10)
    valid_start, test_start = length - 2 * size, length - size
    return TemporalSplit(history[:valid_start], history[valid_start:test_start], history[test_start:])


def _split_by_time(history: History, valid_from: float, test_from: float) -> TemporalSplit:
    valid_start, test_start = np.searchsorted(history.timestamps, [valid_from, test_from], side="left").tolist()
    return TemporalSplit(history[:valid_start], history[valid_start:test_start], history[test_start:])
