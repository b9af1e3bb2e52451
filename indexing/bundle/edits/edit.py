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
    digest_of,
    require_bundle,
    require_newest,
    settle,
    write_batch,
)
from indexing.bundle.current import write_state
from indexing.bundle.edits.unchanged_items import check_kept, contents_of, unchanged
from indexing.bundle.generation import ATTRIBUTES, BRIDGE, GOLDEN
from indexing.bundle.updated_items import known_embeddings
from indexing.catalogue.attribute_types import in_words
from indexing.catalogue.catalogue import Catalogue, check_catalogue
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import Encoder, check_encoder
from indexing.encoders.precomputed import VectorsEncoder
from indexing.errors import CatalogueError, InputError, UnknownItemError, examples
from indexing.filesystem import fsops
from indexing.filesystem.locks import writing
from indexing.runtime.arguments import check_flag, check_names, check_path
from indexing.store.collect import collected, fuse
from indexing.store.encode import EncodeConfig, check_encoding, embed
from indexing.store.store import Embedding, EmbeddingStore, parquet_bytes, to_table

WAIT = 10.0
COMPACT_BEYOND = 0.1
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
        """Give the fields as plain JSON values."""
        return asdict(self)


def add(
    bundle: Bundle | Path | str,
    catalogue: Catalogue,
    encoder: Encoder,
    *,
    encode: EncodeConfig | None = None,
    progress: bool = False,
) -> EditReport:
    """Encode new items and put them into a bundle; when this returns, they are on disk and will be found.

    Args:
        bundle: The folder of the bundle, or, which is faster for many changes, the bundle opened.
        catalogue: The items, none of which the bundle has.
        encoder: The one that built the bundle.
        encode: How many items at once, by how many processes, within which limits.
        progress: Show a progress bar on standard error.

    Raises:
        InputError: When the bundle has one of the items; nothing is changed then.
        EncoderMismatchError: When the encoder is another.
        BundleLockedError: When another process goes on writing to the bundle.
    """
    check_catalogue(catalogue)
    check_encoder(encoder)
    check_encoding(encode, progress)
    with changing(bundle) as present:
        if known := present.items.known(catalogue.attributes.column("item_id").to_pylist()):
            raise InputError(
                f"{len(known)} items are in {present.root} already: {examples(known)}",
                python="use upsert to replace them",
                cli="replace them with --upsert",
            )
        return _put(present, catalogue, encoder, encode, progress)


