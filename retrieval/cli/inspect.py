"""`commonspace inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from indexing.bundle.bundle import Bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.diagnostics.health import examine
from indexing.diagnostics.inspect import inspect_catalogue
from indexing.diagnostics.inspect_page import inspection_page, overview
from indexing.runtime.progress import progress
from indexing.sample import items_path
from retrieval.cli.build import SAMPLE, SOURCE_HELP, AllowUrls
from retrieval.cli.display.columns import (
    AudioColumn,
    ImageColumns,
    ItemIdColumn,
    TextColumns,
    VideoColumn,
    columns_in_words,
    item_columns,
)
from retrieval.cli.display.output import PAGE, Json, write_file
from retrieval.cli.display.terminal import Cell, say, show_json, show_pairs
from retrieval.cli.query import BundleFolder


def inspect(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)],
    images: Annotated[Path | None, typer.Option("--image-dir", help="Folder that image paths start from.")] = None,
    item_id: ItemIdColumn = None,
    text: TextColumns = None,
    image: ImageColumns = None,
    audio: AudioColumn = None,
    video: VideoColumn = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at the first rows only.")] = None,
    html: Annotated[
        Path | None, typer.Option(callback=PAGE, help="Write a page with pictures to this .html file, too.")
    ] = None,
    allow_urls: AllowUrls = False,
    as_json: Json = False,
) -> None:
    """Look at every row of a source before building: what is kept, what is missing, broken, or there twice."""
    named = item_columns(item_id, text, image, audio, video)
    path = items_path() if source == SAMPLE else source
    catalogue = Catalogue.open(path, images=images, columns=named, allow_urls=allow_urls)
    with progress("reading", limit, "rows") as told:
        found = inspect_catalogue(catalogue, limit=limit, progress=told.advance)
    if html is not None:
        write_file(html, inspection_page(found, catalogue).encode())
    if as_json:
        show_json(found.to_json())
        return
    columns = columns_in_words(found.columns, found.columns["attributes"], found.columns["taken"])
    show_pairs(found.source, overview(found) | columns)
    if html is not None:
        say(f"page with pictures written to {html}")


MENDED = {True: "good", False: "look"}


def doctor(
    bundle: BundleFolder,
    seed: Annotated[int, typer.Option(min=0, help="Of the samples that are drawn.")] = 0,
    as_json: Json = False,
) -> None:
    """Look for what makes search bad: damage, quarantine, modality gap, narrow spread, hubs, duplicates."""
    opened = Bundle.open(bundle)
    findings = examine(opened, seed=seed)
    if as_json:
        show_json(
            {
                "bundle": str(bundle),
                "generation": opened.manifest.generation,
                "good": all(finding.good for finding in findings),
                "findings": [finding.to_json() for finding in findings],
            }
        )
        return
    shown: dict[str, Cell] = {
        f"{MENDED[one.good]}: {one.name}": [one.verdict, *([f"→ {one.way_out}"] if one.way_out else [])]
        for one in findings
    }
    show_pairs(str(bundle), shown)
