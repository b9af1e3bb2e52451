"""Items from CSV; a line that does not fit costs itself only."""

from pathlib import Path

import pyarrow as pa
from pyarrow import csv

from indexing.errors import CatalogueError
from indexing.readers import TableReader, file_of


def read_csv(path: Path | str) -> TableReader:
    """Read a CSV file with a header; ids and text keep their leading zeros.

    Raises:
        CatalogueError: When it is no CSV file.
    """
    malformed: dict[int, str] = {}

    def set_aside(row: csv.InvalidRow) -> str:
        number = row.number - 2 if row.number is not None else len(malformed)  # lines count from 1, with the header
        malformed[number] = f"{row.actual_columns} columns instead of {row.expected_columns}"
        return "skip"

    source = file_of(path)
    try:
        with csv.open_csv(source) as head:
            names = head.schema.names
        # Everything is read as text first: guessing numbers would turn the id 007 into 7.
        table = csv.read_csv(
            source,
            read_options=csv.ReadOptions(use_threads=False),
            parse_options=csv.ParseOptions(invalid_row_handler=set_aside, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                strings_can_be_null=True,
                quoted_strings_can_be_null=True,
            ),
        )
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path} cannot be read as CSV: {error}") from error
    return TableReader(str(path), typed(table), malformed)


def typed(table: pa.Table) -> pa.Table:
    """Give columns of numbers, dates or booleans their type, where every value has it and none is rewritten."""
    columns = [_typed(column) for column in table.columns]
    return (
        pa.table(dict(zip(table.column_names, columns, strict=True)))
        if len(set(table.column_names)) == len(columns)
        else table
    )


def _typed(column: pa.ChunkedArray) -> pa.ChunkedArray:
    for kind in (pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.timestamp("s")):
        try:
            cast = column.cast(kind)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
        # 007 would come back as 7: such a column is text.
        if not pa.types.is_integer(kind) or cast.cast(pa.string()).equals(column):
            return cast if column.null_count < len(column) else column
        return column
    return column
