"""What is told of the columns of a source, in words: what can be compared, what is text, what is left out."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from indexing.catalogue.columns import NamedColumns

ItemIdColumn = Annotated[str | None, typer.Option("--id-column", help="Column of the item_id.")]
TextColumns = Annotated[list[str] | None, typer.Option("--text-column", help="Column of text; repeat for several.")]
ImageColumns = Annotated[
    list[str] | None, typer.Option("--image-column", help="Column of image bytes or paths; repeat for several.")
]
AudioColumn = Annotated[str | None, typer.Option("--audio-column", help="Column of sound bytes or paths.")]
VideoColumn = Annotated[str | None, typer.Option("--video-column", help="Column of film bytes or paths.")]
VectorColumns = Annotated[
    list[str] | None, typer.Option("--vector-column", help="Column of vectors for vectors:; repeat for several.")
]


def item_columns(
    item_id: str | None,
    text: list[str] | None,
    image: list[str] | None,
    audio: str | None = None,
    video: str | None = None,
    vector: list[str] | None = None,
) -> NamedColumns:
    """Give the columns that options name."""
    images = tuple(dict.fromkeys(image)) if image else None
    return NamedColumns(item_id, tuple(text) if text else None, images, audio, video, tuple(vector) if vector else None)


def columns_in_words(
    cleaning: Mapping[str, Any], attributes: Mapping[str, str], taken: Mapping[str, str]
) -> dict[str, str]:
    """Give what a cleaning report, the attributes and the columns that were taken say, by what it is.

    >>> columns_in_words({"as_text": {"price": "because of 'call us' in row 3"}}, {"price": "text"}, {"item_id": "sku"})
    {'columns': 'item_id: sku', 'attributes': 'price (text)', 'read as text': "price, because of 'call us' in row 3"}
    """
    left_out = cleaning.get("columns_left_out", {})
    told = {
        "columns": "; ".join(f"{what}: {names}" for what, names in taken.items()),
        "attributes": ", ".join(f"{name} ({kind})" for name, kind in attributes.items()),
        "read as": ", ".join(cleaning.get("read_as", ())),
        "read as text": "; ".join(f"{name}, {reason}" for name, reason in cleaning.get("as_text", {}).items()),
        "columns left out": "; ".join(f"{name}: {reason}" for name, reason in left_out.items()),
    }
    return {name: text for name, text in told.items() if text}
