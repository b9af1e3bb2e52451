"""Items of requests as a catalogue: objects whose files are base64, or a Parquet file. No path is followed."""

import binascii
from base64 import b64decode
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.source_columns import columns_as_built
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns, as_tuple, detect_columns
from indexing.catalogue.readers.base import Reader
from indexing.catalogue.readers.jsonl import json_object, objects_reader
from indexing.catalogue.readers.parquet import ParquetReader
from indexing.errors import CatalogueError, InputError

PARQUET, LINES = "items.parquet", "items.jsonl"
REQUEST = "the request"
_MAGIC = b"PAR1"


def kind_of_upload(start: bytes) -> str:
    """Tell from its first bytes what an uploaded file is, and give the name to keep it under.

    >>> kind_of_upload(b"PAR1"), kind_of_upload(b' {"item_id": 1}')
    ('items.parquet', 'items.jsonl')

    Raises:
        InputError: When it is neither Parquet nor JSON lines.
    """
    if start.startswith(_MAGIC):
        return PARQUET
    if start.lstrip()[:1] == b"{":
        return LINES
    raise InputError("the file is neither Parquet nor JSON lines; give one of them, as told by its first bytes")


def catalogue_of(source: Path | Sequence[Any], bundle: Bundle) -> Catalogue:
    """Take objects, or an uploaded file, as items, with the columns that a bundle was built from.

    What is no object is a row that is rejected.

    Raises:
        CatalogueError: When nothing of it can be read, or it has no item_id or nothing to embed.
    """
    if isinstance(source, Path) and source.name == PARQUET:
        return _as_built(ParquetReader(source), bundle)
    rows: list[dict[str, Any]] = []
    malformed: dict[int, str] = {}
    for number, (row, problem) in enumerate(_objects(source)):
        if problem:
            malformed[number] = problem
        else:
            rows.append(row)
    return _of_rows(rows, malformed, bundle)


def updates_of(source: Path | Sequence[Any]) -> Path | list[dict[str, Any]]:
    """Give what `update` takes of objects, or of an uploaded file.

    Raises:
        CatalogueError: When one is no object, as an update is whole or not at all.
    """
    if isinstance(source, Path) and source.name == PARQUET:
        return source
    rows = []
    for number, (row, problem) in enumerate(_objects(source)):
        if problem:
            raise CatalogueError(f"row {number} is {problem}; nothing was changed: mend it, and send all again")
        rows.append(row)
    return rows


def _objects(source: Path | Sequence[Any]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Give objects, or what is wrong with what is none."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            yield from (json_object(line) for line in file if line.strip())
        return
    for one in source:
        is_object = isinstance(one, dict)
        yield (one, None) if is_object else ({}, f"a JSON {type(one).__name__} instead of an object")


def _of_rows(rows: list[dict[str, Any]], malformed: dict[int, str], bundle: Bundle) -> Catalogue:
    if not rows:
        reason = next(iter(malformed.values()), "there is none")
        raise CatalogueError(f"{REQUEST} has no item that can be read: {reason}; give objects with an item_id")
    types = _types(bundle)
    reader = objects_reader(REQUEST, rows, malformed, types=types)
    columns = detect_columns(reader.schema, REQUEST, columns_as_built(NamedColumns(), reader.schema.names, bundle))
    if not columns.media:
        return _as_built(reader, bundle)
    decoded, numbers = [], (n for n in range(len(rows) + len(malformed)) if n not in malformed)
    bad_files: dict[int, str] = {}
    for number, row in zip(numbers, rows, strict=True):
        try:
            decoded.append({**row, **{name: _files(row[name], name) for name in columns.media if name in row}})
        except ValueError as error:
            bad_files[number] = str(error)
    if not decoded:
        raise CatalogueError(f"{REQUEST} has no item that can be read: {next(iter(bad_files.values()))}")
    return _as_built(objects_reader(REQUEST, decoded, {**malformed, **bad_files}, types=types), bundle)


def _types(bundle: Bundle) -> dict[str, pa.DataType]:
    """Give the types of the columns that a bundle was built from."""
    built = bundle.manifest.columns
    files = [name for kind in ("image", "audio", "video") for name in as_tuple(built.get(kind))]
    return {field.name: field.type for field in bundle.attributes.schema} | dict.fromkeys(files, pa.binary())


def _as_built(reader: Reader, bundle: Bundle) -> Catalogue:
    return Catalogue(reader, columns_as_built(NamedColumns(), reader.schema.names, bundle), None)


def _files(value: Any, name: str) -> Any:  # noqa: ANN401 - any JSON
    """Decode a file, or a list of files.

    Raises:
        ValueError: When one is no base64.
    """
    if isinstance(value, list):
        return [_files(one, name) for one in value]
    if value is None:
        return None
    try:
        return b64decode(value, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise ValueError(f"not base64: {name}, which takes the bytes of a file, no path and no URL") from error
