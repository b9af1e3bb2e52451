"""`commonspace inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from indexing.catalogue import Catalogue
from indexing.inspect import inspect_catalogue
from indexing.inspect_page import inspection_page, overview
from indexing.progress import progress
from indexing.sample import items_path
from retrieval.cli.build import SAMPLE, SOURCE_HELP, AllowUrls
from retrieval.cli.columns_told import (
    AudioColumn,
    ImageColumns,
    ItemIdColumn,
    TextColumns,
    VideoColumn,
    columns_in_words,
    item_columns,
)
from retrieval.cli.output import PAGE, Json, write_file
from retrieval.cli.terminal import say, show_json, show_pairs


def inspect(
    source: Annotated[str, typer.Argument(help=SOURCE_HELP)],
    images: Annotated[Path | None, typer.Option(help="Folder that image paths start from.")] = None,
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
