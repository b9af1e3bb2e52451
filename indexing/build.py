"""Build a bundle: encode what is new, fuse, index to a recall target, publish."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from indexing import fsops
from indexing.blocks import mapped
from indexing.bundle import Bundle
from indexing.catalogue import Catalogue
from indexing.encode import EncodeConfig, EncodeReport
from indexing.encode_progress import embed
from indexing.encoders.base import Encoder, EncoderInfo, HasBridge
from indexing.encoders.golden import golden_vectors
from indexing.encoders.vectors import VectorsEncoder
from indexing.errors import BundleError, CatalogueError
from indexing.fusion import ModalityVectors, fuse
from indexing.generation import ATTRIBUTES, BRIDGE, GOLDEN, REJECTS, STORE, collected
from indexing.index import IndexConfig
from indexing.indexed import indexed
from indexing.item_ids import ItemIds
from indexing.lock import writing
from indexing.manifest import MANIFEST, Manifest
from indexing.packing import pack
from indexing.publish import Content, last_number, publish, work_folder
from indexing.state import read_state
from indexing.store import EmbeddingStore, parquet_bytes
from indexing.types import Rows, Vectors


def build_bundle(
    catalogue: Catalogue,
    encoder: Encoder,
    out: Path | str,
    *,
    index: IndexConfig | None = None,
    encode: EncodeConfig | None = None,
    progress: bool = False,
) -> Bundle:
    """Encode a catalogue, index it and publish it as a new generation of a bundle.

    A build that was stopped goes on where it stopped, and what an earlier generation encoded with the same encoder
    is taken from there. The generation in force stays untouched until the new one is complete. The catalogue says what
    the new one holds: what was added to the bundle or deleted from it before is superseded. It has learned nothing yet:
    `retrieval.fit` adds an adapter and a reranker.

    Args:
        catalogue: The items.
        encoder: Embeds them; with ``vectors:`` the catalogue's own vectors are taken, and where these are of different
            spaces, maps are learned from them.
        out: Folder of the bundle.
        index: What the index must achieve.
        encode: How many items at once, by how many processes, within which limits.
        progress: Show a progress bar on standard error.

    Raises:
        CatalogueError: When not one item could be encoded, or precomputed vectors do not fit the encoder.
        BundleLockedError: When another process is writing to the bundle.
    """
    root = Path(out)
    if isinstance(encoder, VectorsEncoder):
        encoder = encoder.fitted(catalogue)
    with writing(root):
        work = root / f"work-{encoder.info.fingerprint[:16]}"
        _seed(root, work, encoder.info.fingerprint)
        store = EmbeddingStore(work, encoder.info.dim)
        report = embed(catalogue, encoder, store, encode, shown=progress)
        _publish(root, catalogue, encoder, store, report, index or IndexConfig())
        fsops.remove(work)
        return Bundle.open(root)


def _seed(root: Path, work: Path, fingerprint: str) -> None:
    """Start from the embeddings of the generation in force, if the same encoder made them."""
    if work.exists():
        return
    try:
        state = read_state(root)
        if state is None or Manifest.read(root / state.generation / MANIFEST).encoder.fingerprint != fingerprint:
            return
    except BundleError:  # what cannot be read is built anew
        return
    fsops.make_folder(work)
    for shard in sorted((root / state.generation / STORE).glob("*.parquet")):
        fsops.link_or_copy(shard, work / shard.name)


def _publish(
    root: Path,
    catalogue: Catalogue,
    encoder: Encoder,
    store: EmbeddingStore,
    report: EncodeReport,
    config: IndexConfig,
) -> None:
    """Index what is in the store and publish it with everything that a reader needs."""
    everything = ItemIds(catalogue.attributes.column("item_id").to_pylist())
    work = work_folder(root)
    if config.kind == "sharded":
        rows, items, vectors = mapped(store, everything, encoder.info, work)
    else:
        rows, items, vectors = _embedded(store, everything, encoder.info)
    if not len(rows):
        record = next(store.records(everything), None)
        first = f"; the first: {record.item_id!r}: {record.reason}" if record else ""
        raise CatalogueError(f"none of the {len(everything)} items of {catalogue.source} could be encoded{first}")
    index_files, index_section = indexed(items, vectors, config, work)
    embeddings = pack(store, everything, work)
    counts = {
        "source": catalogue.source,
        "cleaning": catalogue.report.to_json(),
        "encoding": report.to_json(),
        "embeddings": {str(modality): int(exists.sum()) for modality, exists in items.exists.items()},
        "quarantined": embeddings.quarantined,
        "without_embedding": len(everything) - len(rows),
        **({"bridge": encoder.bridge_report()} if isinstance(encoder, HasBridge) else {}),
    }
    manifest = Manifest("", "", encoder.info, len(rows), counts, asdict(catalogue.columns), index_section)
    manifest = replace(manifest, batches=last_number(root))  # the catalogue says it all: changes are superseded
    files: dict[str, Content] = {
        ATTRIBUTES: parquet_bytes(catalogue.attributes.take(rows)),
        REJECTS: parquet_bytes(catalogue.rejects),
        GOLDEN: save({"golden": golden_vectors(encoder)}),
        **index_files,
        **({BRIDGE: encoder.bridge_bytes()} if isinstance(encoder, HasBridge) else {}),
        **{f"{STORE}/{path.name}": path for path in embeddings.files},
    }
    publish(root, manifest, files)


def _embedded(store: EmbeddingStore, everything: ItemIds, info: EncoderInfo) -> tuple[Rows, ModalityVectors, Vectors]:
    """Give the positions of the items that have a direction, and their vectors, frozen and fused: as `mapped` does."""
    items = replace(collected(store, everything, info.modalities), weights=info.weighed)
    vectors = fuse(items)
    rows = np.flatnonzero(vectors.any(axis=1))  # opposite vectors leave an item without a direction
    if len(rows) == len(vectors):
        return rows, items, vectors
    return rows, items.take(rows), vectors[rows]
