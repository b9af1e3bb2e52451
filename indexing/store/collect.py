"""Vectors of all items, collected from the shards of a store."""

from indexing.catalogue.item_ids import ItemIds
from indexing.media.files import Modality
from indexing.store.fusion import ModalityVectors
from indexing.store.store import EmbeddingStore


def collected(store: EmbeddingStore, items: ItemIds, modalities: tuple[Modality, ...]) -> ModalityVectors:
    """Give the vectors of every item and modality in a store."""
    found = {modality: store.collect(items, modality) for modality in modalities}
    return ModalityVectors({m: v for m, (v, _) in found.items()}, {m: e for m, (_, e) in found.items()})
