"""Encoding one batch of items: finished items are skipped, and equal content is encoded once."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexing.arrays import Vectors
from indexing.catalogue.catalogue import Item
from indexing.catalogue.medium import Medium
from indexing.encoders.base import Encoder, PixelEncoder, with_audio
from indexing.filesystem.checked_files import HASH_BYTES, content_hash
from indexing.media.decode import Decoded, Unusable
from indexing.media.files import Kind, Modality, size_of, unreadable, with_name
from indexing.media.pool import DecodePool
from indexing.store.store import Embedding, EmbeddingStore

NO_VECTOR = "the encoder gave NaN, infinity or zero"


class Report(Protocol):
    """Where counts and times go."""

    encoded: int
    copied: int
    resumed: int
    quarantined: int

    def timed(self, stage: str) -> AbstractContextManager[None]:
        """Add the time of a block to a stage."""
        ...


class Key(NamedTuple):
    """What equal contents share."""

    modality: Modality
    digest: str
    is_film: bool = False

    def of_frame(self, number: int) -> str:
        """Return the hash under which a vector is stored: a film has one for each of its frames."""
        return f"{self.digest}/{number}" if self.is_film else self.digest


@dataclass(frozen=True)
class Content:
    """One text or file of one item, with its hash, or with the problem that it has, and the name of the file."""

    item_id: str
    key: Key
    part: int = 0
    problem: str = ""
    name: str = ""

    def embedding(
        self, vector: NDArray[np.float16] | None, reason: str = "", frame: int = 0, label: str = ""
    ) -> Embedding:
        """Make the embedding of it, or of one of its frames."""
        digest = "" if self.problem else self.key.of_frame(frame)
        return Embedding(self.item_id, self.key.modality, digest, vector, reason, self.part + frame, label)


@dataclass
class Batch:
    """The encoding of some items that has begun.

    Attributes:
        size: How many items.
        done: Embeddings that are finished.
        contents: The contents to be encoded, by what equal ones share.
        texts: The texts among them.
        decoding: The files among them, on their way.
        waiting: Contents that an earlier batch is about to encode.
    """

    size: int
    done: list[Embedding] = field(default_factory=list)
    contents: dict[Key, list[Content]] = field(default_factory=dict)
    texts: dict[Key, str] = field(default_factory=dict)
    decoding: dict[Key, "Future[Decoded | Unusable]"] = field(default_factory=dict)
    waiting: list[Content] = field(default_factory=list)


class EncodingRun:
    """What the batches of one run share.

    Args:
        encoder: Embeds them.
        store: Where embeddings are and go.
        report: Counts and times.
        pool: Decodes files.
    """

    def __init__(self, encoder: Encoder, store: EmbeddingStore, report: Report, pool: DecodePool) -> None:
        self._encoder, self._store, self._report, self._pool = encoder, store, report, pool
        self._pending: set[Key] = set()
        self._failures: dict[Key, str] = {}

    def begin(self, items: Sequence[Item]) -> Batch:
        """Settle what needs no encoder, and send the files of the rest to be decoded."""
        batch = Batch(len(items))
        modalities = self._encoder.info.modalities
        for item in items:
            if item.text is not None and Modality.TEXT in modalities:
                content = Content(item.item_id, Key(Modality.TEXT, content_hash(item.text)))
                if self._is_new(batch, content):
                    batch.texts[content.key] = item.text
            for part, medium in _number_media(item.media, self._pool.task.frames):
                if medium.kind.modality in modalities:
                    self._begin_file(batch, item.item_id, part, medium)
        return batch

    def _begin_file(self, batch: Batch, item_id: str, part: int, medium: Medium) -> None:
        task = self._pool.task
        digest, problem = _hash_or_problem(medium, task.max_bytes(medium.kind))
        if digest and medium.kind is not Kind.IMAGE:  # what is taken of it makes it another content
            sampled = task.frames if medium.kind is Kind.VIDEO else task.sounds.seconds
            digest = content_hash(f"{digest} {sampled}")
        key = Key(medium.kind.modality, digest, medium.kind is Kind.VIDEO)
        if self._is_new(batch, Content(item_id, key, part, problem, medium.name)) and medium.source is not None:
            batch.decoding[key] = self._pool.submit(medium.kind, medium.source)

    def _is_new(self, batch: Batch, content: Content) -> bool:
        """Whether a content is the first of its kind and has to be encoded."""
        key = content.key
        if self._settled(content):
            self._report.resumed += 1
        elif content.problem:
            self._quarantine(batch, [content], content.problem)
        elif key in batch.contents:
            batch.contents[key].append(content)
        elif key in self._pending:
            batch.waiting.append(content)
        elif key in self._failures:
            self._quarantine(batch, [content], self._failures[key])
        elif not self._copied(batch, content):
            batch.contents[key] = [content]
            self._pending.add(key)
            return True
        return False

    def _settled(self, content: Content) -> bool:
        item_id, key, part, problem = content.item_id, content.key, content.part, content.problem
        digest = "" if problem else key.of_frame(0)
        if not self._store.settled(item_id, key.modality, digest, problem, part):
            return False
        frames = count(1) if key.is_film and not problem else ()
        for frame in frames:  # all of a film's frames are in one shard: either all are there or none
            if not self._store.settled(item_id, key.modality, key.of_frame(frame), part=part + frame):
                break
        return True

    def _copied(self, batch: Batch, content: Content) -> bool:
        for frame in count():
            stored = self._store.found(content.key.modality, content.key.of_frame(frame))
            if stored is None:
                self._report.copied += frame > 0
                return frame > 0
            batch.done.append(content.embedding(stored[0], frame=frame, label=stored[1]))
            if not content.key.is_film:
                break
        self._report.copied += 1
        return True

    def finish(self, batch: Batch) -> int:
        """Encode and store what a batch has begun; batches are finished in the order in which they were begun."""
        self._finish_texts(batch)
        self._finish_files(batch)
        for content in batch.waiting:
            if not self._copied(batch, content):
                self._quarantine(batch, [content], self._failures[content.key])
        with self._report.timed("write"):
            self._store.append(batch.done)
        self._pending -= batch.contents.keys()
        return batch.size

    def _finish_texts(self, batch: Batch) -> None:
        if batch.texts:
            with self._report.timed("encode"):
                vectors = self._encoder.encode_texts(list(batch.texts.values()))
            for key, vector in zip(batch.texts, vectors, strict=True):
                self._record(batch, key, vector[None], [""])

    def _finish_files(self, batch: Batch) -> None:
        decoded: dict[Key, Decoded] = {}
        for key, future in batch.decoding.items():
            with self._report.timed("decode"):
                outcome = future.result()
            if isinstance(outcome, Unusable):
                self._failures[key] = outcome.reason
                self._quarantine(batch, batch.contents[key], outcome.reason)
            else:
                decoded[key] = outcome
        batch.decoding.clear()
        for modality in (Modality.IMAGE, Modality.AUDIO):
            keys = [key for key in decoded if key.modality is modality]
            if arrays := [array for key in keys for array in decoded[key].arrays]:
                with self._report.timed("encode"):
                    vectors = _encode_arrays(self._encoder, modality, arrays)
                ends = np.cumsum([len(decoded[key].arrays) for key in keys])
                for key, key_vectors in zip(keys, np.split(vectors, ends[:-1]), strict=True):
                    self._record(batch, key, key_vectors, decoded[key].labels)

    def _record(self, batch: Batch, key: Key, vectors: Vectors, labels: Sequence[str]) -> None:
        """Record the fresh vectors of a content, (1, D) or one for each frame, for every item that has it."""
        contents = batch.contents[key]
        if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
            self._failures[key] = NO_VECTOR
            self._quarantine(batch, contents, NO_VECTOR)
            return
        self._report.encoded += 1
        self._report.copied += len(contents) - 1
        for content in contents:
            for frame, (vector, label) in enumerate(zip(vectors.astype(np.float16), labels, strict=True)):
                batch.done.append(content.embedding(vector, frame=frame, label=label))

    def _quarantine(self, batch: Batch, contents: Sequence[Content], reason: str) -> None:
        self._report.quarantined += len(contents)
        for content in contents:  # which share the bytes, not the name
            message = reason if content.problem else with_name(reason, content.name)
            batch.done.append(content.embedding(None, message))


def _number_media(media: Sequence[Medium], frames: int) -> Iterator[tuple[int, Medium]]:
    """Number the media of each modality from 0, with room for the frames of a film."""
    counts = dict.fromkeys(Modality, 0)
    for medium in media:
        yield counts[medium.kind.modality], medium
        counts[medium.kind.modality] += frames if medium.kind is Kind.VIDEO else 1


def _hash_or_problem(medium: Medium, max_bytes: int) -> tuple[str, str]:
    """Return the hash of a file, or why it cannot be used; a large one is not read into memory for it."""
    kind, source = medium.kind, medium.source
    if source is None:
        return "", medium.problem or f"{kind} file is missing"
    try:
        size = size_of(source)
        if size > max_bytes:
            return "", with_name(f"{kind} file of {size} bytes is over the limit of {max_bytes}", medium.name)
        if not size:
            return "", with_name(f"{kind} file is empty", medium.name)
        return (content_hash(source) if isinstance(source, bytes) else _hash_of_file(source)), ""
    except OSError as error:
        return "", unreadable(kind, error, medium.name)


def _hash_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HASH_BYTES)).hexdigest()


def _encode_arrays(encoder: Encoder, modality: Modality, arrays: Sequence[NDArray[Any]]) -> Vectors:
    if modality is Modality.AUDIO:
        return with_audio(encoder).encode_audio(arrays)
    if isinstance(encoder, PixelEncoder) and encoder.image_form is not None:
        return encoder.encode_pixels(np.stack(arrays))
    return encoder.encode_images([Image.fromarray(array) for array in arrays])
