"""Items that are put in again: what they would lose for want of a column, and which of them are as they were."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_rows
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import as_tuple
from indexing.errors import InputError, examples
from indexing.media.files import Modality
from indexing.store.store import Embedding

Contents: TypeAlias = dict[str, dict[tuple[str, int], tuple[str, str]]]
"""By item, then by modality and part: the digest of the content, and why it is quarantined."""


def contents_of(bundle: Bundle, tables: Iterable[pa.Table]) -> Contents:
    """Return what a bundle has of the contents of items.

    Args:
        bundle: Which it is.
        tables: As `indexing.bundle.updated_items.known_embeddings` gives them, the latest last.
    """
    replaced = {item_id for batch in bundle.batches for item_id in batch.item_ids}  # the last batch has the whole item
    contents: Contents = {}
    for table in tables:
        columns = ("item_id", "modality", "part", "content_hash", "reason")
        table_contents: Contents = {}
        for item_id, modality, part, digest, reason in zip(*(table[c].to_pylist() for c in columns), strict=True):
            table_contents.setdefault(item_id, {})[modality, part] = (digest, reason)
        for item_id, item_contents in table_contents.items():
            contents[item_id] = item_contents if item_id in replaced else contents.get(item_id, {}) | item_contents
    return contents


def check_nothing_lost(bundle: Bundle, catalogue: Catalogue, attributes: pa.Table, contents: Contents) -> None:
    """Check that items which are put in again lose nothing because their source lacks a column.

    Args:
        bundle: Where they are.
        catalogue: What is put in.
        attributes: Of the catalogue, as the bundle has them.
        contents: Of those of its items that the bundle has.

    Raises:
        InputError: When the bundle has values of an item in a column that the source has not.
    """
    known = bundle.items.known(attributes.column("item_id").to_pylist())
    if not known:
        return
    old_attributes = bundle.attributes.take(pa.array(bundle.items.rows(known)))
    given_columns = {
        *attributes.column_names,
        *catalogue.reader.schema.names,
    }  # a column without any value is given, too
    lost_values = {
        name: len(known) - old_attributes.column(name).null_count
        for name in old_attributes.column_names
        if name not in given_columns
    }
    for modality in (Modality.IMAGE, Modality.AUDIO):
        column = _source_columns(bundle, modality)
        if not (_has_column(catalogue, modality) or given_columns.intersection(column)):
            lost_values[" and ".join(column)] = sum(
                any(name == modality for name, _ in item_contents) for item_contents in contents.values()
            )
    if emptied := {name: count for name, count in lost_values.items() if count}:
        counts = ", ".join(f"{name} of {count}" for name, count in emptied.items())
        raise InputError(
            f"{catalogue.source} lacks columns that {len(known)} items of {bundle.root}, e.g. {examples(known[:1])}, "
            f"have values in: {counts}; nothing was changed: give these columns too, without values where none stays",
            python="or change attributes alone with update",
            cli="or change attributes alone with `commonspace update`",
            http='or change attributes alone with "mode": "update"',
        )


def _has_column(catalogue: Catalogue, modality: Modality) -> bool:
    columns = catalogue.columns
    if modality is Modality.IMAGE:
        return bool(columns.images or columns.video or columns.vectors)
    return bool(columns.audio or columns.video or columns.vectors)


def _source_columns(bundle: Bundle, modality: Modality) -> tuple[str, ...]:
    """Name the columns that contents were read from."""
    columns = bundle.manifest.columns
    return as_tuple(columns.get(str(modality))) or as_tuple(columns.get("video")) or (str(modality),)


def unchanged(bundle: Bundle, attributes: pa.Table, before: Contents, records: Iterable[Embedding]) -> list[str]:
    """Return the items that the bundle has just so: the same attributes, made of the same contents."""
    after: Contents = {}
    for record in records:
        after.setdefault(record.item_id, {})[str(record.modality), record.part] = (record.content_hash, record.reason)
    candidates = [item_id for item_id in bundle.items.known(before) if before[item_id] == after.get(item_id)]
    if not candidates:  # to take no row of many costs more than it seems
        return []
    new_rows = {item_id: row for row, item_id in enumerate(attributes.column("item_id").to_pylist())}
    new = python_rows(attributes.take(pa.array([new_rows[item_id] for item_id in candidates], pa.int64())))
    old = python_rows(bundle.attributes.take(pa.array(bundle.items.rows(candidates), pa.int64())))
    return [
        item_id
        for item_id, old_row, new_row in zip(candidates, old, new, strict=True)
        if _values(old_row) == _values(new_row)
    ]


def _values(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}
