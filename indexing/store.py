"""The truth on disk: one embedding per (item, modality), with its content hash, status and reason.

A store is a folder of append-only Parquet shards. A shard's name carries the sha256 of its bytes, so that a shard
is either whole or not there: a kill can lose at most the batch in flight, and damage is noticed on reading.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing import fsops
from indexing.cleaning import reason_kind
from indexing.errors import DamagedFileError, ShapeError
from indexing.item_ids import ItemIds
from indexing.types import Mask, Modality

ENCODED, QUARANTINED = "encoded", "quarantined"
HASH_BYTES = 16


@dataclass(frozen=True)
class Embedding:
    """What became of one modality of one item.

    Attributes:
        item_id: The item.
        modality: What was embedded.
        content_hash: Hash of the content; empty when it could not even be read.
        vector: (D,) float16, or None when the content is quarantined.
        reason: Why it is quarantined; empty when it is encoded.
    """

    item_id: str
    modality: Modality
    content_hash: str
    vector: NDArray[np.float16] | None
    reason: str = ""


def content_hash(content: str | bytes) -> str:
    """Name a text or the bytes of a file by its content (128-bit BLAKE2b)."""
    data = content.encode() if isinstance(content, str) else content
    return hashlib.blake2b(data, digest_size=HASH_BYTES).hexdigest()


class EmbeddingStore:
    """Append-only embeddings of one encoder.

    Args:
        folder: Where the shards are; created when missing.
        dim: Length D of the vectors.

    Raises:
        DamagedFileError: When a shard's bytes are not those that were written.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        fsops.make_folder(folder)
        self._shards = sorted(folder.glob("*.parquet"))
        self._state: dict[tuple[str, str], tuple[str, str]] = {}
        self._place: dict[tuple[str, str], tuple[Path, int]] = {}
        # Decoded as a whole: to unpack a shard's column for each of its rows would take quadratic time.
        self._vectors = lru_cache(maxsize=8)(lambda shard: vectors_of(read_shard(shard), dim))
        for shard in self._shards:
            self._remember(shard, read_shard(shard))

    def _remember(self, shard: Path, table: pa.Table) -> None:
        columns = (
            table.column(name).to_pylist() for name in ("item_id", "modality", "content_hash", "status", "reason")
        )
        for line, (item_id, modality, digest, status, reason) in enumerate(zip(*columns, strict=True)):
            self._state[item_id, modality] = (digest, reason)
            if status == ENCODED:
                self._place[modality, digest] = (shard, line)

    def __len__(self) -> int:
        return len(self._state)

    def settled(self, item_id: str, modality: Modality, digest: str, problem: str = "") -> bool:
        """Whether this very content of an item was encoded or quarantined before.

        Content that could not be read has no hash; it counts as settled while its problem stays the same.
        """
        known = self._state.get((item_id, modality))
        return known == ("", problem) if digest == "" else known is not None and known[0] == digest

    def reason(self, item_id: str, modality: Modality) -> str | None:
        """Why a modality of an item is quarantined: empty when it is encoded, None when it is unknown."""
        known = self._state.get((item_id, modality))
        return None if known is None else known[1]

    def reasons(self) -> Counter[str]:
        """Count what is quarantined, by the kind of reason."""
        return Counter(reason_kind(reason) for _, reason in self._state.values() if reason)

    def vector(self, modality: Modality, digest: str) -> NDArray[np.float16] | None:
        """Give the (D,) float16 vector of a content that was encoded before, for whichever item."""
        place = self._place.get((modality, digest))
        if place is None:
            return None
        shard, line = place
        vector: NDArray[np.float16] = self._vectors(shard)[line]
        return vector

    def append(self, embeddings: Sequence[Embedding]) -> None:
        """Write embeddings durably as one new shard; a later one of the same (item, modality) replaces an earlier."""
        if not embeddings:
            return
        table = to_table(embeddings, self.dim)
        data = parquet_bytes(table)
        shard = self.folder / shard_name(len(self._shards), data)
        fsops.write_bytes(shard, data)
        self._shards.append(shard)
        self._remember(shard, table)

    def collect(self, item_ids: ItemIds, modality: Modality) -> tuple[NDArray[np.float16], Mask]:
        """Give the vectors of one modality in row order: (N, D) float16, and (N,) bool saying which exist."""
        vectors = np.zeros((len(item_ids), self.dim), np.float16)
        exists = np.zeros(len(item_ids), np.bool_)
        digests = [self._state.get((item_id, modality), ("", "missing")) for item_id in item_ids]
        wanted: dict[Path, list[tuple[int, int]]] = {}
        for row, (digest, reason) in enumerate(digests):
            if not reason and (place := self._place.get((modality, digest))):
                wanted.setdefault(place[0], []).append((row, place[1]))
        for shard, pairs in wanted.items():
            rows, lines = np.array(pairs).T
            vectors[rows] = vectors_of(read_shard(shard), self.dim)[lines]
            exists[rows] = True
        return vectors, exists

    def records(self, item_ids: Iterable[str]) -> Iterator[Embedding]:
        """Give what became of each modality of the items, in the order of the ids."""
        for item_id in item_ids:
            for modality in Modality:
                if (known := self._state.get((item_id, modality))) is not None:
                    digest, reason = known
                    vector = None if reason else self.vector(modality, digest)
                    yield Embedding(item_id, modality, digest, vector, reason)


def to_table(embeddings: Sequence[Embedding], dim: int) -> pa.Table:
    """Give embeddings as a table of the store's schema, a quarantined one with a vector of zeros."""
    vectors = np.zeros((len(embeddings), dim), np.float16)
    for line, embedding in enumerate(embeddings):
        if embedding.vector is not None:
            if embedding.vector.shape != (dim,):
                raise ShapeError(
                    f"vector of {embedding.item_id!r} has shape {embedding.vector.shape}, expected ({dim},)"
                )
            vectors[line] = embedding.vector
    return pa.table(
        {
            "item_id": pa.array([e.item_id for e in embeddings], pa.string()),
            "modality": pa.array([str(e.modality) for e in embeddings], pa.string()),
            "content_hash": pa.array([e.content_hash for e in embeddings], pa.string()),
            "status": pa.array([ENCODED if e.vector is not None else QUARANTINED for e in embeddings], pa.string()),
            "reason": pa.array([e.reason for e in embeddings], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
        }
    )


def vectors_of(table: pa.Table, dim: int) -> NDArray[np.float16]:
    """Give the vectors of a shard as (rows, D) float16."""
    column = table.column("vector").combine_chunks()
    flat: NDArray[np.float16] = column.flatten().to_numpy()
    return flat.reshape(-1, dim)


def parquet_bytes(table: pa.Table) -> bytes:
    """Give a table as the bytes of a Parquet file."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data


def shard_name(number: int, data: bytes) -> str:
    """Name a shard by its place in the order and its content."""
    return f"{number:06d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet"


def read_shard(path: Path) -> pa.Table:
    """Read one shard after comparing its bytes with its name.

    Raises:
        DamagedFileError: When they differ.
    """
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest()[:32] != path.stem.split("-")[-1]:
        raise DamagedFileError(f"{path} is damaged: its bytes do not match its name; delete it and build again")
    return pq.read_table(pa.BufferReader(data))
