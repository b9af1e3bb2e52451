"""`commonspace evaluate`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from indexing.catalogue import Catalogue
from indexing.columns import NamedColumns
from indexing.progress import progress
from indexing.sample import items_path
from retrieval.cli.asked import Asked, ask_pairs, ask_users
from retrieval.cli.build import SAMPLE
from retrieval.cli.columns_told import item_columns
from retrieval.cli.learn import HoldOut
from retrieval.cli.log import (
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
from retrieval.cli.output import JSON_FILE, PAGE, Json, write_file
from retrieval.cli.query import BundleFolder
from retrieval.cli.terminal import UsageError, say, show_json, show_table
from retrieval.evaluation import Beyond, Evaluation, SliceRow, item_groups, item_slices, losses, slices, user_groups
from retrieval.evaluation import evaluate as evaluate_candidates
from retrieval.evaluation.losses import Loss
from retrieval.evaluation.pages.gather import described, gather
from retrieval.evaluation.pages.map import MODALITY, Method
from retrieval.evaluation.pages.report import report_page
from retrieval.evaluation.saved import Saved, save
from retrieval.evaluation.tracking import flat_metrics
from retrieval.interactions import Interactions
from retrieval.prepare import hold_out_last
from retrieval.profiles import Profiles
from retrieval.retriever import Retriever

Html = Annotated[Path | None, typer.Option(callback=PAGE, help="Write a page to this .html file, too.")]


def evaluate(
    bundle: BundleFolder,
    interactions: Annotated[
        str | None, typer.Argument(help="A .parquet or .csv file with user_id, item_id, timestamp; or 'sample'.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help="Instead of a log: a .parquet file with text and the item_id that it means.")
    ] = None,
    history: Annotated[str | None, typer.Option(help="Rows that are history, like 'split=train,valid'.")] = None,
    relevant: Annotated[str | None, typer.Option(help="Rows that should be found, like 'split=test'.")] = None,
    hold_out: HoldOut = 0.2,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    depth: Annotated[int, typer.Option(min=1, help="Candidates a query.")] = 200,
    rerank: Annotated[bool, typer.Option(help="Order the candidates by the learned head.")] = True,
    profiles: ProfilesFile = None,
    html: Html = None,
    items: Annotated[str | None, typer.Option(help="Source of the items' pictures for the page, or 'sample'.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that image paths of --items start from.")] = None,
    item_id: Annotated[str | None, typer.Option("--id", help="Column of the item_id in --items.")] = None,
    image: Annotated[
        list[str] | None, typer.Option(help="Column of image bytes or paths in --items; repeat for several.")
    ] = None,
    colour_by: Annotated[str, typer.Option(help="What colours the map: 'modality' or an attribute.")] = MODALITY,
    map_by: Annotated[Method, typer.Option("--map", help="How the map is drawn: pca, or umap (extra 'map').")] = "pca",
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
    beyond: Annotated[bool, typer.Option("--beyond", help="Measure novelty, diversity and the like too.")] = False,
    loss: Annotated[bool, typer.Option("--losses", help="Say what the model lost, and what the index.")] = False,
    as_json: Json = False,
) -> None:
    """Measure answers: recommendations for held-out interactions, or texts that each mean one item.

    The whole catalogue is ranked, without what a user has seen. Without --history and --relevant, each user's last
    interactions are to be found. A bundle that has learned from them is refused: fit it with the same --hold-out.
    """
    _check(interactions, queries, profiles)
    catalogue = _catalogue(items, images, item_columns(item_id, None, image))
    retriever = Retriever.load(bundle)
    columns = named_columns(user_column, item_column, time_column, weight_column)
    read = LogOptions(None, min_weight, columns, repeats)
    with progress("evaluating"):
        if queries:
            asked = ask_pairs(retriever, queries, depth)
        else:
            parts, split = _parts(str(interactions), history, relevant, hold_out, read)
            asked = ask_users(retriever, *parts, depth, rerank, split, Profiles.open(profiles) if profiles else None)
        more = Beyond(past=asked.past, vectors=retriever.vectors) if beyond else None
        found = evaluate_candidates(asked.candidates, asked.relevant, measures=asked.measures, beyond=more)
        sliced = _sliced(retriever, asked, found) if html is not None or as_json else []
        lost = _lost(retriever, asked) if loss else []
    source = {"asked": Path(queries or str(interactions)).name, **asked.about, **described(retriever, asked.candidates)}
    written = _written(found, source, save_to, metrics_out)
    if html is not None:
        report = gather(
            retriever,
            asked.candidates,
            asked.relevant,
            found,
            title=f"{bundle.resolve().name}: {source['asked']}",
            about=source,
            catalogue=catalogue,
            warm=asked.warm,
            slices=sliced,
            colour_by=colour_by,
            method=map_by,
        )
        write_file(html, report_page(report).encode())
        written["page"] = html
    if as_json:
        parts_of = {"slices": [row.to_json() for row in sliced], "losses": [row.to_json() for row in lost]}
        show_json(found.to_json() | dict(asked.extra) | parts_of)
        return
    _show(found, asked, lost, written)


def _sliced(retriever: Retriever, asked: Asked, found: Evaluation) -> list[SliceRow]:
    """Slice by users and by the items to be found, where there is a past to tell them apart."""
    if asked.past is None:
        return []
    groups = item_groups(retriever.bundle, asked.past)
    return [*slices(found, user_groups(asked.past)), *item_slices(asked.candidates, asked.relevant, groups)]


def _lost(retriever: Retriever, asked: Asked) -> list[Loss]:
    answered = asked.retrieved or asked.candidates
    return losses(retriever, answered, asked.relevant, kind=asked.kind, measures=asked.measures)


def _show(found: Evaluation, asked: Asked, lost: Sequence[Loss], written: Mapping[str, Path]) -> None:
    title = f"{asked.about['queries'].partition(';')[0]} ({asked.candidates.stage})"
    rows = [(measure, f"{mean:.4f}", f"{low:.4f} to {high:.4f}") for measure, mean, low, high in found.table()]
    rows += [(measure, f"{share:.4f}", "") for measure, share in found.coverage.items()]
    if "median rank" in asked.about:
        rows.append(("median rank", asked.about["median rank"], ""))
    if "split" in asked.about:
        say(asked.about["split"])
    show_table(title, ("measure", "mean", "95 % interval"), rows)
    if "disliked" in asked.about:
        say(f"dislikes: {asked.about['disliked']}")
    if "caution" in asked.about:
        say(f"caution: {asked.about['caution']}")
    for row in lost:
        say(f"{row.measure}: {row.lost_by_model:.4f} lost by the model, {row.lost_by_index:.4f} by the index")
    for what, path in written.items():
        say(f"{what} written to {path}")


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


def _check(interactions: str | None, queries: Path | None, profiles: Path | None) -> None:
    """Check that options go together."""
    if (interactions is None) == (queries is None):
        raise UsageError("give either a log of interactions or --queries FILE")
    if profiles and not interactions:
        raise UsageError("--profiles goes with a log of interactions")


def _parts(
    source: str, history: str | None, relevant: str | None, hold_out: float, options: LogOptions
) -> tuple[tuple[Interactions, Interactions], str]:
    """Give what is history and what is to be found, and say in words what was asked for."""
    weight = "" if options.min_weight is None else f", of weight {options.min_weight:g} and more"
    if (history is None) != (relevant is None):
        raise UsageError("give both --history and --relevant, or neither")
    if history is not None and relevant is not None:
        past = replace(options, only=history, min_weight=None).open(source)
        future = replace(options, only=relevant).open(source)
        return (past, future), f"history where {history}; to be found where {relevant}{weight}"
    parts = hold_out_last(options.open(source), hold_out)
    return parts, f"to be found: the last {hold_out:.0%} of each user's interactions{weight}"
