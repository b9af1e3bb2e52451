"""`commonspace export`."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, assert_never

import typer

from indexing.bundle.bundle import Bundle
from indexing.exchange import export_faiss, write_clip_retrieval, write_mmrec
from retrieval.cli.display.output import OUT_FOLDER, Json
from retrieval.cli.display.terminal import Cell, UsageError, show_json, show_pairs
from retrieval.cli.options.log import (
    ItemColumn,
    LogOptions,
    MinWeight,
    Only,
    RepeatsOption,
    TimeColumn,
    UserColumn,
    WeightColumn,
    known,
    named_columns,
)
from retrieval.cli.query import BundleFolder


class Format(StrEnum):
    """Layouts of other tools."""

    CLIP_RETRIEVAL = "clip-retrieval"
    FAISS = "faiss"
    MMREC = "mmrec"


def export(
    bundle: BundleFolder,
    form: Annotated[Format, typer.Option("--format", help="Whose layout to write.")],
    out: Annotated[Path, typer.Option(callback=OUT_FOLDER, help="A new folder.")],
    interactions: Annotated[str | None, typer.Option(help="For mmrec: a log of interactions, or 'sample'.")] = None,
    only: Only = None,
    min_weight: MinWeight = None,
    user_column: UserColumn = None,
    item_column: ItemColumn = None,
    time_column: TimeColumn = None,
    weight_column: WeightColumn = None,
    repeats: RepeatsOption = None,
    flat: Annotated[bool, typer.Option(help="For faiss: an exact index instead of the bundle's own.")] = False,
    as_json: Json = False,
) -> None:
    """Write a bundle in the layout of another tool."""
    if (interactions is None) != (form is not Format.MMREC):
        raise UsageError("give --interactions LOG with --format mmrec, and only then")
    opened = Bundle.open(bundle)
    match form:
        case Format.CLIP_RETRIEVAL:
            report = write_clip_retrieval(opened, out).to_json()
        case Format.FAISS:
            report = export_faiss(opened, out, kind="flat" if flat else "own").to_json()
        case Format.MMREC:
            columns = named_columns(user_column, item_column, time_column, weight_column)
            log, _ = known(LogOptions(only, min_weight, columns, repeats).open(interactions or ""), opened.items)
            report = write_mmrec(opened, log.table, out, name=out.name).to_json()
        case _:
            assert_never(form)
    if as_json:
        show_json({"folder": str(out), **report})
        return
    show_pairs(str(out), {name: _told(value) for name, value in report.items()})


def _told(value: object) -> Cell:
    """Give a value of a report in words: what is counted or named by name, a line each."""
    if isinstance(value, Mapping):
        return [f"{name}: {one}" for name, one in value.items()] or "none"
    return (list(value) or "none") if isinstance(value, list | tuple) else value