def upsert(
    bundle: Bundle | Path | str,
    catalogue: Catalogue,
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
    check_catalogue(catalogue)
    check_encoder(encoder)
    check_encoding(encode, progress)
    with changing(bundle) as present:
        return _put(present, catalogue, encoder, encode, progress)


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
    wanted = list(dict.fromkeys(check_names(item_ids, "item_ids", ordered=False)))
    with changing(bundle) as present:
        known = present.items.known(wanted)
        if len(known) < len(wanted) and not missing_ok:
            unknown = [item_id for item_id in wanted if item_id not in present.items]
            raise UnknownItemError(
                f"{len(unknown)} of {len(wanted)} item ids are not in {present.root}: {examples(unknown)}"
                f"{present.items.alike(unknown[0])}",
                python="check their spelling, or pass over them with missing_ok=True",
                cli="check their spelling, or pass over them with --missing-ok",
            )
        if len(known) == int(present.alive.sum()):
            raise InputError(f"this would leave {present.root} without any item; remove the folder instead")
        nothing = to_table([], present.manifest.encoder.dim)
        batch = Batch(0, "", tuple(known), nothing, present.attributes.schema.empty_table())
        return commit(present, batch, EditReport(removed=len(known)))


@contextmanager
def changing(bundle: Bundle | Path | str) -> Iterator[Bundle]:
    """Hold the lock of a bundle, and give what is in force."""
    root = bundle.root if isinstance(bundle, Bundle) else check_path(bundle, "the folder of the bundle")
    require_bundle(root)
    with writing(root, wait=WAIT):
        require_newest(root)
        yield bundle.latest() if isinstance(bundle, Bundle) else Bundle.open(bundle, only=(ATTRIBUTES, BRIDGE, GOLDEN))


def _put(
    bundle: Bundle, catalogue: Catalogue, encoder: Encoder, encode: EncodeConfig | None, progress: bool
) -> EditReport:
    if isinstance(encoder, VectorsEncoder):
        separate = bundle.manifest.encoder.separate
        encoder = encoder.fitted(catalogue, bundle.read(BRIDGE) if separate else None)
    bundle.check_encoder(encoder)
    attributes = _conformed(catalogue, bundle.attributes.schema)
    everything = ItemIds(attributes.column("item_id").to_pylist())
    tables = list(known_embeddings(bundle, everything))
    before = contents_of(bundle, tables)
    check_kept(bundle, catalogue, attributes, before)
    # Apart from the work of a build, which starts from all that the bundle has.
    work = bundle.root / f"work-edit-{encoder.info.fingerprint[:16]}"
    store = EmbeddingStore(work, encoder.info.dim)
    if not encoder.info.precomputed:
        for known in tables:
            store.append_table(known)
    encoded = embed(catalogue, encoder, store, encode, shown=progress).encoded
    # A direction by the modalities that the bundle has, or the item could not be found.
    usable = np.asarray(fuse(collected(store, everything, bundle.manifest.encoder.modalities)).any(axis=1))
    records = list(store.records(everything))
    same = unchanged(bundle, attributes, before, records)
    failed = _failed(everything, usable, records)
    usable[everything.rows(same)] = False
    put = dict.fromkeys(everything[row] for row in np.flatnonzero(usable))
    embeddings = to_table([record for record in records if record.item_id in put], encoder.info.dim)
    batch = Batch(0, encoder.info.fingerprint, (), embeddings, attributes.filter(pa.array(usable)))
    replaced = len(bundle.items.known(put))
    report = EditReport(
        added=len(put) - replaced,
        replaced=replaced,
        unchanged=len(same),
        encoded=encoded,
        rejected=dict(catalogue.report.rejected),
        failed=failed,
        partly={one.item_id: one.reason for one in records if one.vector is None and one.item_id in put},
    )
    report = commit(bundle, batch, report)
    fsops.remove(work)
    return report


def _failed(everything: ItemIds, usable: Mask, records: Sequence[Embedding]) -> dict[str, str]:
    """Give the items that nothing would find, with the reason."""
    reasons = {record.item_id: record.reason for record in records if record.vector is None}
    return {everything[row]: reasons.get(everything[row], NOTHING) for row in np.flatnonzero(~usable)}


def _conformed(catalogue: Catalogue, schema: pa.Schema) -> pa.Table:
    """Give the attributes of new items in the types that the bundle has, new columns in those that a file keeps."""
    table = pq.read_table(pa.BufferReader(parquet_bytes(catalogue.attributes)))
    for place, field_ in enumerate(table.schema):
        if field_.name not in schema.names or (wanted := schema.field(field_.name).type) == field_.type:
            continue
        if table.column(place).null_count == len(table):  # a column without values is of any type
            table = table.set_column(place, field_.name, pa.nulls(len(table), wanted))
            continue
        try:
            table = table.set_column(place, field_.name, table.column(place).cast(wanted))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise CatalogueError(
                f"column {field_.name!r} of {catalogue.source} is {in_words(field_.type)}, in the bundle "
                f"{in_words(wanted)}: {error}; "
                "give values of that type, or name the column differently"
            ) from error
    return table


def commit(bundle: Bundle, batch: Batch, report: EditReport) -> EditReport:
    """Make a batch durable and then in force, if it changes anything."""
    root, state = bundle.root, bundle.state
    if not batch.removed and not len(batch.attributes) and batch.updated is None:
        return _with_pending(report, bundle, bundle.batches)
    batch = replace(batch, number=state.last + 1)
    names = acknowledged(root, state, state.contains)
    name = write_batch(root, batch)
    write_state(root, replace(state, last=batch.number, digest=digest_of([*names, name])))
    settle(root, batch.number)
    return _with_pending(replace(report, batch=batch.number), bundle, (*bundle.batches, batch))


def _with_pending(report: EditReport, bundle: Bundle, batches: Sequence[Batch]) -> EditReport:
    moved = sum(len(batch.removed) + len(batch.attributes) for batch in batches)
    updated = sum(len(batch.updated) for batch in batches if batch.updated is not None)
    items = bundle.manifest.items
    due = moved > COMPACT_BEYOND * items or updated > items  # an update slows nothing but the opening
    return replace(report, pending=moved + updated, compaction_due=due)
