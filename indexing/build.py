"""Build a bundle: encode what is new, fuse, index to a recall target, publish."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors.numpy import save

from indexing import fsops
from indexing.bundle import (
    ATTRIBUTES,
    BRIDGE,
    GOLDEN,
    INDEX,
    PROMISE,
    REJECTS,
    STORE,
    Bundle,
    Content,
    current_generation,
    publish,
)
from indexing.catalogue import Catalogue
from indexing.encode import EncodeConfig, EncodeReport, Progressed, encode_catalogue
from indexing.encoders.base import Encoder, HasBridge
from indexing.encoders.golden import golden_vectors
from indexing.encoders.vectors import VectorsEncoder
from indexing.errors import CatalogueError
from indexing.fusion import ModalityVectors, fuse
from indexing.held_out import held_out_queries
from indexing.index import IndexConfig, build_index
from indexing.index.promise import Promise
from indexing.item_ids import ItemIds
from indexing.manifest import MANIFEST, Manifest
from indexing.precomputed import store_vectors
from indexing.store import Embedding, EmbeddingStore, parquet_bytes, shard_name, to_table
from indexing.types import Rows

SHARD_ROWS = 50_000


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
    is taken from there. The generation in force stays untouched until the new one is complete. A new generation has
    learned nothing yet: `retrieval.fit` adds an adapter and a reranker.

    Args:
        catalogue: The items.
        encoder: Embeds them; with ``vectors:`` the catalogue's own vectors are taken.
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
        encoder = encoder.fitted(catalogue.source, catalogue.vector_dims)
    with fsops.writing(root):
        work = root / f"work-{encoder.info.fingerprint[:16]}"
        _seed(root, work, encoder)
        store = EmbeddingStore(work, encoder.info.dim)
        with _progress(len(catalogue), progress) as advance:
            if encoder.info.precomputed:
                report = store_vectors(catalogue, store, progress=advance)
            else:
                report = encode_catalogue(catalogue, encoder, store, config=encode, progress=advance)
        bundle = _publish(root, catalogue, encoder, store, report, index or IndexConfig())
        fsops.remove(work)
    return bundle


def _seed(root: Path, work: Path, encoder: Encoder) -> None:
    """Start from the embeddings of the generation in force, if the same encoder made them."""
    generation = current_generation(root)
    if work.exists() or generation is None:
        return
    if Manifest.read(root / generation / MANIFEST).encoder.fingerprint == encoder.info.fingerprint:
        fsops.make_folder(work)
        for shard in sorted((root / generation / STORE).glob("*.parquet")):
            fsops.link_or_copy(shard, work / shard.name)


def _publish(
    root: Path,
    catalogue: Catalogue,
    encoder: Encoder,
    store: EmbeddingStore,
    report: EncodeReport,
    config: IndexConfig,
) -> Bundle:
    """Index what is in the store and publish it with everything that a reader needs."""
    everything = ItemIds(catalogue.attributes.column("item_id").to_pylist())
    records = list(store.records(everything))
    rows, items = _embedded(everything, encoder, store)
    if not len(rows):
        first = f"; the first: {records[0].item_id!r}: {records[0].reason}" if records else ""
        raise CatalogueError(f"none of the {len(everything)} items of {catalogue.source} could be encoded{first}")
    vectors = fuse(items)
    queries = held_out_queries(items, vectors, config.sample)
    searchable, index_report = build_index(vectors, config, queries)
    counts = {
        "source": catalogue.source,
        "cleaning": catalogue.report.to_json(),
        "encoding": report.to_json(),
        "embeddings": {str(modality): int(exists.sum()) for modality, exists in items.exists.items()},
        "quarantined": sum(record.vector is None for record in records),
        "without_embedding": len(everything) - len(rows),
        **({"bridge": encoder.bridge_report()} if isinstance(encoder, HasBridge) else {}),
    }
    index = index_report.to_json() | {"config": asdict(config)}
    manifest = Manifest("", "", encoder.info, len(rows), counts, asdict(catalogue.columns), index)
    files: dict[str, Content] = {
        ATTRIBUTES: parquet_bytes(catalogue.attributes.take(rows)),
        REJECTS: parquet_bytes(catalogue.rejects),
        GOLDEN: save({"golden": golden_vectors(encoder)}),
        INDEX: searchable.save,
        PROMISE: Promise.of(searchable, vectors, queries, config.k).to_bytes(),
        **({BRIDGE: encoder.bridge_bytes()} if isinstance(encoder, HasBridge) else {}),
        **{f"{STORE}/{name}": data for name, data in _shards(records, encoder.info.dim)},
    }
    return publish(root, manifest, files)


def _embedded(everything: ItemIds, encoder: Encoder, store: EmbeddingStore) -> tuple[Rows, ModalityVectors]:
    """Give the positions of the items with any embedding, and their vectors."""
    collected = {modality: store.collect(everything, modality) for modality in encoder.info.modalities}
    items = ModalityVectors({m: v for m, (v, _) in collected.items()}, {m: e for m, (_, e) in collected.items()})
    rows = np.flatnonzero(np.any(list(items.exists.values()), axis=0))
    return rows, items.take(rows)


def _shards(records: list[Embedding], dim: int) -> Iterator[tuple[str, bytes]]:
    """Pack embeddings into few large shards, in row order."""
    for number, start in enumerate(range(0, len(records), SHARD_ROWS)):
        data = parquet_bytes(to_table(records[start : start + SHARD_ROWS], dim))
        yield shard_name(number, data), data


@contextmanager
def _progress(total: int, shown: bool) -> Iterator[Progressed]:
    """Show items encoded, rate, time left and where the time went on standard error, when it is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("encoding"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} items/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[stages]}"),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        task = bar.add_task("", total=total, rate="…", stages="")

        def advance(items: int, seconds: Mapping[str, float]) -> None:
            bar.update(task, advance=items)
            speed = bar.tasks[0].speed
            stages = ", ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items())
            bar.update(task, rate=f"{speed:.0f}" if speed else "…", stages=stages)

        yield advance
