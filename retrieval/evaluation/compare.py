"""Whether one system is better than another: the same queries, paired; a test, corrected for asking it often."""

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
    """How two systems differ in one measure, over the queries that both answered.

    Attributes:
        measure: Which.
        mean_a: Mean of the first system.
        mean_b: Mean of the second.
        difference: ``mean_b - mean_a``: above 0 when the second has more.
        low: Lower end of the paired bootstrap interval of the difference.
        high: Upper end.
        p: How often systems that differ by chance alone differ by as much (two-sided randomisation test).
        p_corrected: The same corrected for the number of measures (Holm).
        queries: Queries for which the measure is defined in both.
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
        rows: One a measure.
        queries: How many queries both answered.
        only_a: How many only the first did; they count for nothing here.
        only_b: How many only the second did.
        level: Of the intervals.
    """

    rows: tuple[Difference, ...]
    queries: int
    only_a: int
    only_b: int
    level: float

    def table(self) -> list[Difference]:
        """Give the rows, as `Evaluation.table` does."""
        return list(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Give everything as an object that ``json.dumps`` takes; null for NaN."""
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
        alone = f"; {self.only_a} only in a, {self.only_b} only in b" if self.only_a or self.only_b else ""
        return "\n".join([*lines, f"{self.queries} queries{alone}"])


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

    The queries are paired by id: what makes a query hard for both cancels out, and much smaller differences show than
    by comparing two intervals. A p-value says how surprising the difference is between equals, not how large or useful
    it is: read the interval first.

    Args:
        a: The first system, the one to beat.
        b: The second.
        measures: Which to compare; all that both have when empty. Name those that were planned: each further one
            makes the correction harsher.
        level: Of the intervals.
        seed: Makes intervals and p-values repeatable.
        resamples: Draws for the intervals, and for the test.

    Raises:
        InputError: When they share no query or no measure, a measure is missing in one, or ids are not unique.
    """
    lines_a, lines_b = _paired(a, b)
    names = list(measures) or [measure for measure in a.per_query if measure in b.per_query]
    if missing := [name for name in names if name not in a.per_query or name not in b.per_query]:
        raise InputError(f"{examples(missing)} was not measured of both; {_shared(a, b)} were")
    if not names:
        raise InputError(f"no measure was taken of both: {examples(a.per_query)} and {examples(b.per_query)}")
    first, second = (
        np.column_stack([one.per_query[name] for name in names])[lines] for one, lines in ((a, lines_a), (b, lines_b))
    )
    both = ~np.isnan(first) & ~np.isnan(second)
    first, second = np.where(both, first, np.nan), np.where(both, second, np.nan)
    intervals = bootstrap_intervals(second - first, level=level, seed=seed, resamples=resamples)
    chances = randomisation_test(second - first, seed=seed, resamples=resamples)
    corrected = holm(chances)
    rows = []
    for column, name in enumerate(names):
        mean_a, mean_b = defined_mean(first[:, column]), defined_mean(second[:, column])
        low, high = intervals[column].tolist()
        p, p_corrected = float(chances[column]), float(corrected[column])
        count = int(both[:, column].sum())
        rows.append(Difference(name, mean_a, mean_b, mean_b - mean_a, low, high, p, p_corrected, count))
    shared = len(lines_a)
    return Comparison(tuple(rows), shared, len(a.query_ids) - shared, len(b.query_ids) - shared, level)


def _paired(a: Evaluation, b: Evaluation) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the lines of the queries that both have, in the order of the first."""
    for one in (a, b):
        if twice := [query for query, count in Counter(one.query_ids).items() if count > 1]:
            raise InputError(
                f"{len(twice)} query ids appear more than once, e.g. {examples(twice)}, so that queries cannot be "
                "paired; give each query a name of its own with Candidates.named"
            )
    line_of = {query: line for line, query in enumerate(b.query_ids)}
    pairs = [(line, line_of[query]) for line, query in enumerate(a.query_ids) if query in line_of]
    if not pairs:
        raise InputError(
            f"the two have no query in common: {examples(a.query_ids)} and {examples(b.query_ids)}; "
            "compare evaluations of the same queries, named alike"
        )
    lines = np.array(pairs, np.int64)
    return lines[:, 0], lines[:, 1]


def _shared(a: Evaluation, b: Evaluation) -> str:
    return examples([measure for measure in a.per_query if measure in b.per_query], at_most=20)
