"""The comparison of two evaluations as one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retrieval.evaluation.compare import Difference
from retrieval.evaluation.report.figures import whiskers
from retrieval.evaluation.report.page import number, page, pairs, section, table


@dataclass(frozen=True)
class Side:
    """One of the two: its name, and what was evaluated and how."""

    name: str
    about: Mapping[str, str] = field(default_factory=dict)


HEAD = ("measure", "A", "B", "B - A", "low", "high", "p", "p corr.")


def cells(row: Difference) -> tuple[str, ...]:
    """Give a row as texts, in the order of ``HEAD``."""
    means = (number(value) for value in (row.mean_a, row.mean_b, row.difference, row.low, row.high))
    return (row.measure, *means, probability(row.p), probability(row.p_corrected))


def probability(p: float) -> str:
    """Give a probability that is never shown as nought.

    >>> probability(0.00002), probability(0.25)
    ('< 0.0001', '0.2500')
    """
    return "< 0.0001" if p < 0.0001 else number(p)


def comparison_page(rows: Sequence[Difference], a: Side, b: Side, queries: int) -> str:
    """Give the whole page as HTML."""
    drawn = [(row.measure, row.difference, row.low, row.high) for row in rows]
    return page(
        f"{a.name} and {b.name}",
        [
            section(
                "Differences",
                whiskers(drawn, "Differences with their intervals"),
                table(HEAD, (cells(row) for row in rows)),
                note=f"A is {a.name}, B is {b.name}, on the same {queries} queries. Drawn are the mean differences "
                "with their 95 % intervals; one that holds zero may be chance. p corr. allows for "
                "how many measures were looked at.",
            ),
            *(section(f"{letter}: {side.name}", pairs(side.about.items())) for letter, side in (("A", a), ("B", b))),
        ],
    )
