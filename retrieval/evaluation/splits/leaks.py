"""Checks for leaks in an evaluation: each looks for one kind of leak, and raises a `LeakError` that names it.

| kind | check |
|---|---|
| future in the past | `check_order` |
| same interaction in both parts | `check_duplicates` |
| known only from the future | `check_past_only` (a table), `check_feature` (a function) |
| answers among the negatives | `check_negatives` |
| answers already seen | `check_answers` |
| items of the future among the candidates | `check_candidates` |

`check_all` runs the checks whose data it is given, and reports all leaks at once.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from indexing.errors import InputError, LeakError, examples
from retrieval.candidates import Candidates
from retrieval.evaluation.splits.splits import Split
from retrieval.interactions.interactions import Interactions

Aggregate: TypeAlias = Mapping[str, float]
"""One number per item_id, or per user_id."""

# Larger than all times that `Interactions` allows, so that pair and time fit one int64.
_SECONDS = 2**34


def check_all(
    split: Split,
    *,
    relevant: Mapping[str, Collection[str]] | None = None,
    candidates: Candidates | None = None,
    negatives: Mapping[str, Collection[str]] | None = None,
    counts: Aggregate | None = None,
) -> None:
    """Check order and duplicates of a split, and the other data that is given; report all leaks in one `LeakError`.

    >>> from retrieval.evaluation.splits.splits import at_time
    >>> log = pa.table({"user": ["a", "b", "a"], "item": ["mug", "mug", "cup"], "time": [1, 2, 3]})
    >>> split = at_time(Interactions.from_arrow(log), cut=2)
    >>> check_all(split, relevant={"a": ["cup"]}, counts={"mug": 1})
    >>> check_all(split, relevant={"a": ["mug"]}, counts={"mug": 2})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    indexing.errors.LeakError: answers already seen: 1 of 1 relevant items are in the query's own history...
    known only from the future: 1 of 1 values are not what the past gives (key, given, from the past)...
    """
    checks: list[Callable[[], None]] = [
        partial(check_order, split),
        partial(check_duplicates, split.past, split.future),
    ]
    if relevant is not None:
        checks.append(partial(check_answers, relevant, _items_by_user(split.past)))
    if candidates is not None:
        checks.append(partial(check_candidates, candidates, split))
    if negatives is not None:
        checks.append(partial(check_negatives, negatives, split.future))
    if counts is not None:
        checks.append(partial(check_past_only, counts, split.past))
    leaks = list[str]()
    for check in checks:
        try:
            check()
        except LeakError as error:
            leaks.append(str(error))
    if leaks:
        raise LeakError("\n".join(leaks))


def check_order(split: Split) -> None:
    """Check that the past ends before the future begins: at the cut, or for each user if there is none.

    Without a cut, interactions of one second may be in both parts. Splits without a guarantee about time pass.
    """
    kind, cut = "future in the past", split.cut
    if cut is not None:
        for part, table, is_wrong, side in (
            ("past", split.past.table, pc.greater_equal, "at or after"),
            ("future", split.future.table, pc.less, "before"),
        ):
            message = f"of {len(table)} interactions of the {part} are {side} the cut at {cut}"
            violations = _events(table.filter(is_wrong(table["timestamp"], cut)))
            _report(kind, message, violations, "cut the log with retrieval.evaluation.splits.splits.at_time")
    elif split.in_time:
        until, since = _time_by_user(split.past, "max"), _time_by_user(split.future, "min")
        _report(
            kind,
            f"of {len(since)} users have a past that is later than their future (user, past until, future from)",
            [(user, until[user], start) for user, start in since.items() if user in until and until[user] > start],
            "cut each user's history in time with retrieval.evaluation.splits.splits.by_user",
        )


def check_duplicates(past: Interactions, future: Interactions, *, within: int = 0) -> None:
    """Check that no interaction is in both parts; the same user and item ``within`` this many seconds are one."""
    whole = pa.concat_tables([past.table, future.table])
    users, items = (whole[name].combine_chunks().dictionary_encode() for name in ("user_id", "item_id"))
    pairs = users.indices.to_numpy().astype(np.int64) * len(items.dictionary) + items.indices.to_numpy()
    _, pairs = np.unique(pairs, return_inverse=True)  # codes without gaps, so that the time fits too
    event_codes = pairs * _SECONDS + whole["timestamp"].to_numpy()
    before, after = np.sort(event_codes[: len(past)]), event_codes[len(past) :]
    is_duplicate = np.searchsorted(before, after + within, "right") > np.searchsorted(before, after - within, "left")
    _report(
        "same interaction in both parts",
        f"of {len(future)} interactions of the future are in the past as well",
        _events(future.table.filter(pa.array(is_duplicate))),
        "drop repeated rows of the log before it is cut",
    )


def item_counts(interactions: Interactions) -> dict[str, float]:
    """Count the interactions of each item."""
    counts = pc.value_counts(interactions.table["item_id"])
    return {entry["values"]: float(entry["counts"]) for entry in counts.to_pylist()}


def check_past_only(
    values: Aggregate, past: Interactions, compute: Callable[[Interactions], Aggregate] = item_counts
) -> None:
    """Check aggregates that a model was given: ``compute`` must return the same values for the past alone.

    0 and NaN are missing values. A missing key is no leak.
    """
    _report(
        "known only from the future",
        f"of {len(values)} values are not what the past gives (key, given, from the past)",
        _differences(values, values, compute(past)),
        "compute them from split.past, anew for each cut",
    )


def check_feature(compute: Callable[[Interactions, int], Aggregate], split: Split) -> None:
    """Check a function of a log and a second: later interactions must not change its values.

    It is called for the cut twice, with the past and with the whole log. That finds functions that ignore the time. A
    function that reads another log returns the same values twice; `check_past_only` checks its values.

    Raises:
        LeakError: "known only from the future".
        InputError: If the split has no cut.
    """
    if split.cut is None:
        raise InputError(f"the split {split.name!r} has no cut at which to ask a feature; use at_time")
    whole = replace(split.past, table=pa.concat_tables([split.past.table, split.future.table]).sort_by("timestamp"))
    with_future, without_future = compute(whole, split.cut), compute(split.past, split.cut)
    _report(
        "known only from the future",
        f"of {len(with_future)} values change with what happens after {split.cut} (key, with the future, without)",
        _differences({**with_future, **without_future}, with_future, without_future),
        "leave out what happened at that second and later",
    )


def check_negatives(
    negatives: Mapping[str, Collection[str]],
    future: Interactions,
    *,
    min_weight: float | None = None,
    tolerance: float = 0.0,
) -> None:
    """Check that training negatives of a user are not relevant items of the future (of at least ``min_weight``).

    Some random negatives are relevant by chance, and avoiding them would be a leak of its own: up to a fraction
    ``tolerance`` may be, for example the number of relevant items per user divided by the size of the catalogue.
    """
    targets = _items_by_user(future, min_weight)
    violations = [(user, item) for user, ids in negatives.items() for item in ids if item in targets.get(user, ())]
    total = sum(map(len, negatives.values()))
    _report(
        "answers among the negatives",
        f"of {total} training negatives are what the same user likes in the future (user, item)",
        violations if len(violations) > tolerance * total else [],
        "draw negatives from what the user had not touched in the past, without a look at the future",
    )


def check_answers(relevant: Mapping[str, Collection[str]], seen: Mapping[str, Collection[str]]) -> None:
    """Check that no relevant item is in the history of its query, since seen items are excluded from all lists."""
    _report(
        "answers already seen",
        f"of {sum(map(len, relevant.values()))} relevant items are in the query's own history (query, item)",
        [(query, item) for query, ids in relevant.items() for item in ids if item in seen.get(query, ())],
        "take them out of what is relevant, as retrieval.evaluation.splits.queries does, or exclude nothing",
    )


def check_candidates(candidates: Candidates, split: Split) -> None:
    """Check that no candidate is an item whose first interaction is in the future.

    Leave this check out if new items are known in advance, as in an evaluation of cold items.
    """
    new_items, items = split.new_items, candidates.items
    new_rows = [row for row in np.unique(candidates.rows).tolist() if row >= 0 and items[row] in new_items]
    lists = int(np.isin(candidates.rows, new_rows).any(axis=1).sum())
    _report(
        "items of the future among the candidates",
        f"items, in {lists} of {len(candidates)} lists, were first touched after the past",
        [items[row] for row in new_rows],
        "rank only the items of the past, or leave this check out where new items are known in advance",
    )


def _report(kind: str, message: str, violations: Sequence[object], hint: str) -> None:
    if violations:
        raise LeakError(f"{kind}: {len(violations)} {message}, e.g. {examples(violations)}; {hint}")


def _differences(keys: Iterable[str], values: Aggregate, expected: Aggregate) -> list[tuple[str, float, float]]:
    pairs = ((key, float(values.get(key, 0)), float(expected.get(key, 0))) for key in keys)
    defined = (
        (key, 0.0 if math.isnan(value) else value, 0.0 if math.isnan(other) else other) for key, value, other in pairs
    )
    return [row for row in defined if not math.isclose(row[1], row[2], rel_tol=1e-5, abs_tol=1e-9)]


def _items_by_user(interactions: Interactions, min_weight: float | None = None) -> dict[str, set[str]]:
    table = interactions.table
    if min_weight is not None:
        table = table.filter(pc.greater_equal(table["weight"], min_weight))
    items: dict[str, set[str]] = {}
    for user, item in zip(table["user_id"].to_pylist(), table["item_id"].to_pylist(), strict=True):
        items.setdefault(user, set()).add(item)
    return items


def _time_by_user(interactions: Interactions, which: str) -> dict[str, int]:
    grouped = interactions.table.group_by("user_id", use_threads=False).aggregate([("timestamp", which)])
    return dict(zip(grouped["user_id"].to_pylist(), grouped[f"timestamp_{which}"].to_pylist(), strict=True))


def _events(table: pa.Table) -> list[tuple[str, str, int]]:
    return list(zip(*(table[name].to_pylist() for name in ("user_id", "item_id", "timestamp")), strict=True))
