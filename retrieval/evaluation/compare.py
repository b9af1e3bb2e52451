"""Compare two systems on the same queries: paired intervals, and p-values corrected for multiple tests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexing.errors import InputError, examples
from retrieval.evaluation.evaluate import Evaluation, number
from retrieval.evaluation.statistics import bootstrap_intervals, defined_mean, holm, randomisation_test


class Difference(NamedTuple):
    """The difference of two systems in one measure, over the queries that both answered.

    Attributes:
        measure: The measure.
        mean_a: Mean of the first system.
        mean_b: Mean of the second.
        difference: ``mean_b - mean_a``: positive if the second system has the higher mean.
        low: Lower end of the paired bootstrap interval of the difference.
        high: Upper end.
        p: p-value of the two-sided randomisation test.
        p_corrected: The p-value corrected for the number of measures (Holm).
        queries: Number of queries for which the measure is defined in both systems.
    """

    measure: str
    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p: float
    p_corrected: float
    queries: int


@dataclass(frozen=True)
class Comparison:
    """Two systems on the same queries.

    Attributes:
        rows: The differences, one per measure.
        queries: Number of queries that both systems answered.
        only_a: Number of queries that only the first system answered; they are ignored.
        only_b: Number of queries that only the second system answered; they are ignored.
        level: Level of the intervals.
    """

    rows: tuple[Difference, ...]
    queries: int
    only_a: int
    only_b: int
    level: float

    def table(self) -> list[Difference]:
        """Return the rows, as `Evaluation.table` does."""
        return list(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return all fields for ``json.dumps``; NaN becomes null."""
        rows = [
            {name: number(value) if isinstance(value, float) else value for name, value in row._asdict().items()}
            for row in self.rows
        ]
        counts = {"queries": self.queries, "only_a": self.only_a, "only_b": self.only_b}
        return counts | {"level": self.level, "rows": rows}

    def __str__(self) -> str:
        lines = [f"{'measure':<14} {'a':>8} {'b':>8} {'b - a':>8}  {100 * self.level:g} % interval      p (Holm)"]
        lines += [
            f"{row.measure:<14} {row.mean_a:8.4f} {row.mean_b:8.4f} {row.difference:+8.4f}  "
            f"{row.low:+.4f} to {row.high:+.4f}  {row.p_corrected:.4f}"
            for row in self.rows
        ]
        unpaired = f"; {self.only_a} only in a, {self.only_b} only in b" if self.only_a or self.only_b else ""
        return "\n".join([*lines, f"{self.queries} queries{unpaired}"])


def compare(
    a: Evaluation,
    b: Evaluation,
    *,
    measures: Sequence[str] = (),
    level: float = 0.95,
    seed: int = 0,
    resamples: int = 10_000,
) -> Comparison:
    """Compare two systems on the queries that both answered.

    Queries are paired by id, which detects much smaller differences than comparing two intervals does. A p-value says
    how surprising the difference would be between equal systems, not how large or useful it is: read the interval
    first.

    Args:
        a: The first system, the baseline.
        b: The second system.
        measures: The measures to compare; all that both have if empty. Name the planned ones only: each further
            measure makes the correction stricter.
        level: Level of the intervals.
        seed: Makes intervals and p-values repeatable.
        resamples: Number of resamples for the intervals, and for the test.

    Raises:
        InputError: If they share no query or no measure, a measure is missing in one, or ids are not unique.
    """
    rows_a, rows_b = _paired(a, b)
    names = list(measures) or [measure for measure in a.per_query if measure in b.per_query]
    if missing := [name for name in names if name not in a.per_query or name not in b.per_query]:
        raise InputError(f"{examples(missing)} was not measured of both; {_shared(a, b)} were")
    if not names:
        raise InputError(f"no measure was taken of both: {examples(a.per_query)} and {examples(b.per_query)}")
    values_a, values_b = (
        np.column_stack([evaluation.per_query[name] for name in names])[rows]
        for evaluation, rows in ((a, rows_a), (b, rows_b))
    )
    both = ~np.isnan(values_a) & ~np.isnan(values_b)
    values_a, values_b = np.where(both, values_a, np.nan), np.where(both, values_b, np.nan)
    intervals = bootstrap_intervals(values_b - values_a, level=level, seed=seed, resamples=resamples)
    p_values = randomisation_test(values_b - values_a, seed=seed, resamples=resamples)
    corrected = holm(p_values)
    differences = []
    for column, name in enumerate(names):
        mean_a, mean_b = defined_mean(values_a[:, column]), defined_mean(values_b[:, column])
        low, high = intervals[column].tolist()
        p, p_corrected = float(p_values[column]), float(corrected[column])
        count = int(both[:, column].sum())
        differences.append(Difference(name, mean_a, mean_b, mean_b - mean_a, low, high, p, p_corrected, count))
    shared = len(rows_a)
    return Comparison(tuple(differences), shared, len(a.query_ids) - shared, len(b.query_ids) - shared, level)


def _paired(a: Evaluation, b: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the queries that both have, in the order of the first."""
    for evaluation in (a, b):
        if repeated := [query for query, count in Counter(evaluation.query_ids).items() if count > 1]:
            raise InputError(
                f"{len(repeated)} query ids appear more than once, e.g. {examples(repeated)}, so that queries cannot "
                "be paired; give each query a name of its own with Candidates.named"
            )
    row_of = {query: row for row, query in enumerate(b.query_ids)}
    pairs = [(row, row_of[query]) for row, query in enumerate(a.query_ids) if query in row_of]
    if not pairs:
        raise InputError(
            f"the two have no query in common: {examples(a.query_ids)} and {examples(b.query_ids)}; "
            "compare evaluations of the same queries, named alike"
        )
    paired = np.array(pairs, np.int64)
    return paired[:, 0], paired[:, 1]


def _shared(a: Evaluation, b: Evaluation) -> str:
    return examples([measure for measure in a.per_query if measure in b.per_query], at_most=20)
