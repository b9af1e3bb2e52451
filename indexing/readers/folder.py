"""Items from a folder of pictures, with captions beside them or a metadata file, as in Hugging Face's ImageFolder."""

from pathlib import Path

import pyarrow as pa

from indexing.columns import Columns, NamedColumns
from indexing.errors import CatalogueError
from indexing.readers import TableReader
from indexing.readers.csv import read_csv
from indexing.readers.jsonl import read_jsonl

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}
LONGEST_CAPTION = 65_536  # bytes


def read_folder(folder: Path | str, columns: Columns | NamedColumns | None = None) -> TableReader:
    """List the pictures below a folder: item_id and image are the relative path, caption the text file beside it.

    A ``metadata.csv`` or ``metadata.jsonl`` with a column ``file_name`` takes the place of the listing.

    Raises:
        CatalogueError: When there is no picture.
    """
    root = Path(folder)
    if (root / "metadata.csv").is_file():
        return _from_metadata(read_csv(root / "metadata.csv", columns))
    if (root / "metadata.jsonl").is_file():
        return _from_metadata(read_jsonl(root / "metadata.jsonl"))
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise CatalogueError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    malformed = {row: "file name is no Unicode" for row, path in enumerate(found) if not _is_unicode(path)}
    paths = [path for row, path in enumerate(found) if row not in malformed]
    relative = [path.relative_to(root) for path in paths]
    values = {
        "item_id": [path.as_posix() for path in relative],
        "caption": [_caption(path.with_suffix(".txt"), root.resolve()) for path in paths],
        "image": [path.as_posix() for path in relative],
        "folder": [path.parent.as_posix() for path in relative],
    }
    table = pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})
    return TableReader(str(folder), table, malformed)


def _is_unicode(path: Path) -> bool:
    # File names are bytes; Python marks those that it cannot decode with surrogates.
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path))


def _caption(path: Path, root: Path) -> str | None:
    try:
        # A link must not bring the text of a file from elsewhere into the catalogue.
        if not path.is_file() or not path.resolve().is_relative_to(root):
            return None
        with path.open("rb") as file:
            return file.read(LONGEST_CAPTION).decode("utf-8", "replace")
    except (OSError, RuntimeError):  # unreadable, or a loop of links: the picture stays, without a caption
        return None


def _from_metadata(listing: TableReader) -> TableReader:
    if "file_name" not in listing.schema.names:
        raise CatalogueError(f"{listing.name} has no column file_name; it names the pictures")
    table = pa.Table.from_batches(listing.batches(listing.schema.names, 65_536), listing.schema)
    if "item_id" not in table.column_names:
        table = table.append_column("item_id", table.column("file_name").cast(pa.string()))
    return TableReader(listing.name, table, listing.malformed)
