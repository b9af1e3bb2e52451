"""Items that are put in again: what they would lose for want of a column, and which of them are as they were."""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import pyarrow as pa

from indexing.bundle.bundle import Bundle
from indexing.catalogue.arrow_values import python_rows
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import several
from indexing.errors import InputError, examples
from indexing.media.files import Modality
from indexing.store.store import Embedding

Contents: TypeAlias = dict[str, dict[tuple[str, int], tuple[str, str]]]
"""By item, then by modality and part: the digest of the content, and why it is quarantined."""


def contents_of(bundle: Bundle, tables: Iterable[pa.Table]) -> Contents:
    """Give what a bundle has of the contents of items.

    Args:
        bundle: Which it is.
        tables: As `indexing.bundle.updated_items.known_embeddings` gives them, the latest last.
    """
    anew = {item_id for batch in bundle.batches for item_id in batch.item_ids}  # the last batch has the whole item
    found: Contents = {}
    for table in tables:
        columns = ("item_id", "modality", "part", "content_hash", "reason")
        here: Contents = {}
        for item_id, modality, part, digest, reason in zip(*(table[c].to_pylist() for c in columns), strict=True):
            here.setdefault(item_id, {})[modality, part] = (digest, reason)
        for item_id, own in here.items():
            found[item_id] = own if item_id in anew else found.get(item_id, {}) | own
    return found


def check_kept(bundle: Bundle, catalogue: Catalogue, attributes: pa.Table, contents: Contents) -> None:
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
    had = bundle.attributes.take(pa.array(bundle.items.rows(known)))
    given = {*attributes.column_names, *catalogue.reader.schema.names}  # a column without any value is given, too
    lost = {name: len(known) - had.column(name).null_count for name in had.column_names if name not in given}
    for kind in (Modality.IMAGE, Modality.AUDIO):
        column = _column_of(bundle, kind)
        if not (_gives(catalogue, kind) or given.intersection(column)):
            lost[" and ".join(column)] = sum(any(name == kind for name, _ in one) for one in contents.values())
    if emptied := {name: count for name, count in lost.items() if count}:
        told = ", ".join(f"{name} of {count}" for name, count in emptied.items())
        raise InputError(
            f"{catalogue.source} lacks columns that {len(known)} items of {bundle.root}, e.g. {examples(known[:1])}, "
            f"have values in: {told}; nothing was changed: give these columns too, without values where none stays",
            python="or change attributes alone with update",
            cli="or change attributes alone with `commonspace update`",
        )


def _gives(catalogue: Catalogue, kind: Modality) -> bool:
    columns = catalogue.columns
    if kind is Modality.IMAGE:
        return bool(columns.images or columns.video or columns.vectors)
    return bool(columns.audio or columns.video or columns.vectors)


def _column_of(bundle: Bundle, kind: Modality) -> tuple[str, ...]:
    """Name the columns that contents were read from."""
    built = bundle.manifest.columns
    return several(built.get(str(kind))) or several(built.get("video")) or (str(kind),)


def unchanged(bundle: Bundle, attributes: pa.Table, before: Contents, records: Iterable[Embedding]) -> list[str]:
    """Give the items that the bundle has just so: the same attributes, made of the same contents."""
    after: Contents = {}
    for one in records:
        after.setdefault(one.item_id, {})[str(one.modality), one.part] = (one.content_hash, one.reason)
    same = [item_id for item_id in bundle.items.known(before) if before[item_id] == after.get(item_id)]
    places = {item_id: row for row, item_id in enumerate(attributes.column("item_id").to_pylist())}
    new = python_rows(attributes.take(pa.array([places[item_id] for item_id in same], pa.int64())))
    old = python_rows(bundle.attributes.take(pa.array(bundle.items.rows(same), pa.int64())))
    return [item_id for item_id, then, now in zip(same, old, new, strict=True) if _present(then) == _present(now)]


def _present(row: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in row.items() if value is not None}
