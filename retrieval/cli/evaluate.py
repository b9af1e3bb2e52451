"""`commonspace evaluate`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.runtime.progress import progress
from indexing.sample import items_path
from retrieval.cli.build import SAMPLE
from retrieval.cli.display.columns import item_columns
from retrieval.cli.display.evaluation import beside_baselines, measure, show_measured
from retrieval.cli.display.output import JSON_FILE, PAGE, Json, write_file
from retrieval.cli.display.terminal import UsageError, say, show_json, show_table
from retrieval.cli.fit import HoldOut
from retrieval.cli.options.evaluation import ask_pairs, ask_users
from retrieval.cli.options.held_out import HeldOutWay, Way, parts_of
from retrieval.cli.options.log import (
    ItemColumn,
    LogOptions,
    MinWeight,
    ProfilesFile,
    RepeatsOption,
    TimeColumn,
    UserColumn,
    WeightColumn,
    named_columns,
)
from retrieval.cli.query import BundleFolder
from retrieval.evaluation import Evaluation
from retrieval.evaluation.compare import compare as compare_evaluations
from retrieval.evaluation.report.gather import gather
from retrieval.evaluation.report.map import MODALITY
from retrieval.evaluation.report.report import HEAD, Side, cells, comparison_page, report_page
from retrieval.evaluation.results_file import Saved, load, save
from retrieval.evaluation.tracking import flat_metrics
from retrieval.interactions.user_profiles import Profiles
from retrieval.retriever.retriever import Retriever

Html = Annotated[Path | None, typer.Option(callback=PAGE, help="Write a page to this .html file, too.")]


def evaluate(
    bundle: BundleFolder,
    interactions: Annotated[
        str | None, typer.Argument(help="A .parquet or .csv file with user_id, item_id, timestamp; or 'sample'.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Instead of a log: a .parquet file with text and the item_id that it means.")
    ] = None,
    history: Annotated[
        str | None, typer.Option("--history-rows", help="Rows that are history, like 'split=train,valid'.")
    ] = None,
    relevant: Annotated[
        str | None, typer.Option("--relevant-rows", help="Rows that should be found, like 'split=test'.")
    ] = None,
    hold_out: HoldOut = 0.2,
    cut: HeldOutWay = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    depth: Annotated[int, typer.Option("--num-candidates", min=1, help="Candidates a query.")] = 200,
    rerank: Annotated[bool, typer.Option(help="Order the candidates by the learned head.")] = True,
    profiles: ProfilesFile = None,
    baselines: Annotated[
        bool | None,
        typer.Option("--baselines/--no-baselines", help="Measure popularity, item-kNN, EASE and so on."),
    ] = None,
    html: Html = None,
    items: Annotated[str | None, typer.Option(help="Source of the items' pictures for the page, or 'sample'.")] = None,
    images: Annotated[
        Path | None, typer.Option("--image-dir", help="Folder that image paths of --items start from.")
    ] = None,
    item_id: Annotated[str | None, typer.Option("--id-column", help="Column of the item_id in --items.")] = None,
    image: Annotated[
        list[str] | None,
        typer.Option("--image-column", help="Column of image bytes or paths in --items; repeat for several."),
    ] = None,
    colour_by: Annotated[str, typer.Option(help="What colours the map: 'modality' or an attribute.")] = MODALITY,
    save_to: Annotated[
        Path | None,
        typer.Option(
            "--save", callback=JSON_FILE, help="Write every query's values to this .json file, for `compare`."
        ),
    ] = None,
    metrics_out: Annotated[
        Path | None,
        typer.Option(
            callback=JSON_FILE, help="Write flat names and numbers, for MLflow or TensorBoard, to this .json file."
        ),
    ] = None,
    beyond: Annotated[
        bool, typer.Option("--beyond-accuracy", help="Measure novelty, diversity and the like too.")
    ] = False,
    loss: Annotated[bool, typer.Option("--breakdown", help="Say what the model lost, and what the index.")] = False,
    as_json: Json = False,
) -> None:
    """Measure answers: recommendations for held-out interactions, or texts that each mean one item.

    The whole catalogue is ranked, except the items that a user has seen. By default the last interactions of each user
    are the relevant ones; with --split time it is all interactions after one moment. A bundle that has learned from
    them is refused: fit it with the same --hold-out and --split.
    """
    _check(interactions, queries, {"--profiles": profiles, "--split": cut, "--baselines": baselines})
    _check_split(history, relevant, cut)
    catalogue = _catalogue(items, images, item_columns(item_id, None, image))
    retriever = Retriever.load(bundle)
    columns = named_columns(user_column, item_column, time_column, weight_column)
    with progress("evaluating") as told:
        if queries is not None:
            asked = ask_pairs(retriever, queries, depth)
        else:
            read = LogOptions(None, min_weight, columns, repeats)
            parts = parts_of(str(interactions), history, relevant, hold_out, cut, read)
            known = Profiles.open(profiles) if profiles else None
            asked = ask_users(retriever, parts, depth, rerank=rerank, profiles=known)
        measured = measure(retriever, asked, beyond=beyond, sliced=html is not None or as_json, lost=loss)
        if baselines is not False and asked.parts is not None:
            told.begin("baselines")
            measured = beside_baselines(measured, retriever)
    source = {"asked": Path(queries or str(interactions)).name, **measured.about(retriever)}
    written = _written(measured.found, source, save_to, metrics_out)
    if html is not None:
        report = gather(
            retriever,
            asked.candidates,
            asked.relevant,
            measured.found,
            title=f"{bundle.resolve().name}: {source['asked']}",
            about=source,
            catalogue=catalogue,
            warm=asked.warm,
            slices=measured.slices,
            colour_by=colour_by,
        )
        write_file(html, report_page(report).encode())
        written["page"] = html
    if as_json:
        show_json(measured.to_json())
    else:
        show_measured(measured, written)


def _written(
    found: Evaluation, about: Mapping[str, str], save_to: Path | None, metrics_out: Path | None
) -> dict[str, Path]:
    """Write what programs read, and say what was written where."""
    written: dict[str, Path] = {}
    if save_to is not None:
        save(Saved(found, about), save_to)
        written["values of every query"] = save_to
    if metrics_out is not None:
        write_file(metrics_out, (json.dumps(flat_metrics(found), indent=2) + "\n").encode())
        written["metrics"] = metrics_out
    return written


def _catalogue(items: str | None, images: Path | None, named: NamedColumns) -> Catalogue | None:
    if items is None:
        return None
    return Catalogue.open(items_path() if items == SAMPLE else items, images=images, columns=named)


def _check(interactions: str | None, queries: Path | None, of_a_log: Mapping[str, object]) -> None:
    """Check that options go together."""
    if (interactions is None) == (queries is None):
        raise UsageError("give either a log of interactions or --queries FILE")
    if not interactions and (given := [option for option, value in of_a_log.items() if value]):
        raise UsageError(f"{given[0]} goes with a log of interactions")


def _check_split(history: str | None, relevant: str | None, cut: Way | None) -> None:
    if (history is None) != (relevant is None):
        raise UsageError("give both --history-rows and --relevant-rows, or neither")
    if history is not None and cut is not None:
        raise UsageError(
            "--split goes with --hold-out, and --history-rows and --relevant-rows say already what is to be found"
        )


def compare(
    a: Annotated[Path, typer.Argument(help="What `commonspace evaluate --save` wrote.")],
    b: Annotated[Path, typer.Argument(help="The same of another system, on the same queries.")],
    html: Html = None,
    as_json: Json = False,
) -> None:
    """Compare two evaluations query by query: how much more B has than A, with intervals and tests."""
    first, second = load(a), load(b)
    found = compare_evaluations(first.evaluation, second.evaluation)
    if html is not None:
        page = comparison_page(found.rows, Side(a.name, first.about), Side(b.name, second.about), found.queries)
        write_file(html, page.encode())
    if as_json:
        show_json(found.to_json())
        return
    title = f"A {a}, B {b}: {found.queries} queries"
    # Without rules between columns it fits 80 characters, so that no name is cut.
    show_table(title, HEAD, map(cells, found.rows), whole=HEAD[:1], light=True)
    if html is not None:
        say(f"page written to {html}")
