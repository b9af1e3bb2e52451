"""Where tables of results go: a file, a folder, a table of a database, or standard output."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import pyarrow as pa

from indexing.catalogue.readers.sql import SqlTable
from indexing.errors import InputError
from retrieval.batch.sql_output import check_sql_target, write_sql
from retrieval.batch.table_files import check_out, table_writer, write_table


@dataclass(frozen=True)
class StandardOutput:
    """Standard output, with the format of what is printed."""

    form: Literal["csv", "parquet"]


Target: TypeAlias = Path | str | StandardOutput
"""A file or folder, the URL of a table, or standard output."""


def check_target(target: Target) -> None:
    """Check before any work that a table can be written there.

    Raises:
        InputError: When it cannot, by its name.
        MissingExtraError: When what a database needs is not installed.
    """
    if isinstance(target, StandardOutput):
        if target.form == "parquet" and sys.stdout.isatty():
            raise InputError("Parquet is no text for a terminal; write it to a file by > or --out")
    elif isinstance(target, str):
        check_sql_target(SqlTable.parse(target))
    else:
        check_out(target)


def write_result(table: pa.Table, target: Target) -> str:
    """Write a table, and give the name of where it is for messages.

    Raises:
        InputError: When it cannot be written.
    """
    if isinstance(target, StandardOutput):
        check_target(target)
        with table_writer(_print, table.schema, target.form) as writer:
            writer.write_table(table)
        sys.stdout.flush()
        return "standard output"
    if isinstance(target, str):
        place = SqlTable.parse(target)
        write_sql(table, place)
        return str(place)
    write_table(table, target)
    return str(target)


def _print(data: bytes | memoryview) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
