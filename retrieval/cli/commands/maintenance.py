"""`commonspace compact`, `publish`, `rollback`, `verify`, `repair`, `export`, `push`, `pull` and `states`."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, assert_never

import typer

from indexing.bundle.bundle import Bundle
from indexing.bundle.generation import generations
from indexing.bundle.maintenance.index_words import index_words
from indexing.bundle.maintenance.repair import RepairReport
from indexing.bundle.maintenance.rollback import rollback as roll_back
from indexing.bundle.maintenance.staged import publish_staged
from indexing.bundle.maintenance.verify import Problem
from indexing.bundle.maintenance.verify import verify as find_problems
from indexing.exchange import (
    export_faiss,
    export_lance,
    pull_bundle,
    push_bundle,
    pushed_states,
    write_clip_retrieval,
    write_mmrec,
)
from indexing.runtime.progress import progress
from retrieval.cli.display.terminal import Cell, UsageError, say, show_json, show_pairs, show_table
from retrieval.cli.options.items import word_columns
from retrieval.cli.options.log import LogOption, LogOptions
from retrieval.cli.options.output import Json, OutFolderOrUrl, folder_or_url
from retrieval.cli.options.search import BundleFolder
from retrieval.cli.runs.histories import match_items
from retrieval.cli.runs.repeated import MIN_SECONDS, repeat
from retrieval.cli.runs.words_weight import weight_for
from retrieval.retriever.learned_parts import compact as compact_bundle
from retrieval.retriever.learned_parts import queries_for
from retrieval.retriever.learned_parts import repair as repair_bundle
from retrieval.retriever.retriever import Retriever


class Format(StrEnum):
    """Layouts of other tools."""

    CLIP_RETRIEVAL = "clip-retrieval"
    FAISS = "faiss"
    LANCEDB = "lancedb"
    MMREC = "mmrec"


FormatOption = Annotated[Format, typer.Option("--format", help="Layout to write.")]
Flat = Annotated[
    bool, typer.Option("--flat/--no-flat", help="For faiss: an exact index instead of that of the bundle.")
]
To = Annotated[str | None, typer.Option("--to", help="Name of a kept generation; by default the one before.")]
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--columns",
        help="Attributes, like title,brand, and item_id for the ids; '' takes the index away. By default those that "
        "were indexed before, or the texts that were encoded.",
    ),
]
TuneOn = Annotated[
    Path | None, typer.Option("--tune", help="Parquet file with text and item_id: queries, each with an item to find.")
]
Place = Annotated[
    Any,  # a path, or a URL as text
    typer.Argument(parser=folder_or_url, metavar="PLACE", help="Folder or URL in object storage, as s3://bucket/shop."),
]
Keep = Annotated[
    int | None,
    typer.Option(
        "--keep",
        min=1,
        help="Remove earlier states but so many of the newest in all, and those of the last day. By default all stay.",
    ),
]
Supersede = Annotated[bool, typer.Option("--supersede", help="Push also where the newest state is not of this bundle.")]
Reupload = Annotated[bool, typer.Option("--reupload", help="Upload every file, also those that are there.")]
StateNumber = Annotated[int | None, typer.Option("--state", min=1, help="Number of a state; by default the newest.")]
DiscardLocal = Annotated[
    bool, typer.Option("--discard-local", help="Pull also where the folder has what was never pushed, which is lost.")
]
Every = Annotated[
    float | None, typer.Option("--every", min=MIN_SECONDS, help="Pull again and again, so many seconds apart.")
]
DropChanges = Annotated[bool, typer.Option("--drop-changes", help="Give up changes, from the first damaged one on.")]


def compact(bundle: BundleFolder, as_json: Json = False) -> None:
    """Fold the changes of a bundle into a new generation.

    Searching and adding continue meanwhile.
    """
    with progress("compacting"):
        compacted = compact_bundle(bundle)
    _show(compacted, as_json)


def words(bundle: BundleFolder, columns: Columns = None, tune: TuneOn = None, as_json: Json = False) -> None:
    """Index the words of items, for search --mode words and hybrid.

    Nothing is encoded. With --tune the share of the words in hybrid search is chosen by ndcg@10 of judged queries, and
    measured on queries held out of the choice.
    """
    with progress("indexing words"):
        indexed = index_words(bundle, word_columns(columns))
    if tune is not None:
        tuned = weight_for(Retriever(indexed), tune)
        indexed = index_words(bundle, weight=tuned.weight)
        say(*tuned.lines(), err=True)
    _show(indexed, as_json)


def publish(bundle: BundleFolder, as_json: Json = False) -> None:
    """Make the generation of fit --no-publish the current one."""
    _show(publish_staged(bundle), as_json)


def rollback(bundle: BundleFolder, to: To = None, as_json: Json = False) -> None:
    """Make an earlier generation the current one again.

    Every change since is kept.
    """
    _show(roll_back(bundle, to), as_json)


def verify(bundle: BundleFolder, as_json: Json = False) -> None:
    """Compare every byte with what was written.

    The exit code is 1 when the current state is damaged.
    """
    with progress("verifying", unit="files") as progress_bar:
        problems = find_problems(bundle, lambda path: progress_bar.advance(1, more=path))
    if as_json:
        show_json("verification", {"bundle": str(bundle), "problems": [problem.to_json() for problem in problems]})
    else:
        _show_problems(bundle, problems)
    if any(problem.serving for problem in problems):
        raise typer.Exit(1)


def repair(bundle: BundleFolder, drop_changes: DropChanges = False, as_json: Json = False) -> None:
    """Repair the pointer to the current generation, and its index.

    The exit code is 1 when the current state is still damaged.
    """
    report = repair_bundle(bundle, drop_changes=drop_changes)
    if as_json:
        show_json("repair", {"bundle": str(bundle), **report.to_json()})
    else:
        _show_each(report.left)
        if report.done:
            show_pairs(f"{bundle}: repaired", {str(number): step for number, step in enumerate(report.done, start=1)})
        say(f"{bundle}: {_outcome(report)}")
    if any(problem.serving for problem in report.left):
        raise typer.Exit(1)


def export(
    bundle: BundleFolder,
    form: FormatOption,
    out: OutFolderOrUrl,
    log: LogOptions,
    interactions: LogOption = None,
    flat: Flat = False,
    as_json: Json = False,
) -> None:
    """Write a bundle in the layout of another tool.

    For lancedb --out may be a URL as s3://bucket/shop; the environment says how to reach it.
    """
    if isinstance(out, str) and form is not Format.LANCEDB:
        raise UsageError(f"{out} is a URL, and --format {form} writes a folder; name one, or take --format lancedb")
    if (interactions is None) != (form is not Format.MMREC):
        raise UsageError("give --interactions LOG with --format mmrec, and only then")
    opened = Bundle.open(bundle)
    match form:
        case Format.CLIP_RETRIEVAL:
            report = write_clip_retrieval(opened, out).to_json()
        case Format.FAISS:
            report = export_faiss(opened, out, kind="flat" if flat else "own").to_json()
        case Format.LANCEDB:
            report = export_lance(opened, out, queries=queries_for(opened)).to_json()
        case Format.MMREC:
            users, _ = match_items(log.open(interactions or ""), opened.items)
            report = write_mmrec(opened, users.table, out, name=out.name).to_json()
        case _:
            assert_never(form)
    if as_json:
        show_json("export", {"folder": str(out), **report})
        return
    show_pairs(str(out), {name: _cell(value) for name, value in report.items()})


def push(
    bundle: BundleFolder,
    place: Place,
    keep: Keep = None,
    supersede: Supersede = False,
    reupload: Reupload = False,
    as_json: Json = False,
) -> None:
    """Copy the current state of a bundle to object storage.

    Only files that the newest state there lacks are uploaded. The environment says how to reach it.
    """
    report = push_bundle(bundle, place, keep=keep, supersede=supersede, reupload=reupload, progress=True)
    if as_json:
        show_json("push", {"bundle": str(bundle), **report.to_json()})
    else:
        what = "is there already" if report.unchanged else "pushed"
        show_pairs(f"{report.url}: state {report.number} {what}", _without(report.to_json(), "url", "number"))


def pull(
    place: Place,
    bundle: BundleFolder,
    state: StateNumber = None,
    discard_local: DiscardLocal = False,
    every: Every = None,
    as_json: Json = False,
) -> None:
    """Make a folder the newest state of a bundle in object storage.

    Only files that it lacks are downloaded. Who serves the folder follows.
    """
    if every is not None and state is not None:
        raise UsageError(f"--every follows the newest state, and --state {state} names one; leave one out")

    def once(always: bool) -> None:
        report = pull_bundle(place, bundle, number=state, discard_local=discard_local, progress=True)
        if report.unchanged and not always:
            return
        if as_json:
            show_json("pull", {"bundle": str(bundle), **report.to_json()})
        else:
            what = "is here already" if report.unchanged else f"pulled from {report.url}"
            show_pairs(f"{bundle}: state {report.number} {what}", _without(report.to_json(), "url", "number"))

    once(True)
    if every is not None:
        repeat(lambda: once(False), every)


def states(place: Place, as_json: Json = False) -> None:
    """List the states of a bundle in object storage.

    The newest is the last.
    """
    lines = [state.about() for state in pushed_states(place)]
    if as_json:
        show_json("state", *lines)
    elif lines:
        show_table("", list(lines[0]), [list(line.values()) for line in lines])
    else:
        say(f"{place} holds no bundle")


def _without(report: Mapping[str, object], *names: str) -> dict[str, Cell]:
    return {name: value for name, value in report.items() if name not in names}


def _show(bundle: Bundle, as_json: bool) -> None:
    about = {
        "bundle": str(bundle.root),
        "generation": bundle.manifest.generation,
        "kept": generations(bundle.root),
        "items": int(bundle.is_live.sum()),
        "batches_since": len(bundle.batches),
    }
    if as_json:
        show_json("generation", about)
    else:
        show_pairs(str(bundle.root), about | {"kept": ", ".join(generations(bundle.root))})


def _outcome(report: RepairReport) -> str:
    """Say in the end how a bundle is."""
    serving, left = sum(problem.serving for problem in report.left), len(report.left)
    if serving:
        return f"it is still damaged: repair cannot mend {serving} of what is named above; do what the hints say"
    if left:
        return f"the current state is whole; {left} of what is kept beside it is damaged, as named above"
    return f"{'' if report.done else 'nothing had to be repaired, '}every byte is as it was written"


def _show_problems(bundle: Path, problems: list[Problem]) -> None:
    if not problems:
        say(f"{bundle}: every byte is as it was written")
    _show_each(problems)


def _show_each(problems: Sequence[Problem]) -> None:
    for problem in problems:
        where = "current" if problem.serving else "kept"
        show_pairs(problem.path, {where: problem.message, "hint": problem.hint})


def _cell(value: object) -> Cell:
    """Give a value of a report as a cell, with a line for each entry."""
    if isinstance(value, Mapping):
        return [f"{name}: {entry}" for name, entry in value.items()] or "none"
    return (list(value) or "none") if isinstance(value, list | tuple) else value
