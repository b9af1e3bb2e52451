"""`commonspace add`, `update` and `delete`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import pyarrow as pa
import typer

from indexing.bundle.build import not_embedded
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import EditReport
from indexing.bundle.edits.edit import add as add_items
from indexing.bundle.edits.edit import delete as delete_items
from indexing.bundle.edits.edit import upsert as upsert_items
from indexing.bundle.edits.source_columns import columns_as_built, other_columns
from indexing.bundle.edits.update import update as update_items
from retrieval.cli.display.output import rejected_rows
from retrieval.cli.display.terminal import Cell, say, show_json, show_pairs
from retrieval.cli.options.items import IdColumn, ItemColumns, Source, or_sample
from retrieval.cli.options.output import Json
from retrieval.cli.options.search import BundleFolder
from retrieval.retriever.loaded_bundle import encoder_of

Upsert = Annotated[bool, typer.Option("--upsert", help="Replace items that the bundle has already.")]
UpdateSource = Annotated[
    str,
    typer.Argument(
        help="A .csv, .jsonl or .parquet file, or a URL of a database, with item_id and the columns to change."
    ),
]
DeletedItems = Annotated[list[str], typer.Argument(help="Items to delete.")]
MissingOk = Annotated[bool, typer.Option("--missing-ok", help="Ignore items that the bundle lacks.")]


def add(
    bundle: BundleFolder, source: Source, items: ItemColumns, upsert: Upsert = False, as_json: Json = False
) -> None:
    """Encode items and add them to a bundle, without a rebuild."""
    opened = Bundle.open(bundle)
    named = items.named
    path = or_sample(source)
    catalogue = items.open(path)
    if (as_built := columns_as_built(named, catalogue.reader.schema.names, opened)) != named:
        catalogue = items.open(path, as_built)
    if differences := other_columns(catalogue, opened):
        say(differences, err=True)
    add_or_replace = upsert_items if upsert else add_items
    report = add_or_replace(opened, catalogue, encoder_of(opened), progress=True)
    _show(report, bundle, as_json, catalogue.rejects, not_embedded(catalogue.columns, opened.manifest.encoder))


def update(bundle: BundleFolder, source: UpdateSource, id_column: IdColumn = None, as_json: Json = False) -> None:
    """Change attributes of items, as price or stock.

    Nothing is encoded, and filters find the new values at once.
    """
    _show(update_items(bundle, source, item_id=id_column), bundle, as_json)


def delete(bundle: BundleFolder, item_ids: DeletedItems, missing_ok: MissingOk = False, as_json: Json = False) -> None:
    """Delete items from a bundle, without a rebuild."""
    _show(delete_items(bundle, item_ids, missing_ok=missing_ok), bundle, as_json)


def _show(
    report: EditReport,
    bundle: Path,
    as_json: bool,
    rejects: pa.Table | None = None,
    unread: Mapping[str, str] | None = None,
) -> None:
    if as_json:
        more = {"not_embedded": dict(unread)} if unread else {}
        show_json("edit", {"bundle": str(bundle), **report.to_json(), **more})
        return
    rejected = [] if rejects is None else rejected_rows(report.rejected, rejects)
    pairs: dict[str, Cell] = {
        "added": report.added,
        "replaced": report.replaced,
        **({"unchanged": report.unchanged} if report.unchanged else {}),
        "removed": report.removed,
        "updated": report.updated,
        **({"missing values, which left what was": report.left} if report.left else {}),
        "contents encoded": report.encoded,
        "rows rejected": rejected or "none",
        **{f"not encoded: {item_id}": reason for item_id, reason in list(report.failed.items())[:5]},
        **{f"in part: {item_id}": reason for item_id, reason in list(report.partly.items())[:5]},
        **{f"not encoded: column {name}": reason for name, reason in (unread or {}).items()},
        "changes since the generation": report.pending,
    }
    if report.compaction_due:
        pairs["due"] = f"commonspace compact {bundle}"
    show_pairs(f"{bundle}: batch {report.batch}" if report.batch else f"{bundle}: nothing to change", pairs)
