"""From a catalogue's own vectors to stored embeddings: what `encode_catalogue` is for models."""

import numpy as np

from indexing.catalogue import Catalogue
from indexing.encode import EncodeReport, Progressed
from indexing.store import Embedding, EmbeddingStore, content_hash
from indexing.types import Modality
from indexing.vectors import VectorBatch, half_units

BATCH = 4096


def store_vectors(catalogue: Catalogue, store: EmbeddingStore, *, progress: Progressed | None = None) -> EncodeReport:
    """Put the precomputed vectors of a catalogue into a store, at unit length, skipping what is there already.

    The content of a vector is its float32 bytes. One that cannot be used is quarantined with the reason.

    Args:
        catalogue: The items.
        store: Where the vectors go; its dimension is the one expected.
        progress: Called after each batch with its number of items and the seconds so far in each stage.

    Returns:
        Counts, and seconds in each stage.

    Raises:
        CatalogueError: When the catalogue's vectors are missing or of another length.
    """
    report = EncodeReport()
    store.begin_run()
    batches = catalogue.vectors(BATCH, store.dim)
    while True:
        with report.timed("read"):
            batch = next(batches, None)
        if batch is None:
            return report
        with report.timed("encode"):
            fresh = [one for modality in batch.vectors for one in _embeddings(batch, modality, store, report)]
        with report.timed("write"):
            store.append(fresh)
        if progress is not None:
            progress(len(batch.item_ids), report.seconds)


def _embeddings(batch: VectorBatch, modality: Modality, store: EmbeddingStore, report: EncodeReport) -> list[Embedding]:
    """Give what the store does not know yet of one modality."""
    vectors, problems, fresh = batch.vectors[modality], batch.problems[modality], []
    places = np.flatnonzero(batch.exists[modality])
    halves = dict(zip(places.tolist(), half_units(vectors[places]), strict=True))
    for place, item_id in enumerate(batch.item_ids):
        problem, half = problems[place], halves.get(place)
        if half is None and not problem:
            continue
        digest = "" if problem else content_hash(vectors[place].tobytes())
        if store.settled(item_id, modality, digest, problem):
            report.resumed += 1
            continue
        if problem:
            report.quarantined += 1
        else:
            report.encoded += 1
        fresh.append(Embedding(item_id, modality, digest, half, problem))
    return fresh
