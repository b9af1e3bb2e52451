"""Results into a table of a SQL database, whole or not at all."""

import datetime
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from indexing.catalogue.attribute_types import is_list, is_scalar
from indexing.catalogue.readers.arrow_tables import check_distinct
from indexing.catalogue.readers.sql import SqlTable, connected
from indexing.errors import InputError, import_extra

_ROWS = 10_000  # written at once
_LARGEST = 2**63 - 1
_EXACT = 15  # digits of a decimal that SQLite, which keeps it as a float, gives back
_NO_COLUMN = "no column of a database holds {}; cast it first"


def check_sql_target(table: SqlTable) -> SqlTable:
    """Check before any work that results can be written there.

    Raises:
        InputError: For a query in place of a table.
    """
    if table.is_query:
        raise InputError(f"{table} is a query; name the table that results are written to")
    return table


def write_sql(table: pa.Table, target: SqlTable) -> None:
    """Write a table, in place of what the table of that name held if it has the same columns.

    Rows are replaced in one transaction: who reads meanwhile sees the old rows or the new ones. Lists are JSON; SQLite
    has no zones, so times with one are written in UTC.

    Raises:
        InputError: When the table exists with other columns, or a value has no place in the database; names its row.
    """
    check_sql_target(target)
    check_distinct(table.column_names, "the result")
    alchemy = import_extra("sqlalchemy", "sql")
    schema, name = target.parts
    columns = [_column(alchemy, table.schema.field(place), target) for place in range(table.num_columns)]
    stored = alchemy.Table(name, alchemy.MetaData(), *columns, schema=schema)
    # Before anything is created, which SQLite would not undo.
    batches = [_rows(table.slice(start, _ROWS), start, target) for start in range(0, len(table), _ROWS)]
    with connected(target) as connection:
        found = alchemy.inspect(connection)
        if found.has_table(name, schema=schema):
            present = [column["name"] for column in found.get_columns(name, schema=schema)]
            if sorted(present) != sorted(table.column_names):
                raise InputError(
                    f"{target} exists with the columns {present}, not {table.column_names}; name another table, or "
                    "drop it"
                )
            connection.execute(stored.delete())
        else:
            connection.execute(alchemy.schema.CreateTable(stored))
        for rows in batches:
            connection.execute(stored.insert(), rows)


def _column(alchemy: Any, column: pa.Field, target: SqlTable) -> Any:  # noqa: ANN401 - SQLAlchemy stays lazy
    kind, types = column.type, alchemy.types
    known: Sequence[tuple[Callable[[Any], bool], Callable[[], Any]]] = (
        (pt.is_boolean, lambda: types.Boolean()),
        (pt.is_integer, lambda: types.BigInteger()),
        (pt.is_floating, lambda: types.Double()),
        (lambda one: pt.is_string(one) or pt.is_large_string(one) or pt.is_null(one), lambda: types.Text()),
        (pt.is_date, lambda: types.Date()),
        (pt.is_timestamp, lambda: types.DateTime(timezone=kind.tz is not None)),
        (pt.is_time, lambda: types.Time()),
        (lambda one: pt.is_binary(one) or pt.is_large_binary(one), lambda: types.LargeBinary()),
        (lambda one: is_list(one) and is_scalar(one.value_type), lambda: types.JSON()),
    )
    if pt.is_decimal(kind) and (target.is_remote or kind.precision <= _EXACT):
        # SQLite keeps floats: SQLAlchemy would warn of its own type for decimals there
        return alchemy.Column(column.name, types.Numeric(kind.precision, kind.scale, asdecimal=target.is_remote))
    made = next((make for fits, make in known if fits(kind)), None)
    if made is None:
        raise InputError(f"column {column.name!r} of the result: {_NO_COLUMN.format(kind)}")
    return alchemy.Column(column.name, made())


def _rows(table: pa.Table, start: int, target: SqlTable) -> list[dict[str, Any]]:
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        try:
            values = (
                column.cast(pa.timestamp("us", column.type.tz)).to_pylist()
                if pt.is_timestamp(column.type)
                else column.to_pylist()
            )
        except (pa.ArrowException, ValueError, OverflowError) as error:
            raise InputError(f"column {name!r} of the result cannot be written: {error}") from error
        columns[name] = [_value(value, name, row, target) for row, value in enumerate(values, start)]
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


def _value(value: Any, name: str, row: int, target: SqlTable) -> Any:  # noqa: ANN401 - of any column
    """Return a value as SQLAlchemy takes it; what a database would change without a word is refused."""
    problem = ""
    if isinstance(value, int) and value > _LARGEST:
        problem = "is larger than a whole number of a database"
    elif isinstance(value, str) and "\0" in value and target.is_remote:
        problem = "has a zero character"
    elif isinstance(value, float) and value != value and not target.is_remote:
        problem = "is no number, which SQLite takes for a missing value"
    elif isinstance(value, list):
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            problem = "cannot be written as JSON"
    elif isinstance(value, datetime.datetime) and value.tzinfo and not target.is_remote:
        return value.astimezone(datetime.UTC).replace(tzinfo=None)
    if problem:
        raise InputError(
            f"row {row} (from 0) of the result: {value!r:.60} in column {name!r} {problem}; nothing was written"
        )
    return value
