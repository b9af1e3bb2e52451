"""Change attributes of items, as price or stock, without encoding anything."""

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import Batch
from indexing.bundle.edits.edit import EditReport, changing, commit
from indexing.catalogue.arrow_values import python_value, python_values
from indexing.catalogue.attribute_types import in_words
from indexing.catalogue.cleaning import clean_item_id
from indexing.catalogue.columns import NamedColumns, id_name, several
from indexing.catalogue.item_ids import other_spelling
from indexing.catalogue.readers.csv import read_csv
from indexing.catalogue.readers.jsonl import read_jsonl
from indexing.catalogue.readers.parquet import ParquetReader
from indexing.errors import CatalogueError, InputError, UnknownItemError, examples
from indexing.runtime.arguments import check_kind
from indexing.store.store import AT_ONCE, to_table

Updates: TypeAlias = pa.Table | Path | str | Sequence[Mapping[str, Any]]
"""A table, the path of a .csv, .jsonl or .parquet file, or a list of objects: an item_id and new values each."""


def update(bundle: Bundle | Path | str, updates: Updates, *, item_id: str | None = None) -> EditReport:
    """Give items other attributes; when this returns, they are on disk and filters find them.

    Nothing is encoded and no vector changes: columns that vectors were made of are refused, `upsert` those.
    A missing value leaves what was. Whole or not at all: one row that cannot be used, and nothing is changed.

    Args:
        bundle: The folder of the bundle, or, which is faster for many changes, the bundle opened.
        updates: One row an item, with its item_id and the columns to change.
        item_id: Column of the item_id; found by its usual names when None.

    Raises:
        UnknownItemError: When the bundle lacks an item.
        InputError: When a column is not in the bundle, or a value is not of its type.
        BundleLockedError: When another process goes on writing to the bundle.
    """
    if item_id is not None:
        check_kind(item_id, str, "item_id", "give the name of a column, or None")
    with changing(bundle) as present:
        schema = present.attributes.schema
        texts = tuple(column.name for column in schema if pa.types.is_string(column.type))
        table = _identified(_read(updates, NamedColumns(item_id, texts)), item_id)
        table = table.set_column(0, "item_id", pa.array([_known(each, present) for each in table[0].to_pylist()]))
        _check_items(table.column("item_id").to_pylist(), present)
        _check_columns(table, present)
        changed = _typed(table, schema)
        left = sum(changed.column(name).null_count for name in changed.column_names)
        nothing = to_table([], present.manifest.encoder.dim)
        batch = Batch(0, "", (), nothing, schema.empty_table(), changed)
        return commit(present, batch, EditReport(updated=len(changed), left=left))


def _read(updates: Updates, columns: NamedColumns) -> pa.Table:
    """Give updates as a table; a file with a row that cannot be read is refused."""
    if isinstance(updates, pa.Table):
        return updates
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
    return pa.Table.from_batches(reader.batches(reader.schema.names, AT_ONCE), None)


def _column(name: str, values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise InputError(f"the values of {name!r} have no common type: {error}") from error


def _identified(table: pa.Table, named: str | None) -> pa.Table:
    """Give a table whose first column is ``item_id``, cleaned as a build cleans it."""
    if not len(table):
        raise InputError("the updates have no rows: there is nothing to change")
    name = named or id_name(table.schema)
    if name is None or name not in table.column_names:
        wanted = f"column {named!r}" if named else "column named item_id, id, sku or the like"
        raise InputError(f"the updates have no {wanted} among {table.column_names}")
    if twice := sorted({each for each in table.column_names if table.column_names.count(each) > 1}):
        raise InputError(f"the updates have more than one column named {twice}; rename one of them")
    ids = []
    for row, raw in enumerate(python_values(table.column(name))):
        found, problem = clean_item_id(raw, Counter())
        if problem:
            raise InputError(f"row {row} of the updates: {problem} ({raw!r:.60}); nothing was changed")
        ids.append(found)
    others = [each for each in table.column_names if each != name]
    return table.select(others).add_column(0, "item_id", pa.array(ids, pa.string()))


def _known(item_id: str, bundle: Bundle) -> str:
    """Write an id as the bundle does, with or without ``.0``, where it knows it so."""
    other = other_spelling(item_id)
    return other if other is not None and item_id not in bundle.items and other in bundle.items else item_id


def _check_items(item_ids: list[str], bundle: Bundle) -> None:
    if unknown := [each for each in item_ids if each not in bundle.items]:
        raise UnknownItemError(
            f"{len(unknown)} of {len(item_ids)} item ids are not in {bundle.root}: {examples(unknown)}; nothing was "
            "changed: leave them out, or add them"
        )
    if len(set(item_ids)) < len(item_ids):
        twice = [each for each, count in Counter(item_ids).items() if count > 1]
        raise InputError(f"{len(twice)} items come more than once: {examples(twice)}; give each item one row")


def _check_columns(table: pa.Table, bundle: Bundle) -> None:
    """Check that there is something to change, and that each column can be."""
    names, known = table.column_names[1:], bundle.attributes.column_names
    if not names:
        raise InputError("the updates have no column but the item_id; give the columns to change")
    built = bundle.manifest.columns
    encoded = {*several(built.get("image")), built.get("audio"), built.get("video")}
    encoded |= {*(built.get("text") or ()), *(built.get("vectors") or ())}
    if stale := [name for name in names if name in encoded]:
        raise InputError(
            f"the vectors of {bundle.root} were made of {stale}: update changes attributes alone",
            python="use upsert, which encodes what has changed",
            cli="use `commonspace add --upsert`, which encodes what has changed",
        )
    if unknown := [name for name in names if name not in known]:
        close = difflib.get_close_matches(unknown[0], known) or [name for name in known if name not in encoded]
        raise InputError(f"{bundle.root} has no attribute {unknown[0]!r}; did you mean one of {close[:12]}?")


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give the columns in the types that the bundle has."""
    for place, column in enumerate(table.schema):
        if (wanted := schema.field(column.name).type) != column.type:
            table = table.set_column(place, column.name, _cast(table, column.name, wanted))
    return table


def _cast(table: pa.Table, name: str, wanted: pa.DataType) -> pa.ChunkedArray:
    try:
        return table.column(name).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        for item_id, value in zip(table.column("item_id").to_pylist(), table.column(name), strict=True):
            try:
                value.cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                raise InputError(
                    f"{name!r} of item {item_id!r} is {python_value(value)!r:.60}, in the bundle it is "
                    f"{in_words(wanted)}; give values of that type; nothing was changed"
                ) from error
        raise
