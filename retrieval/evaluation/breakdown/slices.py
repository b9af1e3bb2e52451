"""Where a system is good and where it is not: the same measures, query by query, for groups of queries.

Groups have names and values, and each value has its members: ``{"history": {"light": {"ann"}, "heavy": {"bob"}}}``.
A member may be in several, as a film with two genres is. What is in none is reported all the same, as `REST`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ShapeError, examples
from retrieval.candidates import Candidates
from retrieval.evaluation.evaluate import Evaluation, number
from retrieval.evaluation.metrics import cutoffs, per_query
from retrieval.evaluation.statistics.bootstrap import bootstrap_intervals, defined_mean

REST = "(none)"
Members = Mapping[str, Collection[str]]
"""For each value of a group the ids in it."""

# Of these measures, a part of the relevant items has a value of its own; see `item_slices`.
CUTTABLE = ("recall", "hit_rate")


class SliceRow(NamedTuple):
    """One slice.

    Attributes:
        name: What was sliced by.
        value: Which slice.
        queries: How many queries it has: few queries say little, which the interval shows.
        means: For each measure its mean over these queries.
        intervals: For each measure the bootstrap interval, low and high; NaN where one query has no spread to tell.
        relevant: For slices of items, how many pairs of a query and a relevant item are in it; 0 for those of queries.
    """

    name: str
    value: str
    queries: int
    means: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    relevant: int = 0

    def to_json(self) -> dict[str, Any]:
        """Give everything as an object that ``json.dumps`` takes; null for NaN."""
        means = {name: number(mean) for name, mean in self.means.items()}
        intervals = {name: [number(low), number(high)] for name, (low, high) in self.intervals.items()}
        return self._asdict() | {"means": means, "intervals": intervals}


def slices(
    evaluation: Evaluation, groups: Mapping[str, Members | Sequence[str]], *, level: float = 0.95, seed: int = 0
) -> list[SliceRow]:
    """Cut an evaluation by groups of its queries: all measures, for every group that has any query.

    Args:
        evaluation: What was measured.
        groups: For each name, the query_ids of each value, or else the value of each of the n queries in order.
        level: Of the intervals.
        seed: Makes the intervals repeatable.

    Raises:
        ShapeError: When there is not one value a query.

    >>> from retrieval.evaluation import Evaluation
    >>> found = Evaluation(("ann", "bob", "cem"), {"mrr@5": np.array([1.0, 0.5, 0.0])}, {}, 0)
    >>> [(row.value, row.queries, row.means) for row in slices(found, {"history": {"heavy": {"ann", "bob"}}})]
    [('heavy', 2, {'mrr@5': 0.75}), ('(none)', 1, {'mrr@5': 0.0})]
    """
    ids, rows = evaluation.query_ids, []
    for name, group in groups.items():
        if not isinstance(group, Mapping) and len(group) != len(ids):
            raise ShapeError(
                f"{name!r} has {len(group)} values for {len(ids)} queries with relevant items; one a query"
            )
        of_query = _values_of(ids, group) if isinstance(group, Mapping) else [(value,) for value in group]
        for value in _ordered(group, of_query):
            lines = np.array([line for line, values in enumerate(of_query) if value in values], np.int64)
            columns = {measure: one[lines] for measure, one in evaluation.per_query.items()}
            rows.append(_row(name, value, columns, level, seed))
    return rows


def item_slices(
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    groups: Mapping[str, Members],
    *,
    measures: Sequence[str] = ("recall@10", "recall@20"),
    level: float = 0.95,
    seed: int = 0,
) -> list[SliceRow]:
    """Measure how well the relevant items of each group are found, among all items as before.

    Only the relevant set is cut, never the list; each query with relevant items in a slice counts there once. Only
    recall and hit rate keep their meaning: a query's recall is the mean of its slices' recalls weighted by their
    relevant items. The others do not: relevant items of other slices take up places, so that no list could reach an
    ndcg, map or precision of 1, and mrr would punish a good answer for standing before another.

    Args:
        candidates: Ranked items for B queries.
        relevant: For each query the item_ids that should be found.
        groups: For each name the item_ids of each value, as `item_groups` gives.
        measures: ``recall@k`` and ``hit_rate@k``.
        level: Of the intervals.
        seed: Makes the intervals repeatable.

    Raises:
        InputError: For a measure that is not defined for a part of the relevant items.
        ShapeError: When there are not as many collections as queries.
    """
    if wrong := [measure for measure in cutoffs(measures) if measure.partition("@")[0] not in CUTTABLE]:
        raise InputError(f"{examples(wrong)} has no meaning for a part of the relevant items; {CUTTABLE} have")
    if len(relevant) != len(candidates):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(candidates)} queries; one a query")
    rows = []
    for name, group in groups.items():
        every = sorted({item_id for ids in relevant for item_id in ids})
        values = dict(zip(every, _values_of(every, group), strict=True))
        for value in _ordered(group, values.values()):
            wanted = [{item_id for item_id in ids if value in values[item_id]} for ids in relevant]
            lines = [line for line, ids in enumerate(wanted) if ids]
            some = [wanted[line] for line in lines]
            columns = per_query(candidates.rows[lines], some, candidates.items, measures)
            rows.append(_row(name, value, columns, level, seed, sum(map(len, some))))
    return rows


def _values_of(ids: Sequence[str], group: Members) -> list[tuple[str, ...]]:
    """Give the values that each id has in a group; `REST` for one that has none."""
    found: dict[str, list[str]] = {}
    for value, members in group.items():
        for member in members:
            found.setdefault(member, []).append(value)
    return [tuple(found.get(one, (REST,))) for one in ids]


def _ordered(group: Members | Sequence[str], present: Iterable[Collection[str]]) -> list[str]:
    """Give the values that occur: in the order of the group, what is in none last."""
    found = {value for values in present for value in values}
    order = list(group) if isinstance(group, Mapping) else sorted(found)
    return [value for value in dict.fromkeys([*order, REST]) if value in found]


def _row(
    name: str, value: str, columns: dict[str, NDArray[np.float64]], level: float, seed: int, relevant: int = 0
) -> SliceRow:
    count = len(next(iter(columns.values())))
    intervals = bootstrap_intervals(np.column_stack(list(columns.values())), level=level, seed=seed)
    if count < 2:
        intervals = np.full_like(intervals, np.nan)
    bounds = {measure: (float(low), float(high)) for measure, (low, high) in zip(columns, intervals, strict=True)}
    return SliceRow(name, value, count, {m: defined_mean(v) for m, v in columns.items()}, bounds, relevant)
