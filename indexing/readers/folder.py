"""Items from a folder of pictures, with captions beside them or a metadata file, as in Hugging Face's ImageFolder."""

from pathlib import Path

import pyarrow as pa

from indexing.errors import CatalogueError
from indexing.readers import TableReader
from indexing.readers.csv import read_csv
from indexing.readers.jsonl import read_jsonl

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"}


def read_folder(folder: Path | str) -> TableReader:
    """List the pictures below a folder: item_id and image are the relative path, caption the text file beside it.

    A ``metadata.csv`` or ``metadata.jsonl`` with a column ``file_name`` takes the place of the listing.

    Raises:
        CatalogueError: When there is no picture.
    """
    root = Path(folder)
    for name, read in (("metadata.csv", read_csv), ("metadata.jsonl", read_jsonl)):
        if (root / name).is_file():
            return _from_metadata(read(root / name))
    paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise CatalogueError(f"{folder} holds no picture ({', '.join(sorted(SUFFIXES))})")
    relative = [path.relative_to(root) for path in paths]
    captions = [path.with_suffix(".txt") for path in paths]
    columns = {
        "item_id": [path.as_posix() for path in relative],
        "caption": [c.read_text("utf-8", "replace") if c.is_file() else None for c in captions],
        "image": [path.as_posix() for path in relative],
        "folder": [path.parent.as_posix() for path in relative],
    }
    return TableReader(str(folder), pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}))


def _from_metadata(listing: TableReader) -> TableReader:
    if "file_name" not in listing.schema.names:
        raise CatalogueError(f"{listing.name} has no column file_name; it names the pictures")
    table = pa.Table.from_batches(listing.batches(listing.schema.names, 65_536), listing.schema)
    if "item_id" not in table.column_names:
        table = table.append_column("item_id", table.column("file_name").cast(pa.string()))
    return TableReader(listing.name, table, listing.malformed)
