"""Items from CSV; a line that does not fit costs itself only."""

import re
from collections.abc import Collection, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from indexing.catalogue.attribute_types import NO_NUMBER
from indexing.catalogue.columns import (
    IMAGE_NAMES,
    ITEM_ID_NAMES,
    TEXT_NAMES,
    Columns,
    NamedColumns,
    as_tuple,
    id_name,
    normalised_name,
)
from indexing.catalogue.readers.base import ReadingNotes, TableReader, file_of
from indexing.catalogue.readers.text_encoding import SEPARATORS, as_utf8, separator_of
from indexing.errors import CatalogueError
from indexing.media.remote_files import RemoteFile

MAX_LINE_BYTES = 1 << 24  # bytes
# Stands for a byte that is no UTF-8: Unicode keeps these for use inside programs, never in texts.
MARKS = [chr(code) for code in range(0xFDD0, 0xFDF0)]
# As floats, the code 007 would come back as 7, and a long number of digits as its neighbour.
NOT_A_FLOAT = r"^[+-]?(0[0-9]|[0-9]{16})"


def read_csv(path: Path | str | RemoteFile, columns: Columns | NamedColumns | None = None) -> TableReader:
    """Read a CSV file with a header; ids and text stay as they are written, other columns get their type.

    Args:
        path: The file.
        columns: The item_id, text and image columns where they have other than the usual names.

    Raises:
        CatalogueError: When it is no CSV file, or has no rows.
    """
    malformed: dict[int, str] = {}
    notes = ReadingNotes()

    def set_aside(row: csv.InvalidRow) -> str:
        lines = (row.text or "").count("\n")
        joined = f": a quote that is not closed joins {lines + 1} lines" if lines else ""
        malformed[row.number - 2] = f"{row.actual_columns} columns instead of {row.expected_columns}{joined}"
        return "skip"  # rows count from 1, with the header

    data, separator, names = _decode_and_split(file_of(path), columns, notes)
    data, mark = _mark_bad_bytes(data)
    try:
        # Everything is read as text first: guessing numbers would turn the id 007 into 7, and the title NA into none.
        table = csv.read_csv(
            pa.BufferReader(data),
            # One thread, since only then rows have numbers.
            read_options=csv.ReadOptions(use_threads=False, block_size=MAX_LINE_BYTES),
            parse_options=csv.ParseOptions(delimiter=separator, invalid_row_handler=set_aside, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except pa.ArrowException as error:
        raise CatalogueError(f"{path} cannot be read as CSV, separated by {SEPARATORS[separator]}: {error}") from error
    if mark and any(mark in name for name in table.column_names):
        raise CatalogueError(f"{path} has a header that is not UTF-8; save it as UTF-8")
    table = _without_marked_rows(table, mark, malformed) if mark else table
    ids = columns.item_id if columns and columns.item_id else id_name(table.schema)
    named_columns = (ids, *(columns.text or ()), *as_tuple(columns.image)) if columns else (ids,)
    keep_as_text = {*_usual_names(table.column_names), *named_columns}
    return TableReader(str(path), infer_types(table, keep_as_text), malformed, notes=notes)


def _decode_and_split(
    path: Path | RemoteFile, columns: Columns | NamedColumns | None, notes: ReadingNotes
) -> tuple[bytes, str, list[str]]:
    """Return a file as UTF-8, what separates its columns, and their names."""
    data = path.read_bytes()
    try:
        data, encoding = as_utf8(data)
    except UnicodeDecodeError as error:
        raise CatalogueError(f"{path} is not in the encoding that its first bytes say: {error}") from error
    id_column = columns.item_id if columns else None

    def fits(names: Collection[str]) -> bool:
        return id_column in names if id_column else bool(_usual_names(names))

    separator, names = separator_of(data, path.suffix.lower(), fits)
    if encoding:
        notes.read_as.append(f"encoding {encoding}")
    if separator != ",":
        notes.read_as.append(f"separated by {SEPARATORS[separator]}")
    return data, separator, names


def _usual_names(names: Iterable[str]) -> list[str]:
    """Return those names that an item_id, texts or pictures usually have."""
    usual = set(map(normalised_name, (*ITEM_ID_NAMES, *TEXT_NAMES, *IMAGE_NAMES)))
    return [name for name in names if normalised_name(name) in usual]


def _mark_bad_bytes(data: bytes) -> tuple[bytes, str | None]:
    """Put a mark in place of each byte that is no UTF-8, since the parser gives up on a bad line that holds one."""
    try:
        data.decode()
    except UnicodeDecodeError:
        mark = next((mark for mark in MARKS if mark.encode() not in data), MARKS[0])
        return re.sub("[\udc80-\udcff]", mark, data.decode("utf-8", "surrogateescape")).encode(), mark
    return data, None


def _without_marked_rows(table: pa.Table, mark: str, malformed: dict[int, str]) -> pa.Table:
    """Take out the rows that hold a mark, and note them as malformed."""
    numbers = [number for number in range(len(table) + len(malformed)) if number not in malformed]
    problems: dict[int, str] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        for position in pc.indices_nonzero(pc.match_substring(column, mark)).to_pylist():
            problems.setdefault(position, f"not UTF-8: column {name}")
    malformed.update({numbers[position]: problem for position, problem in problems.items()})
    return table.filter(pa.array([position not in problems for position in range(len(table))], pa.bool_()))


def infer_types(table: pa.Table, as_written: Iterable[str | None] = ()) -> pa.Table:
    """Return columns of numbers, dates or booleans their type, where every value has it and none is rewritten."""
    keep_as_text = set(as_written)
    columns = [
        column if name in keep_as_text else _infer_type(column)
        for name, column in zip(table.column_names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, names=table.column_names)


def _infer_type(column: pa.ChunkedArray) -> pa.ChunkedArray:
    values = pc.if_else(pc.is_in(column, value_set=pa.array(NO_NUMBER)), None, column)
    if values.null_count == len(values):
        return column
    for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("s")):
        try:
            cast = values.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        if pa.types.is_integer(kind) and not cast.cast(pa.string()).equals(values):
            return column
        if pa.types.is_floating(kind) and pc.any(pc.match_substring_regex(values, NOT_A_FLOAT)).as_py():
            return column
        return cast
    return column
