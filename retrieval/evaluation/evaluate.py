"""Measure candidates against relevant items: values per query, means and confidence intervals."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.catalogue.item_ids import id_texts
from indexing.catalogue.readers.arrow_tables import ArrowStream, arrow_table, check_distinct, is_table
from indexing.errors import InputError, ShapeError, examples
from indexing.runtime.arguments import check_kind, check_list, check_names, is_number, shown
from retrieval.candidates import Candidates, require_candidates
from retrieval.evaluation.beyond_accuracy import Beyond
from retrieval.evaluation.metrics import coverage, cutoffs, per_query
from retrieval.evaluation.statistics import bootstrap_intervals, defined_mean

DEFAULT_MEASURES = ("recall@10", "recall@20", "ndcg@10", "ndcg@20", "mrr@10", "precision@10")


class Estimate(NamedTuple):
    """The mean of a measure over queries, and its confidence interval."""

    measure: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Measures of ranked lists, per query and as a whole.

    Attributes:
        query_ids: Ids of the n queries that have relevant items, in the order of the candidates.
        per_query: For each measure, (n,) float64, aligned with ``query_ids``. NaN where the measure is not defined for
            a query, such as the diversity of a list of one item: means and intervals are over the other queries.
        coverage: For each k among the measures, ``coverage@k``: the fraction of the catalogue that is in the
            top k of any of the n queries.
        skipped: Number of queries that were left out because no item is relevant to them.
        catalogue: Other measures of all lists together, such as ``gini@k``.
    """

    query_ids: tuple[str, ...]
    per_query: dict[str, NDArray[np.float64]]
    coverage: dict[str, float]
    skipped: int
    catalogue: dict[str, float] = field(default_factory=dict)

    @property
    def means(self) -> dict[str, float]:
        """The mean of each measure over the queries for which it is defined; NaN if there are none."""
        return {measure: defined_mean(values) for measure, values in self.per_query.items()}

    @property
    def undefined(self) -> dict[str, int]:
        """The number of queries without a value, for each measure that has such queries."""
        missing = {measure: int(np.isnan(values).sum()) for measure, values in self.per_query.items()}
        return {measure: count for measure, count in missing.items() if count}

    def interval(
        self, measure: str, *, level: float = 0.95, seed: int = 0, resamples: int = 2000
    ) -> tuple[float, float]:
        """Return the bootstrap interval of the mean over queries: low and high.

        Raises:
            InputError: If the measure was not computed, or the level is not between 0 and 1.
        """
        check_kind(measure, str, "measure", "give the name of a measure that was computed")
        if measure not in self.per_query:
            raise InputError(f"{measure!r} was not measured; {examples(self.per_query, at_most=20)} were")
        rows = self.table(level=level, seed=seed, resamples=resamples)
        return next((row.low, row.high) for row in rows if row.measure == measure)

    def table(self, *, level: float = 0.95, seed: int = 0, resamples: int = 2000) -> list[Estimate]:
        """Return the mean and the interval of each measure."""
        columns = np.column_stack(list(self.per_query.values()))
        intervals = bootstrap_intervals(columns, level=level, seed=seed, resamples=resamples)
        return [
            Estimate(measure, mean, float(low), float(high))
            for (measure, mean), (low, high) in zip(self.means.items(), intervals, strict=True)
        ]

    def to_json(self) -> dict[str, Any]:
        """Return means, 95 % intervals, coverage and counts for ``json.dumps``; NaN becomes null."""
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
        remarks = f"; {self.skipped} without relevant items left out" if self.skipped else ""
        remarks += "".join(f"; {name} not defined for {count}" for name, count in self.undefined.items())
        return "\n".join([*lines, f"{len(self.query_ids)} queries{remarks}"])

    def __repr__(self) -> str:
        means = ", ".join(f"{measure} {mean:.4f}" for measure, mean in self.means.items())
        return f"<Evaluation {len(self.query_ids)} queries: {means}>"


def number(value: float) -> float | None:
    """Return a number that JSON can hold: None for NaN."""
    return None if np.isnan(value) else value


