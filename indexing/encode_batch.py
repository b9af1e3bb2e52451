"""The work on one batch of items: what is settled needs nothing, equal content is encoded once, the rest is encoded."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.catalogue import Item
from indexing.decoding.decode import Decoded, Unusable
from indexing.decoding.pool import DecodePool
from indexing.encoders.base import Encoder, PixelEncoder
from indexing.media import Kind, Medium
from indexing.pictures import PictureLimits, UnusablePicture, read_picture
from indexing.store import Embedding, EmbeddingStore, content_hash
from indexing.types import Modality, Vectors


class Report(Protocol):
    """Where counts and times go."""

    encoded: int
    copied: int
    resumed: int
    quarantined: int

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the time of a block to a stage."""
        ...


@dataclass(frozen=True)
class Content:
    """One text or file of one item, with its hash, or with the problem that it has."""

    item_id: str
    modality: Modality
    part: int
    digest: str
    problem: str = ""

    def embedding(self, vector: NDArray[np.float16] | None, reason: str = "") -> Embedding:
        """Say what became of it."""
        return Embedding(self.item_id, self.modality, self.digest, vector, reason, self.part)


@dataclass
class Batch:
    """What has been begun for some items.

    Attributes:
        size: How many items.
        done: What is settled.
        same: The contents to be encoded, by modality and hash: all that are equal.
        texts: The texts among them.
        decoding: The files among them, on their way.
        waiting: Contents that an earlier batch is about to encode.
    """

    size: int
    done: list[Embedding] = field(default_factory=list)
    same: dict[tuple[Modality, str], list[Content]] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    decoding: dict[tuple[Modality, str], "Future[Decoded | Unusable]"] = field(default_factory=dict)
    waiting: list[Content] = field(default_factory=list)


class EncodingRun:
    """What the batches of one run share.

    Args:
        encoder: Embeds them.
        store: Where embeddings are and go.
        report: Counts and times.
        pool: Decodes files.
        limits: What a single file may cost.
    """

    def __init__(
        self, encoder: Encoder, store: EmbeddingStore, report: Report, pool: DecodePool, limits: PictureLimits
    ) -> None:
        self._encoder, self._store, self._report, self._pool, self._limits = encoder, store, report, pool, limits
        self._coming: set[tuple[Modality, str]] = set()
        self._unusable: dict[tuple[Modality, str], str] = {}

    def begin(self, items: Sequence[Item]) -> Batch:
        """Settle what needs no encoder, and send the files of the rest to be decoded."""
        batch = Batch(len(items))
        able = self._encoder.info.modalities
        for item in items:
            if item.text is not None and Modality.TEXT in able:
                content = Content(item.item_id, Modality.TEXT, 0, content_hash(item.text))
                if self._is_new(batch, content):
                    batch.texts[content.digest] = item.text
            for part, medium in _numbered(item.media):
                if medium.kind.modality in able:
                    self._begin_file(batch, item.item_id, part, medium)
        return batch

    def _begin_file(self, batch: Batch, item_id: str, part: int, medium: Medium) -> None:
        modality, problem, data = medium.kind.modality, medium.problem, b""
        if medium.source is not None:
            try:
                data = read_picture(medium.source, self._limits)
            except UnusablePicture as reason:
                problem = str(reason)
        digest = "" if problem else content_hash(data)
        content = Content(item_id, modality, part, digest, problem or "")
        if self._is_new(batch, content):
            batch.decoding[modality, digest] = self._pool.submit(medium.kind, data)

    def _is_new(self, batch: Batch, content: Content) -> bool:
        """Whether a content is the first of its kind and has to be encoded."""
        key = content.modality, content.digest
        if self._store.settled(content.item_id, content.modality, content.digest, content.problem, content.part):
            self._report.resumed += 1
        elif content.problem:
            self._quarantine(batch, [content], content.problem)
        elif key in batch.same:
            batch.same[key].append(content)
        elif key in self._coming:
            batch.waiting.append(content)
        elif not self._copied(batch, content):
            batch.same[key] = [content]
            self._coming.add(key)
            return True
        return False

    def _copied(self, batch: Batch, content: Content) -> bool:
        vector = self._store.vector(content.modality, content.digest)
        if vector is not None:
            self._report.copied += 1
            batch.done.append(content.embedding(vector))
        return vector is not None

    def finish(self, batch: Batch) -> int:
        """Encode and store what a batch has begun; batches are finished in the order in which they were begun."""
        self._finish_texts(batch)
        self._finish_pictures(batch)
        for content in batch.waiting:
            if not self._copied(batch, content):
                self._quarantine(batch, [content], self._unusable[content.modality, content.digest])
        with self._report.timed("write"):
            self._store.append(batch.done)
        self._coming -= batch.same.keys()
        return batch.size

    def _finish_texts(self, batch: Batch) -> None:
        if batch.texts:
            with self._report.timed("encode"):
                vectors = self._encoder.encode_texts(list(batch.texts.values()))
            self._record(batch, [(Modality.TEXT, digest) for digest in batch.texts], vectors)

    def _finish_pictures(self, batch: Batch) -> None:
        keys, arrays = [], []
        for key, coming in batch.decoding.items():
            with self._report.timed("decode"):
                outcome = coming.result()
            if isinstance(outcome, Unusable):
                self._unusable[key] = outcome.reason
                self._quarantine(batch, batch.same[key], outcome.reason)
            else:
                keys.append(key)
                arrays.append(outcome.arrays[0])
        batch.decoding.clear()
        if keys:
            with self._report.timed("encode"):
                vectors = _encode_arrays(self._encoder, arrays)
            self._record(batch, keys, vectors)

    def _record(self, batch: Batch, keys: Sequence[tuple[Modality, str]], vectors: Vectors) -> None:
        """Record fresh vectors, for every item that has the same content."""
        for key, vector in zip(keys, vectors, strict=True):
            same = batch.same[key]
            if not np.isfinite(vector).all() or not vector.any():
                self._unusable[key] = "the encoder gave NaN, infinity or zero"
                self._quarantine(batch, same, self._unusable[key])
                continue
            self._report.encoded += 1
            self._report.copied += len(same) - 1
            half = vector.astype(np.float16)
            batch.done += [content.embedding(half) for content in same]

    def _quarantine(self, batch: Batch, same: Sequence[Content], reason: str) -> None:
        self._report.quarantined += len(same)
        batch.done += [content.embedding(None, reason) for content in same]


def _numbered(media: Sequence[Medium]) -> Iterator[tuple[int, Medium]]:
    """Number the media of each modality from 0."""
    counts = dict.fromkeys(Modality, 0)
    for medium in media:
        yield counts[medium.kind.modality], medium
        counts[medium.kind.modality] += 1


def _encode_arrays(encoder: Encoder, arrays: Sequence[NDArray[Any]]) -> Vectors:
    if isinstance(encoder, PixelEncoder):
        return encoder.encode_pixels(np.stack(arrays))
    return encoder.encode_images([Image.fromarray(array) for array in arrays])


__all__ = ["Batch", "Content", "EncodingRun", "Kind"]
