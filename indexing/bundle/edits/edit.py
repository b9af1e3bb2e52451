"""Change a bundle in place: add, upsert and delete items by item_id. Each call counts whole or not at all."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from indexing.arrays import Mask
from indexing.bundle.bundle import Bundle
from indexing.bundle.change_log import (
    Batch,
    acknowledged,
    clear_pending,
    digest_of,
    require_bundle,
    require_newest,
    write_batch,
)
from indexing.bundle.current import write_state
from indexing.bundle.edits.unchanged_items import check_nothing_lost, contents_of, unchanged
from indexing.bundle.generation import ATTRIBUTES, BRIDGE, GOLDEN, IDS
from indexing.bundle.updated_items import known_embeddings
from indexing.catalogue.attribute_types import in_words
from indexing.catalogue.catalogue import Catalogue, as_catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.readers.arrow_tables import ArrowStream
from indexing.encoders.base import Encoder, check_encoder
from indexing.encoders.precomputed import VectorsEncoder
from indexing.errors import CatalogueError, InputError, UnknownItemError, examples
from indexing.filesystem import fsops
from indexing.filesystem.locks import write_lock
from indexing.runtime.arguments import check_flag, check_local_path, check_names
from indexing.store.collect import collect_vectors, fuse
from indexing.store.encode import EncodeConfig, check_encoding, embed
from indexing.store.store import Embedding, EmbeddingStore, parquet_bytes, to_table

LOCK_TIMEOUT = 10.0
MAX_CHANGED_FRACTION = 0.1
NOTHING = "nothing of it gives a vector in the modalities of this bundle"


@dataclass(frozen=True)
class EditReport:
    """What became of a batch of changes.

    Attributes:
        added: Items that are new.
        replaced: Items that were there and have been put in again.
        unchanged: Items that were there just so, and were left as they are.
        removed: Items that were taken out.
        updated: Items of which attributes were changed.
        left: Missing values of an update, which left what was.
        encoded: Contents that went through the encoder; what had not changed was taken from the bundle.
        rejected: Rows of the source that are no items, by reason.
        failed: Items of which nothing could be encoded, with the reason; what there was of them stays.
        partly: Items of which some content could not be encoded, with the reason; they are put in without it.
        batch: Number of the batch; 0 when nothing changed.
        pending: Items put in, taken out or updated since the generation was made.
        compaction_due: Whether these are so many that `compact` pays.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    removed: int = 0
    updated: int = 0
    left: int = 0
    encoded: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    partly: dict[str, str] = field(default_factory=dict)
    batch: int = 0
    pending: int = 0
    compaction_due: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def add(
    bundle: Bundle | Path | str,
    catalogue: Catalogue | ArrowStream,
    encoder: Encoder,
    *,
    encode: EncodeConfig | None = None,
    progress: bool = False,
) -> EditReport:
    """Encode new items and put them into a bundle; when this returns, they are on disk and will be found.

    Args:
        bundle: The folder of the bundle, or, which is faster for many changes, the bundle opened.
        catalogue: The items, none of which the bundle has; also a DataFrame or an Arrow table.
        encoder: The one that built the bundle.
        encode: How many items at once, by how many processes, within which limits.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: When the bundle has one of the items; nothing is changed then.
        EncoderMismatchError: When the encoder is another.
        BundleLockedError: When another process holds the lock of the bundle for too long.
    """
    catalogue = as_catalogue(catalogue)
    check_encoder(encoder)
    check_encoding(encode, progress)
    with locked_bundle(bundle) as present:
        if known := present.items.known(catalogue.attributes.column("item_id").to_pylist()):
            raise InputError(
                f"{len(known)} items are in {present.root} already: {examples(known)}",
                python="use upsert to replace them",
                cli="replace them with --upsert",
                http='replace them with "mode": "upsert"',
            )
        return _put_items(present, catalogue, encoder, encode, progress)


