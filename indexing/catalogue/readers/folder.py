"""Items from a folder of pictures, with captions beside them or metadata files, as in Hugging Face's ImageFolder."""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from indexing.catalogue.columns import Columns, NamedColumns, is_text
from indexing.catalogue.readers.base import ReadingNotes, TableReader
from indexing.catalogue.readers.csv import read_csv
from indexing.catalogue.readers.jsonl import as_text, read_jsonl
from indexing.catalogue.readers.listing import Listing, list_folder, shown
from indexing.catalogue.readers.text_encoding import WESTERN, UnreadableCaption, decode_caption, is_western
from indexing.errors import CatalogueError, examples
from indexing.media.images import FORMATS

MAX_CAPTION_BYTES = 65_536  # bytes
UNLISTED = "picture without an item_id, as no metadata file lists it"


def read_folder(folder: Path | str, columns: Columns | NamedColumns | None = None) -> TableReader:
    """List the pictures below a folder: item_id and image are the relative path, caption the text file beside it.

    Files ``metadata.csv`` or ``metadata.jsonl`` with a column ``file_name`` say more of the pictures in their folder
    and below. Pictures that none of them lists are items without metadata, or rejected where the metadata has item_ids.
    Everything else is a malformed row with its reason, but for what is hidden or of the system, which is counted.

    Raises:
        CatalogueError: When there is no picture, or a metadata file cannot be read.
    """
    root = Path(folder)
    listing = list_folder(root)
    if not listing.pictures and not listing.metadata:
        raise CatalogueError(_no_picture_message(folder, listing))
    captions = _captions(root, listing)
    if not listing.metadata:
        return _listed(str(folder), listing, captions)
    return _with_metadata(root, listing, captions, columns)


def _no_picture_message(folder: Path | str, listing: Listing) -> str:
    """Say what a folder without pictures holds."""
    suffixes = Counter(path.suffix.lower() or "none" for path in (*listing.texts, *listing.problems))
    message = f"{folder} holds no picture ({', '.join(FORMATS)}, AVIF, HEIF)"
    if suffixes:
        common_suffixes = ", ".join(f"{count} {suffix}" for suffix, count in suffixes.most_common(3))
        message += (
            f"; by suffix it holds {common_suffixes}, e.g. {examples(map(shown, (*listing.problems, *listing.texts)))}"
        )
    if suffixes.keys() & {".parquet", ".csv", ".jsonl"}:
        message += "; give one such file, or a folder with nothing but .parquet files and none in folders below it"
    return message


def _captions(root: Path, listing: Listing) -> dict[PurePosixPath, str | None]:
    """Return the caption of each picture; a text that is none, or that cannot be read, is a problem."""
    texts = {_stem(path): path for path in listing.texts}
    read: dict[PurePosixPath, str | None] = {}
    captions: dict[PurePosixPath, str | None] = {}
    for picture in listing.pictures:
        path = texts.get(_stem(picture))
        if path is not None and path not in read:
            read[path] = _caption(root, path, listing)
        captions[picture] = None if path is None else read[path]
    for path in listing.texts:
        if path not in read:
            listing.problems[path] = "text beside no picture"
    return captions


def _stem(path: PurePosixPath) -> str:
    """Return the name that a picture and its caption share, however their system writes it."""
    return unicodedata.normalize("NFC", str(path.with_suffix("")))


def _caption(root: Path, path: PurePosixPath, listing: Listing) -> str | None:
    try:
        with (root / path).open("rb") as file:
            data = file.read(MAX_CAPTION_BYTES + 1)
        caption = decode_caption(data[:MAX_CAPTION_BYTES], cut=len(data) > MAX_CAPTION_BYTES)
        listing.western += is_western(data[:MAX_CAPTION_BYTES])
        return caption
    except OSError as error:
        listing.problems[path] = f"caption cannot be read: {error.strerror or error}"
    except UnreadableCaption as problem:
        listing.problems[path] = f"caption cannot be read: {problem}"
    return None


def _listed(name: str, listing: Listing, captions: dict[PurePosixPath, str | None]) -> TableReader:
    """Return a row for each picture and each problem, in the order of their paths."""
    paths = [str(path) for path in listing.pictures]
    values = {
        "item_id": paths,
        "caption": list(captions.values()),
        "image": paths,
        "folder": [str(path.parent) for path in listing.pictures],
    }
    table = pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})
    order = sorted([*listing.pictures, *listing.problems])
    malformed = {row: _reason(path, listing) for row, path in enumerate(order) if path in listing.problems}
    return TableReader(name, table, malformed, listing.left_out, _notes(listing))


def _notes(listing: Listing) -> ReadingNotes:
    """Say how many captions were read in an encoding that had to be found out."""
    return ReadingNotes(read_as=[f"{listing.western} captions in {WESTERN}"] if listing.western else [])


def _reason(path: PurePosixPath, listing: Listing) -> str:
    return f"{listing.problems[path]}: {shown(path)}"


