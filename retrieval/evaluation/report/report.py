"""An evaluation, or the comparison of two, as one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from retrieval.evaluation.compare import Difference
from retrieval.evaluation.evaluate import Evaluation
from retrieval.evaluation.report.examples import Card, Examples, examples_section
from retrieval.evaluation.report.figures import GREY, Curve, curve_panel, curves, legend, loss_panel, scatter, whiskers
from retrieval.evaluation.report.item_map import MISSING, MODALITY, OTHER, Map
from retrieval.evaluation.report.page import estimate, number, page, pairs, section, table
from retrieval.evaluation.results_file import overall

Curves = Mapping[str, Mapping[str, Curve]]  # kind of query, family of index


class Sliced(Protocol):
    """One line of a table of slices: the queries of one value, and what was measured of them."""

    @property
    def name(self) -> str:
        """What the queries were divided by."""
        ...

    @property
    def value(self) -> str:
        """What these queries have in common."""
        ...

    @property
    def queries(self) -> int:
        """How many there are."""
        ...

    @property
    def means(self) -> Mapping[str, float]:
        """The mean of each measure."""
        ...

    @property
    def intervals(self) -> Mapping[str, Sequence[float]]:
        """Low and high of each mean."""
        ...


@dataclass(frozen=True)
class Report:
    """What a report shows; what is empty is left out.

    Attributes:
        title: Its heading.
        about: What was evaluated and how, by name.
        evaluation: What was measured.
        slices: The same for some of the queries.
        index: The section on the index of the bundle's manifest.
        curves: What its build measured, see `retrieval.evaluation.report.figures`.
        map: Points of the space.
        examples: The best and the worst queries.
        cards: How the items of the examples are shown.
    """

    title: str
    about: Mapping[str, str]
    evaluation: Evaluation
    slices: Sequence[Sliced] = ()
    index: Mapping[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    map: Map | None = None
    examples: Examples | None = None
    cards: Mapping[str, Card] = field(default_factory=dict)


def report_page(report: Report) -> str:
    """Give the whole page as HTML."""
    examples = report.examples
    return page(
        report.title,
        [
            section("What was evaluated", pairs(report.about.items())),
            _measures(report.evaluation),
            _slices(report.slices, list(report.evaluation.per_query)),
            _index(report.index, report.curves),
            _map(report.map) if report.map else "",
            examples_section("Worst queries", examples.measure, examples.worst, report.cards) if examples else "",
            examples_section("Best queries", examples.measure, examples.best, report.cards) if examples else "",
        ],
    )


def _measures(evaluation: Evaluation) -> str:
    rows = evaluation.table()
    lines = [(row.measure, number(row.mean), number(row.low), number(row.high)) for row in rows]
    lines += [(name, number(share), "", "") for name, share in overall(evaluation).items()]
    left_out = f"; {evaluation.skipped} more without anything relevant were left out" if evaluation.skipped else ""
    note = f"Means over {len(evaluation.query_ids)} queries{left_out}. Lines and limits: 95 % bootstrap intervals."
    # On one scale stand only those from 0 to 1: a count of bits beside them would press them flat.
    figure = whiskers([row for row in rows if row.low >= 0 and row.high <= 1], "Measures with their intervals")
    return section("Measures", figure, table(("measure", "mean", "low", "high"), lines), note=note)


def _slices(rows: Sequence[Sliced], order: Sequence[str]) -> str:
    measures = [measure for measure in order if any(measure in row.means for row in rows)]
    if not measures:
        return ""
    first = measures[0]
    lines = [
        (
            row.name,
            row.value,
            str(row.queries),
            *(estimate(row.means[m], *row.intervals[m]) if m in row.means else "" for m in measures),
        )
        for row in rows
    ]
    drawn = [
        (f"{row.name}: {row.value}", row.means[first], row.intervals[first][0], row.intervals[first][1])
        for row in rows
        if first in row.means
    ]
    return section(
        "Slices",
        whiskers(drawn, f"{first} of each slice"),
        table(("slice", "value", "queries", *measures), lines, words=2),
        note=f"The same measures over some queries, or some of the relevant items; drawn is {first}. {_WORDS}",
    )


def _index(index: Mapping[str, Any], measured: Curves) -> str:
    if not measured:
        return ""
    used, k, target = str(index["family"]), int(index["k"]), float(index["config"]["min_recall"])
    names = dict.fromkeys(family for families in measured.values() for family in families)
    colour = {family: min(place, GREY) for place, family in enumerate(names)}
    panels = "".join(curve_panel(kind, families, colour, used, target, k) for kind, families in measured.items())
    served: Mapping[str, Any] = next((trial for trial in index["tried"] if trial["family"] == used), {})
    lines = [
        (kind, number(recall), *(_measured(served, what, kind, form) for what, form in _SPEEDS.items()))
        for kind, recall in index.get("recall", {}).items()
    ]
    head = ("kind of query", f"recall@{k}", "queries/s in one batch", "ms of one query")
    note = (
        f"As measured when the bundle was built, on queries held out of it; in use is {used} (the thick line). "
        f"Dashed: the recall that was asked for, {target:g}."
    )
    return section(
        "What the index finds", f"<div class='panels'>{panels}</div>", legend(colour), table(head, lines), note=note
    )


def curve_page(index: Mapping[str, Any], title: str) -> str:
    """Give what the build of an index measured as a page; ``index`` is that section of a manifest."""
    return page(title, [_index(index, curves(index))])


def losses_page(training: Mapping[str, Any], title: str) -> str:
    """Give the losses of each part that was learned in passes as a page.

    Args:
        training: For each part its losses, as `retrieval.fitting.report.FitReport.training` has them.
        title: The heading.
    """
    colours = {"learned from": 0, "held out": 1}
    panels = []
    for part, losses in training.items():
        if losses.get("train"):  # what is held out is measured before the first pass too
            lines = {
                "learned from": list(enumerate(losses["train"], start=1)),
                "held out": list(enumerate(losses["valid"])),
            }
            panels.append(
                loss_panel(part, {name: line for name, line in lines.items() if line}, colours, losses["best"])
            )
    drawn = f"<div class='panels'>{''.join(panels)}</div>"
    note = "The loss after each pass over what is learned from. Dashed: the pass that was kept."
    return page(title, [section("Losses", drawn, legend(colours), note=note)])


_WORDS = (
    "history: heavy users have more different items in their past than the median user, light ones as many or fewer. "
    "item: warm items have interactions in the past, cold ones none. popularity: popular are the fewest items that "
    "together have half of the past interactions, tail the other warm ones."
)
_SPEEDS = {"queries_per_second": ",.0f", "latency_ms": ".3f"}


def _measured(served: Mapping[str, Any], what: str, kind: str, form: str) -> str:
    value = served.get(what, {}).get(kind)
    return "-" if value is None else format(value, form)


def _map(found: Map) -> str:
    groups = dict.fromkeys(sorted(found.groups))  # the rest comes last, and is grey
    common = [group for group in groups if group not in (OTHER, MISSING)]
    colour = {name: min(place, GREY) for place, name in enumerate(common)}
    colour |= {group: GREY for group in (OTHER, MISSING) if group in groups}
    titles = [f"{name} ({group})" for name, group in zip(found.names, found.groups, strict=True)]
    drawn = scatter(found.points, [colour[group] for group in found.groups], titles, "The space in two dimensions")
    parts = ", ".join(f"{found.groups.count(group)} {group}" for group in groups)
    what = f"frozen vectors in all ({parts})" if found.coloured_by == MODALITY else "item vectors"
    kept = "" if found.kept is None else f" {found.kept:.0%} of the variance is left, so what lies apart is apart, "
    kept += "but what lies together need not be." if kept else ""
    note = f"{len(found.points)} {what}, by principal components, coloured by {found.coloured_by}.{kept}"
    return section("Map of the space", legend(colour), drawn, note=note)


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
