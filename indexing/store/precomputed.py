"""From a catalogue's own vectors to stored embeddings: what `encode_catalogue` is for models."""

import numpy as np

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.vectors import VectorBatch, half_units
from indexing.encoders.alignment.separate_encoder import SpacesEncoder
from indexing.encoders.alignment.separate_spaces import Spaces
from indexing.encoders.base import Encoder
from indexing.filesystem.checked_files import content_hash
from indexing.media.files import Modality
from indexing.store.encode import EncodeReport, Progressed
from indexing.store.store import Embedding, EmbeddingStore

BATCH = 4096


NO_DIRECTION = "vector without a direction: nothing of it is left in the dimensions that were learned for its modality"


def store_vectors(
    catalogue: Catalogue, store: EmbeddingStore, encoder: Encoder, *, progress: Progressed | None = None
) -> EncodeReport:
    """Put the precomputed vectors of a catalogue into a store, at unit length, skipping what is there already.

    The content of a vector is its float32 bytes, as the catalogue has them. One that cannot be used is quarantined with
    the reason.

    Args:
        catalogue: The items.
        store: Where the vectors go.
        encoder: Which maps them, if their modalities are different spaces.
        progress: Called after each batch with its number of items and the seconds so far in each stage.

    Returns:
        Counts, and seconds in each stage.

    Raises:
        CatalogueError: When the catalogue's vectors are missing or of another length.
    """
    report = EncodeReport()
    store.begin_run()
    spaces = encoder.spaces if isinstance(encoder, SpacesEncoder) else None
    batches = catalogue.vectors(BATCH, spaces.lengths if spaces else store.dim)
    while True:
        with report.timed("read"):
            batch = next(batches, None)
        if batch is None:
            return report
        with report.timed("encode"):
            fresh = [one for modality in batch.vectors for one in _embeddings(batch, modality, store, report, spaces)]
        with report.timed("write"):
            store.append(fresh)
        if progress is not None:
            progress(len(batch.item_ids), report.seconds)


def _embeddings(
    batch: VectorBatch, modality: Modality, store: EmbeddingStore, report: EncodeReport, spaces: Spaces | None
) -> list[Embedding]:
    """Give what the store does not know yet of one modality."""
    vectors, problems, fresh = batch.vectors[modality], list(batch.problems[modality]), []
    places = np.flatnonzero(batch.exists[modality])
    usable = vectors[places]
    if spaces is not None:
        usable = spaces.apply(modality, usable)
        for place in places[~usable.any(axis=1)].tolist():
            problems[place] = NO_DIRECTION
        places, usable = places[usable.any(axis=1)], usable[usable.any(axis=1)]
    halves = dict(zip(places.tolist(), half_units(usable), strict=True))
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
