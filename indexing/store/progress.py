"""From a catalogue into a store, by a model or from its own vectors, with what a person sees meanwhile."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from indexing.catalogue.catalogue import Catalogue
from indexing.encoders.base import Encoder
from indexing.runtime.progress import progress
from indexing.store.encode import EncodeConfig, EncodeReport, Progressed, encode_catalogue
from indexing.store.precomputed import store_vectors
from indexing.store.store import EmbeddingStore


def embed(
    catalogue: Catalogue, encoder: Encoder, store: EmbeddingStore, config: EncodeConfig | None, *, shown: bool
) -> EncodeReport:
    """Put the embeddings of a catalogue into a store, skipping what is there; see `encode_catalogue`."""
    with encode_progress(len(catalogue), shown) as advance:
        if encoder.info.precomputed:
            return store_vectors(catalogue, store, encoder, progress=advance)
        return encode_catalogue(catalogue, encoder, store, config=config, progress=advance)


@contextmanager
def encode_progress(total: int, shown: bool, label: str = "encoding") -> Iterator[Progressed]:
    """Show items encoded, rate, time left and where the time went; see `indexing.runtime.progress.progress`."""
    with progress(label, total, "items", shown=shown) as told:

        def advance(items: int, seconds: Mapping[str, float]) -> None:
            told.advance(items, more=", ".join(f"{stage} {spent:.0f} s" for stage, spent in seconds.items()))

        yield advance
