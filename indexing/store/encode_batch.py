"""Encoding one batch of items: finished items are skipped, and equal content is encoded once."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Vectors
from indexing.catalogue.catalogue import Item
from indexing.catalogue.medium import Medium
from indexing.filesystem.checked_files import HASH_BYTES, content_hash
from indexing.media.decode import Unusable
from indexing.media.files import Kind, Modality, size_of, unreadable, with_name
from indexing.media.remote_files import RemoteFile
from indexing.store.batch_encoder import BatchEncoder, File, Pending
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
        texts: Which of them are texts, in the order in which they were sent.
        files: Which of them are files, likewise.
        pending: Waits for the vectors of both; None when there is nothing to encode.
        waiting: Contents that an earlier batch is about to encode.
    """

    size: int
    done: list[Embedding] = field(default_factory=list)
    contents: dict[Key, list[Content]] = field(default_factory=dict)
    texts: list[Key] = field(default_factory=list)
    files: list[Key] = field(default_factory=list)
    pending: Pending | None = None
    waiting: list[Content] = field(default_factory=list)


class EncodingRun:
    """What the batches of one run share.

    Args:
        modalities: What is encoded.
        store: Where embeddings are and go.
        report: Counts and times.
        encoder: Encodes batches.
    """

    def __init__(
        self, modalities: Sequence[Modality], store: EmbeddingStore, report: Report, encoder: BatchEncoder
    ) -> None:
        self._modalities, self._store, self._report, self._encoder = modalities, store, report, encoder
        self._pending: set[Key] = set()
        self._failures: dict[Key, str] = {}

    def begin(self, items: Sequence[Item]) -> Batch:
        """Settle what needs no encoder, and send the rest to it."""
        batch, texts, files = Batch(len(items)), dict[Key, str](), dict[Key, File]()
        for item in items:
            if item.text is not None and Modality.TEXT in self._modalities:
                content = Content(item.item_id, Key(Modality.TEXT, content_hash(item.text)))
                if self._is_new(batch, content):
                    texts[content.key] = item.text
            for part, medium in _number_media(item.media, self._encoder.task.frames):
                if medium.kind.modality in self._modalities:
                    content = self._content_of(item.item_id, part, medium)
                    if self._is_new(batch, content) and isinstance(medium.source, bytes | Path):
                        files[content.key] = File(medium.kind, medium.source)
        if texts or files:
            batch.texts, batch.files = list(texts), list(files)
            batch.pending = self._encoder.begin(list(texts.values()), list(files.values()))
        return batch

    def _content_of(self, item_id: str, part: int, medium: Medium) -> Content:
        task = self._encoder.task
        digest, problem = _hash_or_problem(medium, task.max_bytes(medium.kind))
        if digest and medium.kind is not Kind.IMAGE:  # what is taken of it makes it another content
            sampled = task.frames if medium.kind is Kind.VIDEO else task.sounds.seconds
            digest = content_hash(f"{digest} {sampled}")
        key = Key(medium.kind.modality, digest, medium.kind is Kind.VIDEO)
        return Content(item_id, key, part, problem, medium.name)

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
        if batch.pending is not None:
            self._finish_encoding(batch, batch.pending)
        for content in batch.waiting:
            if not self._copied(batch, content):
                self._quarantine(batch, [content], self._failures[content.key])
        with self._report.timed("write"):
            self._store.append(batch.done)
        self._pending -= batch.contents.keys()
        return batch.size

    def _finish_encoding(self, batch: Batch, pending: Pending) -> None:
        encoded = pending()
        if encoded.texts is not None:
            for key, vector in zip(batch.texts, encoded.texts, strict=True):
                self._record(batch, key, vector[None], [""])
        for key, outcome in zip(batch.files, encoded.files, strict=True):
            if isinstance(outcome, Unusable):
                self._failures[key] = outcome.reason
                self._quarantine(batch, batch.contents[key], outcome.reason)
            else:
                self._record(batch, key, outcome.vectors, outcome.labels)

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
    if isinstance(source, RemoteFile):  # `fetched` gives its bytes
        return "", with_name(f"{kind} file was not fetched", medium.name)
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
