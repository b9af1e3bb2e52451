"""Checks that an evaluation is fair: each looks for one kind of leak, and raises a `LeakError` that names it.

| kind | check |
|---|---|
| future in the past | `check_order` |
| same interaction in both parts | `check_duplicates` |
| known only from the future | `check_past_only` (a table), `check_feature` (a function) |
| answers among the negatives | `check_negatives` |
| answers already seen | `check_answers` |
| items of the future among the candidates | `check_candidates` |

`check_all` runs those for which it has what they need, and reports all leaks at once.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

from indexing.errors import LeakError
from retrieval.candidates import Candidates
from retrieval.evaluation.splits.leaks.aggregates import Aggregate, check_feature, check_past_only, item_counts
from retrieval.evaluation.splits.leaks.answers import check_answers, check_candidates, check_negatives
from retrieval.evaluation.splits.leaks.overlap import check_duplicates, check_order
from retrieval.evaluation.splits.leaks.report import items_by_user
from retrieval.evaluation.splits.splits import Split

__all__ = [
    "check_all",
    "check_answers",
    "check_candidates",
    "check_duplicates",
    "check_feature",
    "check_negatives",
    "check_order",
    "check_past_only",
    "item_counts",
]


def check_all(
    split: Split,
    *,
    relevant: Mapping[str, Collection[str]] | None = None,
    candidates: Candidates | None = None,
    negatives: Mapping[str, Collection[str]] | None = None,
    counts: Aggregate | None = None,
) -> None:
    """Run every check for which there is what it needs, and name all leaks in one error.

    Args:
        split: Order and duplicates are always checked.
        relevant: For each user_id what should be found; must not be in the user's past.
        candidates: What is recommended; must hold no new items.
        negatives: For each user_id the negatives of training; must not be in the user's future.
        counts: Interactions an item, as a model was handed them; must be those of the past.

    Raises:
        LeakError: One line a leak.

    >>> import pyarrow as pa
    >>> from retrieval import Interactions
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
        checks.append(partial(check_answers, relevant, items_by_user(split.past)))
    if candidates is not None:
        checks.append(partial(check_candidates, candidates, split))
    if negatives is not None:
        checks.append(partial(check_negatives, negatives, split.future))
    if counts is not None:
        checks.append(partial(check_past_only, counts, split.past))
    if found := [str(error) for check in checks if (error := _leak(check)) is not None]:
        raise LeakError("\n".join(found))


def _leak(check: Callable[[], None]) -> LeakError | None:
    try:
        check()
    except LeakError as error:
        return error
    return None
