"""Options that say where items come from, and which columns hold what."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from indexing.sample import items_path

SAMPLE = "sample"
ITEMS = "Items"
SOURCE_HELP = (
    "A .parquet, .csv, .jsonl or .tar file, a folder of images or of tar files, dataset:FOLDER, a URL, also of a "
    "database, or 'sample'."
)

Source = Annotated[str, typer.Argument(help=SOURCE_HELP)]
SourceOption = Annotated[str, typer.Option("--source", help=SOURCE_HELP)]
PageSource = Annotated[
    str | None, typer.Option("--items", rich_help_panel="Page", help="Source of the images on the page, or 'sample'.")
]
ImageDir = Annotated[
    str | None,
    typer.Option("--image-dir", rich_help_panel=ITEMS, help="Folder that paths of files are relative to, or its URL."),
]
IdColumn = Annotated[str | None, typer.Option("--id-column", rich_help_panel=ITEMS, help="Column of the item_id.")]
TextColumns = Annotated[
    list[str] | None, typer.Option("--text-column", rich_help_panel=ITEMS, help="Column of text; repeat for several.")
]
ImageColumns = Annotated[
    list[str] | None,
    typer.Option("--image-column", rich_help_panel=ITEMS, help="Column of image bytes or paths; repeat for several."),
]
AudioColumn = Annotated[
    str | None, typer.Option("--audio-column", rich_help_panel=ITEMS, help="Column of audio bytes or paths.")
]
VideoColumn = Annotated[
    str | None, typer.Option("--video-column", rich_help_panel=ITEMS, help="Column of video bytes or paths.")
]
VectorColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--vector-column",
        rich_help_panel=ITEMS,
        help="Column of vectors, for the encoder vectors:; repeat for several.",
    ),
]
WordColumns = Annotated[
    list[str] | None,
    typer.Option(
        "--words",
        rich_help_panel=ITEMS,
        help="Columns whose words are indexed for search --mode words and hybrid, like title,brand; '' for none. "
        "By default those of the bundle before.",
    ),
]
AllowUrls = Annotated[
    bool,
    typer.Option(
        "--allow-urls",
        rich_help_panel=ITEMS,
        help="Fetch the table from a URL, and files of items from below it, or below the URL of --image-dir.",
    ),
]


@dataclass(frozen=True)
class TextAndImageColumns:
    """Columns of a source that hold ids, texts and images."""

    image_dir: ImageDir = None
    id_column: IdColumn = None
    text_column: TextColumns = None
    image_column: ImageColumns = None
    allow_urls: AllowUrls = False

    @property
    def named(self) -> NamedColumns:
        """The columns that were named; the others are found by their common names."""
        texts = tuple(self.text_column) if self.text_column else None
        return NamedColumns(self.id_column, texts, distinct(self.image_column))

    def open(self, source: Path | str, columns: NamedColumns | None = None) -> Catalogue:
        """Open a source with the columns that were named, or with these."""
        named = self.named if columns is None else columns
        return Catalogue.open(source, image_dir=self.image_dir, columns=named, allow_urls=self.allow_urls)


@dataclass(frozen=True)
class MediaColumns(TextAndImageColumns):
    """Columns of a source that hold texts and files of every kind."""

    audio_column: AudioColumn = None
    video_column: VideoColumn = None

    @property
    def named(self) -> NamedColumns:
        """The columns that were named."""
        return replace(super().named, audio=self.audio_column, video=self.video_column)


@dataclass(frozen=True)
class ItemColumns(MediaColumns):
    """Columns of a source that hold texts, files and vectors."""

    vector_column: VectorColumns = None

    @property
    def named(self) -> NamedColumns:
        """The columns that were named."""
        return replace(super().named, vectors=tuple(self.vector_column) if self.vector_column else None)


def word_columns(given: list[str] | None) -> tuple[str, ...] | None:
    """Give columns that are separated by commas, each once; None when none were given.

    >>> word_columns(["title, brand", "sku"]), word_columns([""]), word_columns(None)
    (('title', 'brand', 'sku'), (), None)
    """
    if given is None:
        return None
    return tuple(dict.fromkeys(name.strip() for one in given for name in one.split(",") if name.strip()))


def distinct(columns: list[str] | None) -> tuple[str, ...] | None:
    """Give each column once, in order; None for none."""
    return tuple(dict.fromkeys(columns)) if columns else None


def or_sample(source: str) -> Path | str:
    """Give the source, or the path of the items that are shipped when it is 'sample'."""
    return items_path() if source == SAMPLE else source
