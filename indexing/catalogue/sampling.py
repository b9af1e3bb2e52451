"""A catalogue of some of a catalogue's items, drawn at random, and what its items hold by hashes."""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from indexing.catalogue.arrow_values import python_values
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.cleaning import clean_item_id
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.medium import Medium
from indexing.catalogue.readers.base import Reader
from indexing.errors import InputError
from indexing.filesystem.checked_files import content_hash
from indexing.media.files import Kind, UnusableFile
from indexing.media.images import ImageLimits, read_picture

BATCH_ROWS = 64  # at once, since pictures are read with them


class SelectedReader:
    """The rows of a source whose item_id is among some; see `Reader`."""

    def __init__(self, reader: Reader, column: str, item_ids: Collection[str]) -> None:
        self.name, self.schema = reader.name, reader.schema
        self.malformed: Mapping[int, str] = {}
        self.left_out: Mapping[str, int] = {}
        self.notes = reader.notes
        self._reader, self._column, self._item_ids = reader, column, frozenset(item_ids)

    def batches(self, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Return some columns of these rows, at most ``size`` rows at a time."""
        for batch in self._reader.batches(list(dict.fromkeys([self._column, *columns])), size):
            ids = (clean_item_id(raw, Counter())[0] for raw in python_values(batch.column(self._column)))
            selected = [item_id in self._item_ids for item_id in ids]
            if any(selected):
                yield batch.filter(pa.array(selected, pa.bool_())).select(list(columns))


def draw(catalogue: Catalogue, size: int, *, seed: int = 0) -> Catalogue:
    """Draw items, those first that bring both a text and a picture: pairs are what retrieval is measured with.

    Args:
        catalogue: Where they are drawn from; it is read once, files and all, unless it is small enough already.
        size: Most items.
        seed: The same seed draws the same items.

    Returns:
        A catalogue over the same source, in its order.

    Raises:
        InputError: When the size is not positive.
    """
    if size < 1:
        raise InputError(f"{size} items cannot be drawn; give 1 or more")
    if len(catalogue) <= size:
        return catalogue
    rng = np.random.default_rng(seed)
    item_ids = catalogue.attributes.column("item_id").to_pylist()
    paired = set(pairs(catalogue))
    order = rng.permutation(len(item_ids)).tolist()
    order.sort(key=lambda position: item_ids[position] not in paired)  # stable, so that both groups stay shuffled
    drawn = {item_ids[position] for position in order[:size]}
    return Catalogue(
        SelectedReader(catalogue.reader, catalogue.columns.item_id, drawn), catalogue.columns, catalogue.image_dir
    )


def pairs(catalogue: Catalogue) -> list[str]:
    """Return the item_ids of the items that bring both a text and a picture, in order; no file is opened."""
    items = (item for batch in catalogue.batches(BATCH_ROWS) for item in batch)
    return [
        item.item_id
        for item in items
        if item.text is not None
        and any(medium.kind is Kind.IMAGE and medium.source is not None for medium in item.media)
    ]


@dataclass(frozen=True)
class Contents:
    """What the items of a catalogue hold, by hashes.

    Attributes:
        item_ids: In the catalogue's order.
        texts: Hash of each item's text; empty without one.
        pictures: Hash of each item's pictures; empty without one.
        digest: Hash over all of it, precomputed vectors too: another value means other content.
    """

    item_ids: ItemIds
    texts: tuple[str, ...]
    pictures: tuple[str, ...]
    digest: str


def contents(catalogue: Catalogue) -> Contents:
    """Read every item once; files are not decoded."""
    item_ids, texts, pictures = [], [], []
    digest = hashlib.blake2b(digest_size=16)
    for item in (item for batch in catalogue.batches(BATCH_ROWS) for item in batch):
        picture_hashes = [_file_hash(medium) for medium in item.media if medium.kind is Kind.IMAGE]
        item_ids.append(item.item_id)
        texts.append("" if item.text is None else content_hash(item.text))
        pictures.append(" ".join(filter(None, picture_hashes)))
        digest.update(json.dumps([item.item_id, texts[-1], pictures[-1]]).encode())
    if names := catalogue.columns.vectors:
        for read in catalogue.reader.batches(list(names), BATCH_ROWS):
            digest.update(json.dumps(read.to_pylist()).encode())
    return Contents(ItemIds(item_ids), tuple(texts), tuple(pictures), digest.hexdigest())


def _file_hash(medium: Medium) -> str:
    """Return the hash of a file; empty when it cannot be read: why, encoding will say."""
    if medium.source is None:
        return ""
    try:
        return content_hash(read_picture(medium.source, ImageLimits()))
    except UnusableFile:
        return ""
