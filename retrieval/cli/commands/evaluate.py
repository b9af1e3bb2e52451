"""`commonspace evaluate` and `compare`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from indexing.catalogue.readers.sql import is_sql_url
from indexing.runtime.progress import progress
from retrieval.cli.display.output import write_file
from retrieval.cli.display.terminal import UsageError, say, show_json, show_table
from retrieval.cli.options.evaluation import EvaluateOptions, MeasureOptions, PageOptions
from retrieval.cli.options.held_out import SplitOptions
from retrieval.cli.options.log import (
    Baseline,
    ComparedEvents,
    EventWeights,
    LogColumns,
    OptionalLog,
    TypesBundle,
    types_given,
)
from retrieval.cli.options.output import Html, Json
from retrieval.cli.options.search import BundleFolder
from retrieval.cli.runs.evaluation_measures import Measured, compare_with_baselines, measure, show_measured
from retrieval.cli.runs.evaluation_queries import AnsweredQueries, answer_texts, answer_users
from retrieval.cli.runs.live_log import live_types, show_take_rates
from retrieval.evaluation import Evaluation
from retrieval.evaluation.compare import compare as compare_evaluations
from retrieval.evaluation.report.gather import gather
from retrieval.evaluation.report.report import HEAD, Side, cells, comparison_page, report_page
from retrieval.evaluation.results_file import SavedEvaluation, load, save
from retrieval.evaluation.tracking import flat_metrics
from retrieval.interactions.interactions import source_name
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.retriever import Retriever

OptionalSavedFile = Annotated[
    Path | None, typer.Argument(help="A file that `commonspace evaluate --save` wrote.", show_default=False)
]


def evaluate(
    bundle: BundleFolder,
    queries: EvaluateOptions,
    split: SplitOptions,
    log: LogColumns,
    measures: MeasureOptions,
    page: PageOptions,
    interactions: OptionalLog = None,
) -> None:
    """Measure answers on held-out interactions, or on texts.

    Recommendations should find the held-out interactions; each text means one item, which should be found.

    The whole catalogue is ranked, except the items that a user has seen. By default the last interactions of each user
    are the relevant ones; with --split time it is all interactions after one moment. A bundle that has learned from
    them is refused: fit it with the same --hold-out and --split.
    """
    _check(interactions, queries, split, measures)
    catalogue = page.catalogue()
    retriever = Retriever.open(bundle)
    with progress("evaluating") as progress_bar:
        answered = _answer(retriever, interactions, queries, split, log)
        measured = measure(
            retriever,
            answered,
            beyond_accuracy=measures.beyond_accuracy,
            slice_rows=page.html is not None or measures.as_json,
            breakdown=measures.breakdown,
        )
        if measures.baselines is not False and answered.split is not None:
            progress_bar.begin("baselines")
            measured = compare_with_baselines(measured, retriever)
    asked = source_name(str(queries.queries or interactions))
    source = {"asked": asked if is_sql_url(asked) else Path(asked).name, **measured.about(retriever)}
    written = _write(measured.evaluation, source, measures.save, measures.metrics_out)
    if page.html is not None:
        report = gather(
            retriever,
            answered.candidates,
            answered.relevant,
            measured.evaluation,
            title=f"{bundle.resolve().name}: {source['asked']}",
            about=source,
            catalogue=catalogue,
            warm=answered.warm,
            slices=measured.slices,
            colour_by=page.colour_by,
        )
        write_file(page.html, report_page(report).encode())
        written["page"] = page.html
    _show(measured, written, as_json=measures.as_json)


def _answer(
    retriever: Retriever, interactions: str | None, queries: EvaluateOptions, split: SplitOptions, log: LogColumns
) -> AnsweredQueries:
    if queries.queries is not None:
        return answer_texts(retriever, queries.queries, queries.num_candidates, queries.mode)
    profiles = Profiles.open(queries.profiles) if queries.profiles else None
    split_log = split.read(str(interactions), log, retriever.learned.events, queries.context_columns)
    return answer_users(retriever, split_log, queries.num_candidates, rerank=queries.rerank, profiles=profiles)


def _show(measured: Measured, written: Mapping[str, Path], *, as_json: bool) -> None:
    if as_json:
        show_json("evaluation", measured.to_json())
    else:
        show_measured(measured, written)


def _write(
    evaluation: Evaluation, about: Mapping[str, str], save_to: Path | None, metrics_out: Path | None
) -> dict[str, Path]:
    """Write the files for programs, and give their paths."""
    written: dict[str, Path] = {}
    if save_to is not None:
        save(SavedEvaluation(evaluation, about), save_to)
        written["values of every query"] = save_to
    if metrics_out is not None:
        write_file(metrics_out, (json.dumps(flat_metrics(evaluation), indent=2) + "\n").encode())
        written["metrics"] = metrics_out
    return written


def _check(interactions: str | None, queries: EvaluateOptions, split: SplitOptions, measures: MeasureOptions) -> None:
    """Check that options go together."""
    if (interactions is None) == (queries.queries is None):
        raise UsageError("give either a log of interactions or --queries FILE")
    log_options = {
        "--profiles": queries.profiles,
        "--context-columns": queries.context,
        "--split": split.split,
        "--baselines": measures.baselines,
    }
    if not interactions and (given_options := [option for option, value in log_options.items() if value]):
        raise UsageError(f"{given_options[0]} goes with a log of interactions")
    if queries.context and not queries.rerank:
        raise UsageError("--context-columns are read by the second stage: leave them out, or leave out --no-rerank")
    if queries.mode != "vector" and queries.queries is None:
        raise UsageError(f"--mode {queries.mode} is for texts: leave it out, or give --queries FILE")
    if queries.mode != "vector" and measures.breakdown:
        raise UsageError(f"--breakdown is of the index of vectors: leave it out, or leave out --mode {queries.mode}")
    split.check()


def compare(
    a: OptionalSavedFile = None,
    b: OptionalSavedFile = None,
    html: Html = None,
    events: ComparedEvents = None,
    baseline: Baseline = None,
    bundle: TypesBundle = None,
    event_weights: EventWeights = None,
    as_json: Json = False,
) -> None:
    """Compare two evaluations, or variants of a service.

    Of two evaluations of the same queries it is how much more B has than A, with intervals and tests. With --events it
    is how much of what each variant showed was taken, and the differences, with intervals over users.
    """
    if events is not None:
        if a is not None or html is not None:
            raise UsageError("--events compares variants of a service: leave out the files, and --html")
        if bundle is not None and event_weights is not None:
            raise UsageError("give either --bundle or --event-weights")
        types = types_given(event_weights) if bundle is None else live_types(bundle)
        show_take_rates(events, baseline, types, as_json=as_json)
        return
    if a is None or b is None or any(given is not None for given in (baseline, bundle, event_weights)):
        raise UsageError(
            "give two files of evaluate --save, or --events URL, with which go --baseline, --bundle and --event-weights"
        )
    a_saved, b_saved = load(a), load(b)
    comparison = compare_evaluations(a_saved.evaluation, b_saved.evaluation)
    if html is not None:
        sides = Side(a.name, a_saved.about), Side(b.name, b_saved.about)
        write_file(html, comparison_page(comparison.rows, *sides, comparison.queries).encode())
    if as_json:
        show_json("comparison", comparison.to_json())
        return
    title = f"A {a}, B {b}: {comparison.queries} queries"
    # Without rules between columns it fits 80 characters, so that no name is cut.
    show_table(title, HEAD, map(cells, comparison.rows), whole=HEAD[:1], light=True)
    if html is not None:
        say(f"page written to {html}")
