"""The sides of pairs: from a bundle, which has their vectors already, or from a catalogue and an encoder."""

from collections.abc import Iterator
from contextlib import suppress

import numpy as np
from PIL import Image

from indexing.arrays.types import Vectors
from indexing.catalogue.catalogue import Catalogue, Item
from indexing.encoders.base import Encoder
from indexing.errors import InputError
from indexing.media.decode import Decoded
from indexing.media.files import Kind, Modality
from indexing.media.images import UnusablePicture, read_picture
from indexing.store.shared_pool import decode_all, task_for
from retrieval.evaluation.crossmodal.crossmodal import Side
from retrieval.retriever.retriever import Retriever


def sides_of(retriever: Retriever) -> dict[str, Side]:
    """Give the sides that a bundle keeps: each text, picture and sound by itself, and the items that are searched.

    Nothing is encoded. Where an item has several pictures, each looks, and is looked for, by itself.
    """
    bundle = retriever.bundle
    sides = {}
    for modality, parts in bundle.parts.items():
        kept = bundle.alive[parts.rows]
        if kept.any():
            owners = tuple(bundle.items[row] for row in parts.rows[kept].tolist())
            space = str(modality) if bundle.manifest.encoder.separate else ""
            sides[str(modality)] = Side(parts.vectors[kept].astype(np.float32), owners, space)
    there = np.flatnonzero(bundle.alive & retriever.vectors.any(axis=1))
    sides["item"] = Side(retriever.vectors[there], tuple(bundle.items[row] for row in there.tolist()))
    return sides


def encoded_sides(catalogue: Catalogue, encoder: Encoder, *, size: int = 64) -> dict[str, Side]:
    """Encode the texts and pictures of a catalogue: to judge an encoder before anything is built.

    Pictures that cannot be read are left out.

    Args:
        catalogue: The items.
        encoder: Of texts and pictures in one space.
        size: Items encoded at a time.

    Raises:
        InputError: When there is no text, or no picture that can be read.
    """
    vectors: dict[Modality, list[Vectors]] = {Modality.TEXT: [], Modality.IMAGE: []}
    owners: dict[Modality, list[str]] = {Modality.TEXT: [], Modality.IMAGE: []}
    for items in catalogue.batches(size):
        texts = [(item.item_id, item.text) for item in items if item.text]
        pictures = [one for item in items for one in _pictures(item, encoder)]
        owners[Modality.TEXT] += [item_id for item_id, _ in texts]
        owners[Modality.IMAGE] += [item_id for item_id, _ in pictures]
        vectors[Modality.TEXT].append(encoder.encode_texts([text for _, text in texts]))
        vectors[Modality.IMAGE].append(encoder.encode_images([picture for _, picture in pictures]))
    if lacking := [str(modality) for modality, names in owners.items() if not names]:
        raise InputError(f"no item has a usable {' or '.join(lacking)}, so that there are no pairs")
    return {str(m): Side(np.concatenate(vectors[m]), tuple(owners[m])) for m in vectors}


def _pictures(item: Item, encoder: Encoder) -> Iterator[tuple[str, Image.Image]]:
    """Decode those pictures of an item that can be."""
    task = task_for(encoder)
    for medium in item.media:
        if medium.kind is Kind.IMAGE and medium.source is not None:
            with suppress(UnusablePicture):
                (outcome,) = decode_all(Kind.IMAGE, [read_picture(medium.source, task.pictures)], task)
                if isinstance(outcome, Decoded):
                    yield item.item_id, Image.fromarray(outcome.arrays[0])
