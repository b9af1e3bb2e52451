"""The judge: candidates and relevant items in, values per query out; means and intervals follow."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, ShapeError, examples
from indexing.runtime.arguments import check_kind, check_list, check_names, shown
from retrieval.candidates import Candidates, require_candidates
from retrieval.evaluation.beyond_accuracy import Beyond
from retrieval.evaluation.metrics import coverage, cutoffs, per_query
from retrieval.evaluation.statistics import bootstrap_intervals, defined_mean

DEFAULT_MEASURES = ("recall@10", "recall@20", "ndcg@10", "ndcg@20", "mrr@10", "precision@10")


class Estimate(NamedTuple):
    """A mean over queries, and the interval it lies in."""

    measure: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What was measured.

    Attributes:
        query_ids: The n queries that have relevant items, in the order they were asked.
        per_query: For each measure, (n,) float64, aligned with ``query_ids``. NaN where a measure is not defined for a
            query, as the diversity of a list of one item is: means and intervals are over the others.
        coverage: For each k among the measures, ``coverage@k``: the share of the catalogue that is in the
            top k of any of the n queries.
        skipped: How many queries were left out because nothing is relevant to them.
        catalogue: Further measures of all lists together, as ``gini@k``.
    """

    query_ids: tuple[str, ...]
    per_query: dict[str, NDArray[np.float64]]
    coverage: dict[str, float]
    skipped: int
    catalogue: dict[str, float] = field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over the queries for which it is defined; NaN where that is none."""
        return {measure: defined_mean(values) for measure, values in self.per_query.items()}

    @property
    def undefined(self) -> dict[str, int]:
        """For each measure that is not defined for some queries, for how many."""
        missing = {measure: int(np.isnan(values).sum()) for measure, values in self.per_query.items()}
        return {measure: count for measure, count in missing.items() if count}

    def interval(
        self, measure: str, *, level: float = 0.95, seed: int = 0, resamples: int = 2000
    ) -> tuple[float, float]:
        """Give the bootstrap interval of a mean over queries: low and high.

        Raises:
            InputError: For a measure that was not taken, or a level outside 0 to 1.
        """
        check_kind(measure, str, "measure", "give the name of one that was taken")
        if measure not in self.per_query:
            raise InputError(f"{measure!r} was not measured; {examples(self.per_query, at_most=20)} were")
        rows = self.table(level=level, seed=seed, resamples=resamples)
        return next((row.low, row.high) for row in rows if row.measure == measure)

    def table(self, *, level: float = 0.95, seed: int = 0, resamples: int = 2000) -> list[Estimate]:
        """Give each measure's mean and interval."""
        columns = np.column_stack(list(self.per_query.values()))
        intervals = bootstrap_intervals(columns, level=level, seed=seed, resamples=resamples)
        return [
            Estimate(measure, mean, float(low), float(high))
            for (measure, mean), (low, high) in zip(self.means.items(), intervals, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Give means, 95 % intervals, coverage and counts as an object that ``json.dumps`` takes; null for NaN."""
        rows = self.table()
        return {
            "queries": len(self.query_ids),
            "skipped": self.skipped,
            "means": {row.measure: number(row.mean) for row in rows},
            "intervals": {row.measure: [number(row.low), number(row.high)] for row in rows},
            "undefined": self.undefined,
            "coverage": dict(self.coverage),
            "catalogue": {name: number(value) for name, value in self.catalogue.items()},
        }

    def __str__(self) -> str:
        lines = [f"{'measure':<14} {'mean':>6}  95 % interval"]
        lines += [f"{row.measure:<14} {row.mean:6.4f}  {row.low:.4f} to {row.high:.4f}" for row in self.table()]
        lines += [f"{name:<14} {value:6.4f}" for name, value in (self.coverage | self.catalogue).items()]
        left_out = f"; {self.skipped} without relevant items left out" if self.skipped else ""
        left_out += "".join(f"; {name} not defined for {count}" for name, count in self.undefined.items())
        return "\n".join([*lines, f"{len(self.query_ids)} queries{left_out}"])

    def __repr__(self) -> str:
        means = ", ".join(f"{measure} {mean:.4f}" for measure, mean in self.means.items())
        return f"<Evaluation {len(self.query_ids)} queries: {means}>"


def number(value: float) -> float | None:
    """Give a number as JSON has it: None for NaN."""
    return None if np.isnan(value) else value


def evaluate(
    candidates: Candidates,
    relevant: Sequence[Collection[str]],
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    beyond: Beyond | None = None,
) -> Evaluation:
    """Measure how well candidates find what is relevant.

    The candidates' order counts, not their scores. A list shorter than k is taken as it is: what it does not
    hold was not found. Queries without relevant items say nothing about a ranking: they are left out and
    counted. Relevant items that are not in the catalogue count as something to find, although no list can
    hold them: a system that cannot show an item has missed it.

    Recommendations of a bundle that has learned from what should be found are refused: what is measured would be
    memory. Users are known by ``query_ids``, where these are those of the log, or by how their histories begin.

    Args:
        candidates: Ranked items for B queries.
        relevant: For each query the item_ids that should be found.
        measures: Any of ``KNOWN_MEASURES``, with a number for k.
        beyond: What else is known, for measures beyond accuracy at each k among the measures.

    Raises:
        InputError: For an unknown measure, or when no query has anything relevant.
        LeakError: When the bundle has learned from what should be found.
        ShapeError: When there are not as many collections as queries, or vectors as items.

    >>> from indexing import ItemIds
    >>> queries, rows = np.zeros((2, 4), np.float32), np.array([[0, 1], [2, -1]])
    >>> scores = np.array([[0.9, 0.8], [0.7, -np.inf]], np.float32)
    >>> found = Candidates(queries, rows, scores, ItemIds([*"abcd"]), "retrieve")
    >>> evaluate(found, [{"b"}, {"c", "d"}], measures=["recall@2", "mrr@2"]).means
    {'recall@2': 0.75, 'mrr@2': 0.75}
    """
    require_candidates(candidates)
    _check_relevant(relevant)
    if beyond is not None:
        check_kind(beyond, Beyond, "beyond", "give Beyond(…), or None")
    if len(relevant) != len(candidates):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(candidates)} queries; one a query")
    depths = cutoffs(check_names(measures, "measures", ordered=False))
    judged = [query for query, ids in enumerate(relevant) if len(ids)]
    if not judged:
        raise InputError(f"none of {len(relevant)} queries has relevant items, so nothing can be measured")
    asked, wanted = candidates.take(judged), [relevant[query] for query in judged]
    if asked.learned is not None:
        asked.learned.refuse(asked.query_ids, asked.histories, wanted, asked.items)
    more, catalogue = beyond.measure(asked, wanted, depths.values()) if beyond is not None else ({}, {})
    there = int(asked.items.alive.sum())  # what was deleted since keeps its row, and cannot be shown
    return Evaluation(
        query_ids=asked.query_ids,
        per_query=per_query(asked.rows, wanted, asked.items, depths) | more,
        coverage={f"coverage@{k}": coverage(asked.rows, there, k) for k in sorted(set(depths.values()))},
        skipped=len(relevant) - len(judged),
        catalogue=catalogue,
    )


def _check_relevant(relevant: Sequence[Collection[str]]) -> None:
    """Check that what is relevant is a collection of item_ids for each query."""
    check_list(relevant, "relevant")
    if text := [one for one in relevant if isinstance(one, str)]:
        raise InputError(f"relevant items are collections of item_ids, not text such as {examples(text)}")
    for query, ids in enumerate(relevant):
        check_kind(ids, Collection, f"relevant[{query}]", "give the item_ids that should be found")  # type: ignore[type-abstract]
        for item_id in ids:
            if not isinstance(item_id, str):
                raise InputError(f"relevant[{query}] holds {shown(item_id)}; item ids are texts: give text")