def evaluate(
    candidates: Candidates,
    relevant: Sequence[Collection[str]] | ArrowStream,
    *,
    measures: Sequence[str] = DEFAULT_MEASURES,
    beyond: Beyond | None = None,
) -> Evaluation:
    """Measure how well candidates retrieve the relevant items.

    The order of the candidates counts, not their scores. Lists shorter than k are not padded: missing positions count
    as misses. Queries without relevant items are left out and counted as ``skipped``. Relevant items that are not in
    the catalogue count as relevant, although no list can contain them.

    Recommendations of a bundle that was trained on the relevant items are refused. Users are recognised by
    ``query_ids``, if these are the user_ids of the log, or by the first items of their histories.

    Args:
        candidates: Ranked items for B queries.
        relevant: For each query the item_ids that are relevant; or a table (a DataFrame or an Arrow table) with a row
            for each ``query_id, item_id``, of which rows with a ``relevance`` of 0 or less do not count.
        measures: Any of ``KNOWN_MEASURES``, with a number for k.
        beyond: Data for measures beyond accuracy, which are computed at each k among the measures.

    Raises:
        InputError: For an unknown measure, or if no query has relevant items.
        LeakError: If the bundle was trained on the relevant items.
        ShapeError: If the number of collections differs from that of queries, or that of vectors from that of items.

    >>> from indexing import ItemIds
    >>> queries, rows = np.zeros((2, 4), np.float32), np.array([[0, 1], [2, -1]])
    >>> scores = np.array([[0.9, 0.8], [0.7, -np.inf]], np.float32)
    >>> candidates = Candidates(queries, rows, scores, ItemIds([*"abcd"]), "retrieve")
    >>> evaluate(candidates, [{"b"}, {"c", "d"}], measures=["recall@2", "mrr@2"]).means
    {'recall@2': 0.75, 'mrr@2': 0.75}
    """
    require_candidates(candidates)
    relevant = _relevant_items(relevant, candidates.query_ids)
    if beyond is not None:
        check_kind(beyond, Beyond, "beyond", "give Beyond(…), or None")
    if len(relevant) != len(candidates):
        raise ShapeError(f"{len(relevant)} collections of relevant items for {len(candidates)} queries; one a query")
    ks = cutoffs(check_names(measures, "measures", ordered=False))
    with_relevant = [query for query, ids in enumerate(relevant) if len(ids)]
    if not with_relevant:
        raise InputError(f"none of {len(relevant)} queries has relevant items, so nothing can be measured")
    measured, targets = candidates.take(with_relevant), [relevant[query] for query in with_relevant]
    if measured.learned is not None:
        measured.learned.refuse(measured.query_ids, measured.histories, targets, measured.items)
    beyond_values, beyond_catalogue = beyond.measure(measured, targets, ks.values()) if beyond is not None else ({}, {})
    num_items = int(measured.items.is_live.sum())  # deleted items keep their rows, but cannot be recommended
    return Evaluation(
        query_ids=measured.query_ids,
        per_query=per_query(measured.rows, targets, measured.items, ks) | beyond_values,
        coverage={f"coverage@{k}": coverage(measured.rows, num_items, k) for k in sorted(set(ks.values()))},
        skipped=len(relevant) - len(with_relevant),
        catalogue=beyond_catalogue,
    )


def _relevant_items(value: object, query_ids: Sequence[str]) -> Sequence[Collection[str]]:
    """Check that there is a collection of item_ids for each query; of a table, make them."""
    if is_table(value):
        return _relevant_by_query(value, query_ids)
    check_list(value, "relevant")
    relevant: Sequence[Collection[str]] = value  # type: ignore[assignment]
    if text := [ids for ids in relevant if isinstance(ids, str)]:
        raise InputError(f"relevant items are collections of item_ids, not text such as {examples(text)}")
    for query, ids in enumerate(relevant):
        check_kind(ids, Collection, f"relevant[{query}]", "give the item_ids that are relevant")  # type: ignore[type-abstract]
        for item_id in ids:
            if not isinstance(item_id, str):
                raise InputError(f"relevant[{query}] holds {shown(item_id)}; item ids are texts: give text")
    return relevant


def _relevant_by_query(source: object, query_ids: Sequence[str]) -> list[set[str]]:
    """Give the relevant items of each query from a table; a row of no use is an error."""
    name = "the table of relevant items"
    table = arrow_table(source, name)
    if missing := [column for column in ("query_id", "item_id") if column not in table.column_names]:
        raise InputError(f"{name} lacks the columns {missing}; there are {table.column_names}")
    check_distinct(table.column_names, name)
    queries, items = (id_texts(table[column], column).to_pylist() for column in ("query_id", "item_id"))
    relevance = table["relevance"].to_pylist() if "relevance" in table.column_names else [1] * len(table)
    relevant_items: dict[str, set[str]] = {query_id: set() for query_id in query_ids}
    for row, (query_id, item_id, grade) in enumerate(zip(queries, items, relevance, strict=True)):
        where = f"row {row} (from 0) of {name}"
        if query_id is None or item_id is None or not is_number(grade):
            raise InputError(f"{where} is {query_id!r}, {item_id!r}, {grade!r}; give both ids, and a number")
        if query_id not in relevant_items:
            raise InputError(f"{where} has the query {query_id!r}, which was not asked; leave such rows out")
        if grade > 0:
            relevant_items[query_id].add(item_id)
    return [relevant_items[query_id] for query_id in query_ids]
