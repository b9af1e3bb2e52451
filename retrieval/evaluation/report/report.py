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
    """One slice of an evaluation: the queries of one value and their measures."""

    @property
    def name(self) -> str:
        """Name of the group."""
        ...

    @property
    def value(self) -> str:
        """Value of the group."""
        ...

    @property
    def queries(self) -> int:
        """Number of queries."""
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
    """The content of a report; empty parts are left out.

    Attributes:
        title: Its heading.
        about: What was evaluated and how: names and values.
        evaluation: The measures.
        slices: The measures of slices.
        index: The section on the index in the manifest.
        curves: Recall and speed of the trials of the index, see `retrieval.evaluation.report.figures`.
        map: Points of the item space.
        examples: The best and the worst queries.
        cards: Titles and images of the items in the examples.
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
    """Return the page as HTML."""
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
    cells_of_rows = [(row.measure, number(row.mean), number(row.low), number(row.high)) for row in rows]
    cells_of_rows += [(name, number(share), "", "") for name, share in overall(evaluation).items()]
    skipped = f"; {evaluation.skipped} more without anything relevant were left out" if evaluation.skipped else ""
    note = f"Means over {len(evaluation.query_ids)} queries{skipped}. Lines and limits: 95 % bootstrap intervals."
    # Only measures from 0 to 1 share one scale.
    figure = whiskers([row for row in rows if row.low >= 0 and row.high <= 1], "Measures with their intervals")
    return section("Measures", figure, table(("measure", "mean", "low", "high"), cells_of_rows), note=note)


def _slices(rows: Sequence[Sliced], measured: Sequence[str]) -> str:
    measures = [measure for measure in measured if any(measure in row.means for row in rows)]
    if not measures:
        return ""
    main_measure = measures[0]
    table_rows = [
        (
            row.name,
            row.value,
            str(row.queries),
            *(estimate(row.means[m], *row.intervals[m]) if m in row.means else "" for m in measures),
        )
        for row in rows
    ]
    whiskers_rows = [
        (
            f"{row.name}: {row.value}",
            row.means[main_measure],
            row.intervals[main_measure][0],
            row.intervals[main_measure][1],
        )
        for row in rows
        if main_measure in row.means
    ]
    return section(
        "Slices",
        whiskers(whiskers_rows, f"{main_measure} of each slice"),
        table(("slice", "value", "queries", *measures), table_rows, words=2),
        note=f"The same measures over some queries, or some of the relevant items; drawn is {main_measure}. {_WORDS}",
    )


def _index(index: Mapping[str, Any], measured_curves: Curves) -> str:
    if not measured_curves:
        return ""
    current, k, target = str(index["family"]), int(index["k"]), float(index["config"]["min_recall"])
    names = dict.fromkeys(family for families in measured_curves.values() for family in families)
    colour = {family: min(position, GREY) for position, family in enumerate(names)}
    panels = "".join(
        curve_panel(kind, families, colour, current, target, k) for kind, families in measured_curves.items()
    )
    current_trial: Mapping[str, Any] = next((trial for trial in index["tried"] if trial["family"] == current), {})
    table_rows = [
        (
            kind,
            number(recall),
            *(_measured(current_trial, speed, kind, number_format) for speed, number_format in _SPEEDS.items()),
        )
        for kind, recall in index.get("recall", {}).items()
    ]
    head = ("kind of query", f"recall@{k}", "queries/s in one batch", "ms of one query")
    note = (
        f"As measured when the bundle was built, on queries held out of it; in use is {current} (the thick line). "
        f"Dashed: the recall that was asked for, {target:g}."
    )
    return section(
        "What the index finds",
        f"<div class='panels'>{panels}</div>",
        legend(colour),
        table(head, table_rows),
        note=note,
    )


def curve_page(index: Mapping[str, Any], title: str) -> str:
    """Return a page of recall and speed of an index; ``index`` is that section of a manifest."""
    return page(title, [_index(index, curves(index))])


def losses_page(training: Mapping[str, Any], title: str) -> str:
    """Return a page of the loss curves of each trained part.

    Args:
        training: For each part its losses, as in `retrieval.fitting.report.FitReport.training`.
        title: The heading.
    """
    colours = {"learned from": 0, "held out": 1}
    panels = []
    for part, losses in training.items():
        if losses.get("train"):  # the held-out loss is also measured before the first epoch
            lines = {
                "learned from": list(enumerate(losses["train"], start=1)),
                "held out": list(enumerate(losses["valid"])),
            }
            panels.append(
                loss_panel(part, {name: losses for name, losses in lines.items() if losses}, colours, losses["best"])
            )
    figure = f"<div class='panels'>{''.join(panels)}</div>"
    note = "The loss after each pass over what is learned from. Dashed: the pass that was kept."
    return page(title, [section("Losses", figure, legend(colours), note=note)])


_WORDS = (
    "history: heavy users have more different items in their past than the median user, light ones as many or fewer. "
    "item: warm items have interactions in the past, cold ones none. popularity: popular are the fewest items that "
    "together have half of the past interactions, tail the other warm ones."
)
_SPEEDS = {"queries_per_second": ",.0f", "latency_ms": ".3f"}


def _measured(trial: Mapping[str, Any], speed: str, kind: str, number_format: str) -> str:
    value = trial.get(speed, {}).get(kind)
    return "-" if value is None else format(value, number_format)


def _map(item_map: Map) -> str:
    groups = dict.fromkeys(sorted(item_map.groups))  # the rest comes last, and is grey
    named_groups = [group for group in groups if group not in (OTHER, MISSING)]
    colour = {name: min(position, GREY) for position, name in enumerate(named_groups)}
    colour |= {group: GREY for group in (OTHER, MISSING) if group in groups}
    titles = [f"{name} ({group})" for name, group in zip(item_map.names, item_map.groups, strict=True)]
    figure = scatter(
        item_map.points, [colour[group] for group in item_map.groups], titles, "The space in two dimensions"
    )
    group_counts = ", ".join(f"{item_map.groups.count(group)} {group}" for group in groups)
    vectors = f"frozen vectors in all ({group_counts})" if item_map.coloured_by == MODALITY else "item vectors"
    variance = (
        ""
        if item_map.explained_variance is None
        else f" {item_map.explained_variance:.0%} of the variance is left, so what lies apart is apart, "
    )
    variance += "but what lies together need not be." if variance else ""
    note = f"{len(item_map.points)} {vectors}, by principal components, coloured by {item_map.coloured_by}.{variance}"
    return section("Map of the space", legend(colour), figure, note=note)


@dataclass(frozen=True)
class Side:
    """One of two evaluations: its name, and what was evaluated and how."""

    name: str
    about: Mapping[str, str] = field(default_factory=dict)


HEAD = ("measure", "A", "B", "B - A", "low", "high", "p", "p corr.")


def cells(row: Difference) -> tuple[str, ...]:
    """Return a row as texts, in the order of ``HEAD``."""
    means = (number(value) for value in (row.mean_a, row.mean_b, row.difference, row.low, row.high))
    return (row.measure, *means, probability(row.p), probability(row.p_corrected))


def probability(p: float) -> str:
    """Return a probability as text; small ones as ``< 0.0001``.

    >>> probability(0.00002), probability(0.25)
    ('< 0.0001', '0.2500')
    """
    return "< 0.0001" if p < 0.0001 else number(p)


def comparison_page(rows: Sequence[Difference], a: Side, b: Side, queries: int) -> str:
    """Return the page as HTML."""
    whiskers_rows = [(row.measure, row.difference, row.low, row.high) for row in rows]
    return page(
        f"{a.name} and {b.name}",
        [
            section(
                "Differences",
                whiskers(whiskers_rows, "Differences with their intervals"),
                table(HEAD, (cells(row) for row in rows)),
                note=f"A is {a.name}, B is {b.name}, on the same {queries} queries. Drawn are the mean differences "
                "with their 95 % intervals; one that holds zero may be chance. p corr. allows for "
                "how many measures were looked at.",
            ),
            *(section(f"{letter}: {side.name}", pairs(side.about.items())) for letter, side in (("A", a), ("B", b))),
        ],
    )
