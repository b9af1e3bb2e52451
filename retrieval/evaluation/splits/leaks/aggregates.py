"""Leaks through what is summed up over a log: popularity, mean ratings, anything computed over all time."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from indexing.errors import InputError
from retrieval.evaluation.splits.leaks.report import report
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.interactions import Interactions

Aggregate: TypeAlias = Mapping[str, float]
"""One number an item_id, or a user_id."""

_KIND = "known only from the future"


def item_counts(interactions: Interactions) -> dict[str, float]:
    """Count the interactions of each item."""
    counts = pc.value_counts(interactions.table["item_id"])
    return {one["values"]: float(one["counts"]) for one in counts.to_pylist()}


def check_past_only(
    given: Aggregate, past: Interactions, compute: Callable[[Interactions], Aggregate] = item_counts
) -> None:
    """Check a table of aggregates: the past alone must give the same.

    0 and NaN stand for nothing known. A key that is not given is no leak.

    Args:
        given: What a model or a reranker was handed.
        past: What was known at the time.
        compute: How the table is made of a log; `item_counts` when not given.

    Raises:
        LeakError: "known only from the future".
    """
    report(
        _KIND,
        f"of {len(given)} values are not what the past gives (key, given, from the past)",
        _differences(given, given, compute(past)),
        "compute them from split.past, anew for each cut",
    )


def check_feature(compute: Callable[[Interactions, int], Aggregate], split: Split) -> None:
    """Check a function that says what is known of a log at a second: what comes later must not change it.

    It is called for the cut twice, with the past and with all of the log. That finds functions that forget to look at
    the time. One that reads another log than it is handed gives the same twice; `check_past_only` finds its values.

    Args:
        compute: From a log and a second to one number a key.
        split: One with a cut.

    Raises:
        LeakError: "known only from the future".
        InputError: When the split has no cut.
    """
    if split.cut is None:
        raise InputError(f"the split {split.name!r} has no cut at which to ask a feature; use at_time")
    whole = replace(split.past, table=pa.concat_tables([split.past.table, split.future.table]).sort_by("timestamp"))
    given, honest = compute(whole, split.cut), compute(split.past, split.cut)
    report(
        _KIND,
        f"of {len(given)} values change with what happens after {split.cut} (key, with the future, without)",
        _differences({**given, **honest}, given, honest),
        "leave out what happened at that second and later",
    )


def _differences(keys: Iterable[str], given: Aggregate, honest: Aggregate) -> list[tuple[str, float, float]]:
    pairs = ((key, _known(given.get(key, 0)), _known(honest.get(key, 0))) for key in keys)
    return [pair for pair in pairs if not math.isclose(pair[1], pair[2], rel_tol=1e-5, abs_tol=1e-9)]


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else float(value)