def upsert(
    bundle: Bundle | Path | str,
    catalogue: Catalogue | ArrowStream,
    encoder: Encoder,
    *,
    encode: EncodeConfig | None = None,
    progress: bool = False,
) -> EditReport:
    """Encode items and put them into a bundle, in place of those of the same item_id; see `add`.

    Of an item that the bundle has only contents that have changed are encoded, and one that is the same is no change.

    Raises:
        InputError: When the items would lose values because their source lacks a column; nothing is changed then.
    """
    catalogue = as_catalogue(catalogue)
    check_encoder(encoder)
    check_encoding(encode, progress)
    with locked_bundle(bundle) as present:
        return _put_items(present, catalogue, encoder, encode, progress)


def delete(bundle: Bundle | Path | str, item_ids: Sequence[str], *, missing_ok: bool = False) -> EditReport:
    """Take items out of a bundle; when this returns, they will not be found any more.

    Args:
        bundle: The folder of the bundle, or the bundle opened.
        item_ids: Which items.
        missing_ok: Pass over those that the bundle lacks.

    Raises:
        UnknownItemError: When the bundle lacks one and ``missing_ok`` is not set; nothing is changed then.
        InputError: When nothing would be left.
    """
    check_flag(missing_ok, "missing_ok")
    requested = list(dict.fromkeys(check_names(item_ids, "item_ids", ordered=False)))
    with locked_bundle(bundle) as present:
        known = present.items.known(requested)
        if len(known) < len(requested) and not missing_ok:
            unknown = [item_id for item_id in requested if item_id not in present.items]
            raise UnknownItemError(
                f"{len(unknown)} of {len(requested)} item ids are not in {present.root}: {examples(unknown)}"
                f"{present.items.suggestion(unknown[0])}",
                python="check their spelling, or pass over them with missing_ok=True",
                cli="check their spelling, or pass over them with --missing-ok",
                http='check their spelling, or pass over them with "missing_ok": true of /admin/items/delete',
            )
        if len(known) == int(present.is_live.sum()):
            raise InputError(
                f"this would leave {present.root} without any item",
                python="remove the folder instead",
                http="keep one, or put others in first",
            )
        no_embeddings = to_table([], present.manifest.encoder.dim)
        batch = Batch(0, "", tuple(known), no_embeddings, present.attributes.schema.empty_table())
        return commit_batch(present, batch, EditReport(removed=len(known)))


@contextmanager
def locked_bundle(bundle: Bundle | Path | str) -> Iterator[Bundle]:
    """Hold the lock of a bundle, and return the current state."""
    root = bundle.root if isinstance(bundle, Bundle) else check_local_path(bundle, "the folder of the bundle")
    require_bundle(root)
    with write_lock(root, wait=LOCK_TIMEOUT):
        require_newest(root)
        if isinstance(bundle, Bundle) and not bundle.is_pinned:  # a change is one of the generation that is current
            yield bundle.latest()
        else:
            yield Bundle.open(root, only=(ATTRIBUTES, IDS, BRIDGE, GOLDEN))


def _put_items(
    bundle: Bundle, catalogue: Catalogue, encoder: Encoder, encode: EncodeConfig | None, progress: bool
) -> EditReport:
    if isinstance(encoder, VectorsEncoder):
        separate = bundle.manifest.encoder.separate
        encoder = encoder.fitted(catalogue, bundle.read(BRIDGE) if separate else None)
    bundle.check_encoder(encoder)
    attributes = _cast_attributes(catalogue, bundle.attributes.schema)
    new_ids = ItemIds(attributes.column("item_id").to_pylist())
    tables = list(known_embeddings(bundle, new_ids))
    old_contents = contents_of(bundle, tables)
    check_nothing_lost(bundle, catalogue, attributes, old_contents)
    # Apart from the work of a build, which starts from all that the bundle has.
    work = bundle.root / f"work-edit-{encoder.info.fingerprint[:16]}"
    store = EmbeddingStore(work, encoder.info.dim)
    if not encoder.info.precomputed:
        for known_table in tables:
            store.append_table(known_table)
    encoded = embed(catalogue, encoder, store, encode, shown=progress).encoded
    # A direction by the modalities that the bundle has, or the item could not be found.
    has_vector = np.asarray(fuse(collect_vectors(store, new_ids, bundle.manifest.encoder.modalities)).any(axis=1))
    records = list(store.records(new_ids))
    unchanged_ids = unchanged(bundle, attributes, old_contents, records)
    failed = _failed_items(new_ids, has_vector, records)
    has_vector[new_ids.rows(unchanged_ids)] = False
    added_ids = dict.fromkeys(new_ids[row] for row in np.flatnonzero(has_vector))
    embeddings = to_table([record for record in records if record.item_id in added_ids], encoder.info.dim)
    batch = Batch(0, encoder.info.fingerprint, (), embeddings, _kept(attributes, has_vector, bundle))
    replaced = len(bundle.items.known(added_ids))
    report = EditReport(
        added=len(added_ids) - replaced,
        replaced=replaced,
        unchanged=len(unchanged_ids),
        encoded=encoded,
        rejected=dict(catalogue.report.rejected),
        failed=failed,
        partly={
            record.item_id: record.reason for record in records if record.vector is None and record.item_id in added_ids
        },
    )
    report = commit_batch(bundle, batch, report)
    fsops.remove(work)
    return report