def _with_metadata(
    root: Path,
    listing: Listing,
    captions: dict[PurePosixPath, str | None],
    columns: Columns | NamedColumns | None,
) -> TableReader:
    """Return the rows of all metadata files, then those pictures that none of them lists, then the problems."""
    tables, malformed, rows = [], dict[int, str](), 0
    mentioned: set[str] = set()
    for path in listing.metadata:
        reader = _metadata(root / path, columns)
        tables.append(_with_paths_from_root(reader, path.parent))
        mentioned |= _mentioned(tables[-1], path.parent)
        source = f" of {shown(path)}" if len(listing.metadata) > 1 else ""
        malformed |= {rows + row: f"{reason}{source}" for row, reason in reader.malformed.items()}
        rows += len(tables[-1]) + len(reader.malformed)
    has_ids = any("item_id" in table.column_names for table in tables) or bool(columns and columns.item_id)
    unlisted = [path for path in listing.pictures if _normalised_path(str(path)) not in mentioned]
    if has_ids:
        listing.problems |= dict.fromkeys(unlisted, UNLISTED)
    elif unlisted:
        tables.append(_rows_without_metadata(unlisted, captions))
        rows += len(unlisted)
    table = _concatenate(str(root), tables)
    if "item_id" not in table.column_names:
        table = table.append_column("item_id", table.column("file_name").cast(pa.string()))
    malformed |= {rows + position: _reason(path, listing) for position, path in enumerate(sorted(listing.problems))}
    name = str(root / listing.metadata[0]) if len(listing.metadata) == 1 else str(root)
    return TableReader(name, table, malformed, listing.left_out, _notes(listing))


def _metadata(path: Path, columns: Columns | NamedColumns | None) -> TableReader:
    listing = read_csv(path, columns) if path.suffix == ".csv" else read_jsonl(path)
    if "file_name" not in listing.schema.names:
        raise CatalogueError(f"{listing.name} has no column file_name; it names the pictures")
    return listing


def _with_paths_from_root(listing: TableReader, subfolder: PurePosixPath) -> pa.Table:
    """Return the rows of a metadata file, with the names of pictures from the folder that is read."""
    table = pa.Table.from_batches(listing.batches(listing.schema.names, 65_536), listing.schema)
    if not subfolder.parts:
        return table
    names = [_joined_name(subfolder, value) for value in table.column("file_name").to_pylist()]
    number = table.column_names.index("file_name")
    return table.set_column(number, "file_name", pa.array(names, table.schema.field("file_name").type))


def _joined_name(subfolder: PurePosixPath, value: Any) -> Any:  # noqa: ANN401 - a name, or a list of them
    if isinstance(value, list):
        return [_joined_name(subfolder, part) for part in value]
    return value if value is None else f"{subfolder}/{value}"


def _mentioned(table: pa.Table, subfolder: PurePosixPath) -> set[str]:
    """Return every text of a metadata file as the path of a picture: others than ``file_name`` may name some too."""
    columns = [name for name in table.column_names if is_text(table.schema.field(name).type)]
    texts = {text for name in columns for value in table.column(name).to_pylist() for text in _texts(value)}
    return {_normalised_path(text) for text in texts} | {_normalised_path(f"{subfolder}/{text}") for text in texts}


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 - of a source
    for part in value if isinstance(value, list) else [value]:
        if part is not None:
            yield str(part)


def _normalised_path(path: str) -> str:
    """Return a path as other systems would write it."""
    return posixpath.normpath(unicodedata.normalize("NFC", path.strip().replace("\\", "/")))


def _rows_without_metadata(paths: Sequence[PurePosixPath], captions: dict[PurePosixPath, str | None]) -> pa.Table:
    """Return a row for each picture of which nothing is known but perhaps a caption."""
    columns = {"file_name": pa.array(list(map(str, paths)), pa.string())}
    texts = [captions[path] for path in paths]
    return pa.table(columns | ({"caption": pa.array(texts, pa.string())} if any(texts) else {}))


def _concatenate(name: str, tables: Sequence[pa.Table]) -> pa.Table:
    """Put tables below each other; a column of several types becomes text."""
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(column for table in tables for column in table.column_names)
    if duplicates := [column for column in names if any(table.column_names.count(column) > 1 for table in tables)]:
        raise CatalogueError(f"{name} has metadata with more than one column named {duplicates}; rename one of them")
    return pa.table({column: _common_type_column(column, tables) for column in names})


def _common_type_column(column: str, tables: Sequence[pa.Table]) -> pa.ChunkedArray:
    """Return a column of several tables in one type, with nothing for the rows of those that lack it."""
    kinds = {table.schema.field(column).type for table in tables if column in table.column_names} - {pa.null()}
    kind = kinds.pop() if len(kinds) == 1 else pa.float64() if kinds == {pa.int64(), pa.float64()} else pa.string()
    chunks: list[pa.Array] = []
    for table in tables:
        if column not in table.column_names:
            chunks.append(pa.nulls(len(table), kind))
        elif pa.types.is_list(table.schema.field(column).type) and kind == pa.string():
            chunks.append(pa.array([as_text(value) for value in table.column(column).to_pylist()], kind))
        else:
            chunks += table.column(column).cast(kind).chunks
    return pa.chunked_array(chunks, kind)
