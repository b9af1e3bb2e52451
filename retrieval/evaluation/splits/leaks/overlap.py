"""Leaks between the two parts of a split."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retrieval.evaluation.splits.leaks.report import lines, report
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.interactions import Interactions

# More seconds than any time that `Interactions` lets in, so that pair and time fit one int64.
_SECONDS = 2**34


def check_order(split: Split) -> None:
    """Check that the past is over before the future begins: at the cut, or for each user when there is none.

    Without a cut, interactions of one second may be on both sides, for the log's order tells them apart. Splits that
    promise nothing about time (``in_time`` is False) pass.

    Raises:
        LeakError: "future in the past".
    """
    if split.cut is not None:
        _check_cut(split, split.cut)
    elif split.in_time:
        until, since = _per_user(split.past, "max"), _per_user(split.future, "min")
        report(
            "future in the past",
            f"of {len(since)} users have a past that is later than their future (user, past until, future from)",
            [(user, until[user], first) for user, first in since.items() if user in until and until[user] > first],
            "cut each user's history in time with retrieval.evaluation.splits.splits.by_user",
        )


def check_duplicates(past: Interactions, future: Interactions, *, within: int = 0) -> None:
    """Check that no interaction is in both parts.

    Args:
        past: What is learned from.
        future: What should be found.
        within: The same user and item at most this many seconds apart are one interaction, logged twice.

    Raises:
        LeakError: "same interaction in both parts".
    """
    whole = pa.concat_tables([past.table, future.table])
    users, items = (whole[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
    pairs = users.indices.to_numpy().astype(np.int64) * len(items.dictionary) + items.indices.to_numpy()
    _, pairs = np.unique(pairs, return_inverse=True)  # numbered without gaps, so that the time fits beside
    moments = pairs * _SECONDS + whole["timestamp"].to_numpy()
    before, after = np.sort(moments[: len(past)]), moments[len(past) :]
    twice = np.searchsorted(before, after + within, "right") > np.searchsorted(before, after - within, "left")
    report(
        "same interaction in both parts",
        f"of {len(future)} interactions of the future are in the past as well",
        lines(future.table.filter(pa.array(twice))),
        "drop repeated rows of the log before it is cut",
    )


def _check_cut(split: Split, cut: int) -> None:
    for part, table, is_wrong, beyond in (
        ("past", split.past.table, pc.greater_equal, "at or after"),
        ("future", split.future.table, pc.less, "before"),
    ):
        report(
            "future in the past",
            f"of {len(table)} interactions of the {part} are {beyond} the cut at {cut}",
            lines(table.filter(is_wrong(table["timestamp"], cut))),
            "cut the log with retrieval.evaluation.splits.splits.at_time",
        )


def _per_user(interactions: Interactions, which: str) -> dict[str, int]:
    grouped = interactions.table.group_by("user_id", use_threads=False).aggregate([("timestamp", which)])
    return dict(zip(grouped["user_id"].to_pylist(), grouped[f"timestamp_{which}"].to_pylist(), strict=True))