def _failed_items(item_ids: ItemIds, has_vector: Mask, records: Sequence[Embedding]) -> dict[str, str]:
    """Return the items that nothing would find, with the reason."""
    reasons = {record.item_id: record.reason for record in records if record.vector is None}
    return {item_ids[row]: reasons.get(item_ids[row], NOTHING) for row in np.flatnonzero(~has_vector)}


def _cast_attributes(catalogue: Catalogue, schema: pa.Schema) -> pa.Table:
    """Return the attributes of new items in the types that the bundle has, new columns in those that a file keeps."""
    table = pq.read_table(pa.BufferReader(parquet_bytes(catalogue.attributes)))
    for position, field_ in enumerate(table.schema):
        if field_.name not in schema.names or (target_type := schema.field(field_.name).type) == field_.type:
            continue
        if table.column(position).null_count == len(table):  # a column without values is of any type
            table = table.set_column(position, field_.name, pa.nulls(len(table), target_type))
            continue
        try:
            table = table.set_column(position, field_.name, table.column(position).cast(target_type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise CatalogueError(
                f"column {field_.name!r} of {catalogue.source} is {in_words(field_.type)}, in the bundle "
                f"{in_words(target_type)}: {error}; "
                "give values of that type, or name the column differently"
            ) from error
    return table


def _kept(attributes: pa.Table, is_put: Mask, bundle: Bundle) -> pa.Table:
    """Give the attributes of items that are put in, without columns new to the bundle in which none has a value.

    Else a misspelt name in a row that is rejected would be an attribute for good.
    """
    table, known = attributes.filter(pa.array(is_put)), bundle.attributes.column_names
    without = [
        name
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in known and column.null_count == len(column)
    ]
    return table.drop_columns(without)


def commit_batch(bundle: Bundle, batch: Batch, report: EditReport) -> EditReport:
    """Make a batch durable, then acknowledge it, if it changes anything."""
    root, state = bundle.root, bundle.state
    if not batch.removed and not len(batch.attributes) and batch.updated is None:
        return _with_pending(report, bundle, bundle.batches)
    batch = replace(batch, number=state.last + 1)
    names = acknowledged(root, state, state.contains)
    name = write_batch(root, batch)
    write_state(root, replace(state, last=batch.number, digest=digest_of([*names, name])))
    clear_pending(root, batch.number)
    return _with_pending(replace(report, batch=batch.number), bundle, (*bundle.batches, batch))


def _with_pending(report: EditReport, bundle: Bundle, batches: Sequence[Batch]) -> EditReport:
    num_changed = sum(len(batch.removed) + len(batch.attributes) for batch in batches)
    num_updated = sum(len(batch.updated) for batch in batches if batch.updated is not None)
    items = bundle.manifest.items
    is_due = num_changed > MAX_CHANGED_FRACTION * items or num_updated > items  # updates slow only opening
    return replace(report, pending=num_changed + num_updated, compaction_due=is_due)
