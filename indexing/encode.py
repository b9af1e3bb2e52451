"""From items to stored embeddings: read, decode, batch, encode, append. Resumable at any point.

Every batch ends in the store before the next one starts. What is there already, by item and content hash, is not
encoded again; content that another item brought before is copied; content that cannot be encoded is quarantined
with a reason, and its neighbours do not notice.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from PIL import Image

from indexing.catalogue import Catalogue, Item
from indexing.encoders.base import Encoder
from indexing.pictures import PictureLimits, UnusablePicture, decode_picture, read_picture
from indexing.store import Embedding, EmbeddingStore, content_hash
from indexing.types import Modality, Vectors

STAGES = ("read", "decode", "encode", "write")
DECODING_THREADS = 2


@dataclass
class EncodeReport:
    """What became of every text and picture; the four counts add up to all of them.

    Attributes:
        encoded: Contents that went through the encoder in this run.
        copied: Same content as met before: the vector was copied.
        resumed: Settled by an earlier run, encoded or quarantined.
        quarantined: Could not be encoded in this run.
        seconds: Time spent in each stage.
    """

    encoded: int = 0
    copied: int = 0
    resumed: int = 0
    quarantined: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    def to_json(self) -> dict[str, Any]:
        """Give the fields as plain JSON values."""
        return asdict(self) | {"seconds": {stage: round(spent, 3) for stage, spent in self.seconds.items()}}

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of a block to a stage."""
        started = perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += perf_counter() - started


@dataclass(frozen=True)
class _Content:
    """One modality of one item: its content and hash, or the problem that it has."""

    item_id: str
    digest: str
    value: str | bytes = ""
    problem: str = ""


def encode_catalogue(
    catalogue: Catalogue,
    encoder: Encoder,
    store: EmbeddingStore,
    *,
    batch_size: int = 128,
    limits: PictureLimits | None = None,
    progress: Callable[[int], None] | None = None,
) -> EncodeReport:
    """Encode the texts and pictures of a catalogue into a store, skipping what is there already.

    Args:
        catalogue: The items.
        encoder: Embeds them; a modality that it lacks is left out.
        store: Where embeddings are and go.
        batch_size: Items a batch, and at the same time a shard of the store.
        limits: What a single picture may cost.
        progress: Called after each batch with its number of items.

    Returns:
        Counts, and seconds in each stage.
    """
    report = EncodeReport()
    batches = catalogue.batches(batch_size)
    with ThreadPoolExecutor(DECODING_THREADS) as pool:  # Pillow decodes outside the interpreter lock
        while True:
            batch = _Batch(encoder, store, report, limits or PictureLimits(), pool)
            with report.timed("read"):
                items = next(batches, None)
                if items is None:
                    return report
                texts, pictures = _texts(items), batch.pictures(items)
            if Modality.TEXT in encoder.info.modalities:
                batch.encode_texts(texts)
            if Modality.IMAGE in encoder.info.modalities:
                batch.encode_pictures(pictures)
            with report.timed("write"):
                store.append(batch.done)
            if progress is not None:
                progress(len(items))


def _texts(items: Sequence[Item]) -> list[_Content]:
    return [_Content(item.item_id, content_hash(item.text), item.text) for item in items if item.text is not None]


@dataclass
class _Batch:
    """The work on one batch of items; what is settled collects in ``done``."""

    encoder: Encoder
    store: EmbeddingStore
    report: EncodeReport
    limits: PictureLimits
    pool: ThreadPoolExecutor
    done: list[Embedding] = field(default_factory=list)

    def pictures(self, items: Sequence[Item]) -> list[_Content]:
        contents = []
        for item in items:
            if item.image_problem is not None:
                contents.append(_Content(item.item_id, "", problem=item.image_problem))
            elif item.image is not None:
                try:
                    data = read_picture(item.image, self.limits)
                    contents.append(_Content(item.item_id, content_hash(data), data))
                except UnusablePicture as reason:
                    contents.append(_Content(item.item_id, "", problem=str(reason)))
        return contents

    def encode_texts(self, contents: Sequence[_Content]) -> None:
        fresh = self._settle(contents, Modality.TEXT)
        with self.report.timed("encode"):
            vectors = self.encoder.encode_texts([str(same[0].value) for same in fresh])
        self._finish(fresh, Modality.TEXT, vectors)

    def encode_pictures(self, contents: Sequence[_Content]) -> None:
        fresh = self._settle(contents, Modality.IMAGE)
        with self.report.timed("decode"):
            decoded = list(self.pool.map(lambda same: self._decoded(same[0]), fresh))
        usable: list[list[_Content]] = []
        images: list[Image.Image] = []
        for same, image in zip(fresh, decoded, strict=True):
            if isinstance(image, UnusablePicture):
                self._quarantine(same, Modality.IMAGE, str(image))
            else:
                usable.append(same)
                images.append(image)
        with self.report.timed("encode"):
            vectors = self.encoder.encode_images(images)
        self._finish(usable, Modality.IMAGE, vectors)

    def _decoded(self, content: _Content) -> Image.Image | UnusablePicture:
        try:
            return decode_picture(content.value if isinstance(content.value, bytes) else b"", self.limits)
        except UnusablePicture as reason:
            return reason

    def _settle(self, contents: Sequence[_Content], modality: Modality) -> list[list[_Content]]:
        """Settle what needs no encoder, and give the rest grouped by equal content."""
        fresh: dict[str, list[_Content]] = {}
        for content in contents:
            if self.store.settled(content.item_id, modality, content.digest, content.problem):
                self.report.resumed += 1
            elif content.problem:
                self._quarantine([content], modality, content.problem)
            elif (vector := self.store.vector(modality, content.digest)) is not None:
                self.report.copied += 1
                self.done.append(Embedding(content.item_id, modality, content.digest, vector))
            else:
                fresh.setdefault(content.digest, []).append(content)
        return list(fresh.values())

    def _finish(self, fresh: Sequence[list[_Content]], modality: Modality, vectors: Vectors) -> None:
        """Record fresh vectors, for every item that has the same content."""
        for same, vector in zip(fresh, vectors, strict=True):
            if not np.isfinite(vector).all() or not vector.any():
                self._quarantine(same, modality, "the encoder gave NaN, infinity or zero")
                continue
            self.report.encoded += 1
            self.report.copied += len(same) - 1
            half = vector.astype(np.float16)
            self.done += [Embedding(content.item_id, modality, content.digest, half) for content in same]

    def _quarantine(self, same: Sequence[_Content], modality: Modality, reason: str) -> None:
        self.report.quarantined += len(same)
        self.done += [Embedding(content.item_id, modality, content.digest, None, reason) for content in same]
