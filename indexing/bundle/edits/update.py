"""Change attributes of items, as price or stock, without encoding anything."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import Batch
from indexing.bundle.edits.edit import EditReport, commit_batch, locked_bundle
from indexing.catalogue.arrow_values import python_value, python_values
from indexing.catalogue.attribute_types import in_words
from indexing.catalogue.cleaning import clean_item_id
from indexing.catalogue.columns import NamedColumns, as_tuple, id_name
from indexing.catalogue.item_ids import other_spelling
from indexing.catalogue.readers.arrow_tables import ArrowStream, arrow_table, is_table
from indexing.catalogue.readers.csv import read_csv
from indexing.catalogue.readers.jsonl import read_jsonl
from indexing.catalogue.readers.parquet import ParquetReader
from indexing.catalogue.readers.sql import SqlTable, is_sql_url, read_sql
from indexing.errors import CatalogueError, InputError, UnknownItemError, examples
from indexing.runtime.arguments import check_kind
from indexing.store.store import BLOCK_ITEMS, to_table

Updates: TypeAlias = ArrowStream | Path | str | Sequence[Mapping[str, Any]]
"""A DataFrame, an Arrow table, the path of a .csv, .jsonl or .parquet file, or a list of objects: an item_id and new
values each."""


def update(bundle: Bundle | Path | str, updates: Updates, *, item_id: str | None = None) -> EditReport:
    """Return items other attributes; when this returns, they are on disk and filters find them.

    Nothing is encoded and no vector changes: columns that vectors were made of are refused, `upsert` those.
    A missing value leaves what was. Whole or not at all: one row that cannot be used, and nothing is changed.

    Args:
        bundle: The folder of the bundle, or, which is faster for many changes, the bundle opened.
        updates: One row an item, with its item_id and the columns to change.
        item_id: Column of the item_id; found by its usual names when None.

    Raises:
        UnknownItemError: When the bundle lacks an item.
        InputError: When a column is not in the bundle, or a value is not of its type.
        BundleLockedError: When another process holds the lock of the bundle for too long.
    """
    if item_id is not None:
        check_kind(item_id, str, "item_id", "give the name of a column, or None")
    with locked_bundle(bundle) as present:
        schema = present.attributes.schema
        texts = tuple(column.name for column in schema if pa.types.is_string(column.type))
        table = _with_item_ids(_read(updates, NamedColumns(item_id, texts)), item_id)
        table = table.set_column(
            0, "item_id", pa.array([_bundle_spelling(raw_id, present) for raw_id in table[0].to_pylist()])
        )
        _check_items(table.column("item_id").to_pylist(), present)
        _check_columns(table, present)
        changed = _cast_columns(table, schema)
        num_missing = sum(changed.column(name).null_count for name in changed.column_names)
        no_embeddings = to_table([], present.manifest.encoder.dim)
        batch = Batch(0, "", (), no_embeddings, schema.empty_table(), changed)
        return commit_batch(present, batch, EditReport(updated=len(changed), left=num_missing))


def _read(updates: Updates, columns: NamedColumns) -> pa.Table:
    """Return updates as a table; a file with a row that cannot be read is refused."""
    if is_table(updates):
        return arrow_table(updates, "the table of updates")
    if is_sql_url(updates):
        return read_sql(SqlTable.parse(str(updates)))
    if not isinstance(updates, Path | str):
        if not isinstance(updates, Sequence) or not all(isinstance(row, Mapping) for row in updates):
            raise InputError(f"updates are {type(updates).__name__}; give a table, a file, or a list of objects")
        rows: list[Mapping[str, Any]] = [row for row in updates if isinstance(row, Mapping)]
        names = dict.fromkeys(name for row in rows for name in row)
        return pa.table({name: _column(name, [row.get(name) for row in rows]) for name in names})
    path = Path(updates)
    match path.suffix.lower():
        case ".csv":
            reader: Any = read_csv(path, columns)
        case ".jsonl" | ".ndjson":
            reader = read_jsonl(path)
        case ".parquet" | ".pq":
            reader = ParquetReader(path)
        case _:
            raise CatalogueError(f"cannot tell what {path} is; give a .csv, .jsonl or .parquet file")
    if reader.malformed:
        row, reason = next(iter(reader.malformed.items()))
        raise CatalogueError(f"row {row} of {path} cannot be read: {reason}; nothing was changed")
    return pa.Table.from_batches(reader.batches(reader.schema.names, BLOCK_ITEMS), None)


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"the values of {name!r} have no common type: {error}") from error


def _with_item_ids(table: pa.Table, given_name: str | None) -> pa.Table:
    """Return a table whose first column is ``item_id``, cleaned as a build cleans it."""
    if not len(table):
        raise InputError("the updates have no rows: there is nothing to change")
    name = given_name or id_name(table.schema)
    if name is None or name not in table.column_names:
        expected = f"column {given_name!r}" if given_name else "column named item_id, id, sku or the like"
        raise InputError(f"the updates have no {expected} among {table.column_names}")
    if duplicates := sorted(
        {column_name for column_name in table.column_names if table.column_names.count(column_name) > 1}
    ):
        raise InputError(f"the updates have more than one column named {duplicates}; rename one of them")
    ids = []
    for row, raw in enumerate(python_values(table.column(name))):
        clean_id, problem = clean_item_id(raw, Counter())
        if problem:
            raise InputError(f"row {row} of the updates: {problem} ({raw!r:.60}); nothing was changed")
        ids.append(clean_id)
    other_columns = [column_name for column_name in table.column_names if column_name != name]
    return table.select(other_columns).add_column(0, "item_id", pa.array(ids, pa.string()))


def _bundle_spelling(item_id: str, bundle: Bundle) -> str:
    """Write an id as the bundle does, with or without ``.0``, where it knows it so."""
    spelling = other_spelling(item_id)
    return spelling if spelling is not None and item_id not in bundle.items and spelling in bundle.items else item_id


def _check_items(item_ids: list[str], bundle: Bundle) -> None:
    if unknown := [item_id_ for item_id_ in item_ids if item_id_ not in bundle.items]:
        raise UnknownItemError(
            f"{len(unknown)} of {len(item_ids)} item ids are not in {bundle.root}: {examples(unknown)}; nothing was "
            "changed: leave them out, or add them"
        )
    if len(set(item_ids)) < len(item_ids):
        duplicates = [item_id_ for item_id_, count in Counter(item_ids).items() if count > 1]
        raise InputError(f"{len(duplicates)} items come more than once: {examples(duplicates)}; give each item one row")


def _check_columns(table: pa.Table, bundle: Bundle) -> None:
    """Check that there is something to change, and that each column can be."""
    names, attributes = table.column_names[1:], bundle.attributes.column_names
    if not names:
        raise InputError("the updates have no column but the item_id; give the columns to change")
    columns = bundle.manifest.columns
    encoded = {*as_tuple(columns.get("image")), columns.get("audio"), columns.get("video")}
    encoded |= {*(columns.get("text") or ()), *(columns.get("vectors") or ())}
    if stale := [name for name in names if name in encoded]:
        raise InputError(
            f"the vectors of {bundle.root} were made of {stale}: update changes attributes alone",
            python="use upsert, which encodes what has changed",
            cli="use `commonspace add --upsert`, which encodes what has changed",
            http='send it with "mode": "upsert", which encodes what has changed',
        )
    if unknown := [name for name in names if name not in attributes]:
        close = difflib.get_close_matches(unknown[0], attributes) or [
            name for name in attributes if name not in encoded
        ]
        raise InputError(f"{bundle.root} has no attribute {unknown[0]!r}; did you mean one of {close[:12]}?")


def _cast_columns(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns in the types that the bundle has."""
    for position, column in enumerate(table.schema):
        if (target_type := schema.field(column.name).type) != column.type:
            table = table.set_column(position, column.name, _cast(table, column.name, target_type))
    return table


def _cast(table: pa.Table, name: str, target_type: pa.DataType) -> pa.ChunkedArray:
    try:
        return table.column(name).cast(target_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        for item_id, value in zip(table.column("item_id").to_pylist(), table.column(name), strict=True):
            try:
                value.cast(target_type)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(
                    f"{name!r} of item {item_id!r} is {python_value(value)!r:.60}, in the bundle it is "
                    f"{in_words(target_type)}; give values of that type; nothing was changed"
                ) from error
        raise
