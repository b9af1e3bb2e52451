"""Measures of `commonspace evaluate`: how they are computed, and shown as tables and as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retrieval.cli.display.terminal import say, show_table
from retrieval.cli.runs.evaluation_queries import AnsweredQueries
from retrieval.evaluation import (
    AgainstBaselines,
    Beyond,
    Evaluation,
    SliceRow,
    against_baselines,
    item_groups,
    item_slices,
    losses,
    slices,
    user_groups,
)
from retrieval.evaluation import evaluate as evaluate_candidates
from retrieval.evaluation.breakdown import Loss
from retrieval.evaluation.report.gather import describe_run
from retrieval.retriever.retriever import Retriever

WITH, WITHOUT = "with a history", "without a history"


@dataclass(frozen=True, eq=False)
class Measured:
    """Queries with their measures.

    Attributes:
        queries: The queries, their answers and the relevant items.
        evaluation: The measures.
        slices: The measures of groups of users and items.
        losses: The losses of model and index, if requested.
        baselines: The comparison with baselines, if requested.
    """

    queries: AnsweredQueries
    evaluation: Evaluation
    slices: Sequence[SliceRow] = ()
    losses: Sequence[Loss] = ()
    baselines: AgainstBaselines | None = None

    def about(self, retriever: Retriever) -> dict[str, str]:
        """Describe what was measured, and how."""
        with_baselines = {} if self.baselines is None else {"against baselines": str(self.baselines)}
        return {**self.queries.about, **describe_run(retriever, self.queries.candidates), **with_baselines}

    def to_json(self) -> dict[str, Any]:
        """Return all fields for ``json.dumps``."""
        breakdowns = {
            "slices": [row.to_json() for row in self.slices],
            "losses": [row.to_json() for row in self.losses],
        }
        baselines = None if self.baselines is None else self.baselines.to_json()
        return self.evaluation.to_json() | dict(self.queries.extra) | breakdowns | {"baselines": baselines}


def measure(
    retriever: Retriever, queries: AnsweredQueries, *, beyond_accuracy: bool, slice_rows: bool, breakdown: bool
) -> Measured:
    """Measure answers.

    Args:
        retriever: The retriever that answered.
        queries: The answers and the relevant items.
        beyond_accuracy: Also measure novelty and other measures beyond accuracy.
        slice_rows: Also measure groups of users and items.
        breakdown: Also measure the losses of the model and of the index.

    Raises:
        LeakError: If the bundle was trained on the relevant items.
    """
    candidates, relevant, measures = queries.candidates, queries.relevant, queries.measures
    beyond = Beyond(past=queries.history, vectors=retriever.vectors) if beyond_accuracy else None
    evaluation = evaluate_candidates(candidates, relevant, measures=measures, beyond=beyond)
    by_user = slices(evaluation, {"users": [WITH if len(items) else WITHOUT for items in candidates.histories]})
    slices_shown = by_user if len(by_user) > 1 else []
    if slice_rows and queries.history is not None:
        groups = item_groups(retriever.bundle, queries.history)
        slices_shown = [
            *slices(evaluation, user_groups(queries.history)),
            *slices_shown,
            *item_slices(candidates, relevant, groups),
        ]
    loss_rows: Sequence[Loss] = ()
    if breakdown:
        retrieved = queries.retrieved or candidates
        loss_rows = losses(retriever, retrieved, relevant, kind=queries.query_type, measures=measures)
    return Measured(queries, evaluation, slices_shown, loss_rows)


def compare_with_baselines(measured: Measured, retriever: Retriever) -> Measured:
    """Measure baselines on the same users."""
    queries = measured.queries
    if queries.split is None or queries.history is None:
        return measured
    baselines = against_baselines(
        queries.candidates,
        queries.relevant,
        queries.history,
        content=retriever.vectors,
        measures=queries.measures,
        way=queries.split.by,
        share=queries.split.fraction,
        min_relevance=queries.min_liked,
    )
    return replace(measured, baselines=baselines)


def show_measured(measured: Measured, written: Mapping[str, Path]) -> None:
    """Print the measures, after the comparison with baselines."""
    queries, evaluation, baselines = measured.queries, measured.evaluation, measured.baselines
    if baselines is not None:
        say(baselines)
        if baselines.new_users is not None:
            say(f"users without a history: {baselines.new_users}")
    if "split" in queries.about:
        say(queries.about["split"])
    title = f"{queries.about['queries'].partition(';')[0]} ({queries.candidates.stage})"
    rows = [(measure, f"{mean:.4f}", f"{low:.4f} to {high:.4f}") for measure, mean, low, high in evaluation.table()]
    rows += [(measure, f"{share:.4f}", "") for measure, share in evaluation.coverage.items()]
    if "median rank" in queries.about:
        rows.append(("median rank", queries.about["median rank"], ""))
    show_table(title, ("measure", "mean", "95 % interval"), rows)
    _show_users(measured)
    if baselines is not None:
        _show_baselines(baselines)
    for name, prefix in (
        ("new users", ""),
        ("context", "context: "),
        ("disliked", "dislikes: "),
        ("caution", "caution: "),
    ):
        if name in queries.about:
            say(f"{prefix}{queries.about[name]}")
    for row in measured.losses:
        say(f"{row.measure}: {row.lost_by_model:.4f} lost by the model, {row.lost_by_index:.4f} by the index")
    for what, path in written.items():
        say(f"{what} written to {path}")


def _show_users(measured: Measured) -> None:
    """Show the measures of users with and without a history, if there are both."""
    rows = [row for row in measured.slices if row.name == "users"]
    if rows:
        head = ("measure", *(f"{row.queries} {row.value}" for row in rows))
        lines = [(name, *(f"{row.means[name]:.4f}" for row in rows)) for name in measured.evaluation.per_query]
        show_table("", head, lines)


def _show_baselines(baselines: AgainstBaselines) -> None:
    lines = []
    for row in baselines.rows:
        difference = row.difference(baselines.measure)
        interval = f"{difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]"
        lines.append((row.baseline.name, f"{difference.mean_a:.4f}", interval, row.baseline.describe_settings()))
    head = ("baseline", baselines.measure, "ours less it, 95 % interval", "settings")
    show_table("", head, lines, whole=head[:1], light=True)
    for note in baselines.notes():
        say(f"baselines: {note}")
