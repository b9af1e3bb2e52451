"""The truth on disk: one embedding per (item, modality, part), with its content hash, status and reason.

A store is a folder of append-only Parquet shards. A shard's name carries the sha256 of its bytes, so that a shard
is either whole or not there: a kill can lose at most the batch in flight, and damage is noticed on reading.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows
from indexing.catalogue.cleaning import reason_kind
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import DamagedFileError, ShapeError
from indexing.filesystem import fsops
from indexing.filesystem.checked_files import REPAIR_HINT, read_as, read_whole
from indexing.media.files import Modality
from indexing.store.ledger import Ledger, LedgerEntry

ENCODED, QUARANTINED = "encoded", "quarantined"
STATE_COLUMNS = ("item_id", "modality", "part", "content_hash", "reason", "label")
MAX_PARTS = 100_000  # of one item: more is a number that was changed
_SHARD = re.compile(r"\d{6,}-[0-9a-f]{32}\.parquet")
BLOCK_ITEMS = 16_384  # items: what is computed or told of them on the way stays small


@dataclass(frozen=True)
class Embedding:
    """What became of one modality of one item.

    Attributes:
        item_id: The item.
        modality: What was embedded.
        content_hash: Hash of the content; empty when it could not even be read.
        vector: (D,) float16, or None when the content is quarantined.
        reason: Why it is quarantined; empty when it is encoded.
        part: Which of the item's contents of this modality it is, from 0.
        label: Where in its file the content is, as ``"12.5 s"`` of a film; empty for a whole file.
    """

    item_id: str
    modality: Modality
    content_hash: str
    vector: NDArray[np.float16] | None
    reason: str = ""
    part: int = 0
    label: str = ""


class EmbeddingStore:
    """Append-only embeddings of one encoder.

    Args:
        folder: Where the shards are; created when missing.
        dim: Length D of the vectors.
        shards: Those of a finished store, in order, which is only read; all that are in the folder when None.

    Raises:
        DamagedFileError: When a shard is missing, or its bytes are not those that were written.
    """

    def __init__(self, folder: Path, dim: int, shards: Sequence[Path] | None = None) -> None:
        self.folder, self.dim = folder, dim
        if shards is None:
            fsops.make_folder(folder)
            shards = sorted(path for path in folder.glob("*.parquet") if _SHARD.fullmatch(path.name))
        self._shards = list(shards)
        self._ledger = Ledger()
        # Decoded as a whole: to unpack a shard's column for each of its rows would take quadratic time.
        self._unpacked = lru_cache(maxsize=8)(lambda shard: _vectors_and_labels(read_shard(shard), dim))
        for number, shard in enumerate(self._shards):
            with read_as(str(shard), REPAIR_HINT):
                self._remember(number, check_embeddings_table(read_shard(shard), dim))

    def _remember(self, shard: int, table: pa.Table) -> None:
        columns = (table.column(name).to_pylist() for name in STATE_COLUMNS)
        for row, (item_id, modality, part, digest, reason, label) in enumerate(zip(*columns, strict=True)):
            self._ledger.add(item_id, Modality(modality), part, LedgerEntry(digest, reason, label), shard, row)

    def __len__(self) -> int:
        return len(self._ledger)

    def begin_run(self) -> None:
        """Count from now on only what is settled or appended: what the items no longer have is forgotten."""
        self._ledger.begin_run()

    def settled(self, item_id: str, modality: Modality, digest: str, problem: str = "", part: int = 0) -> bool:
        """Whether this very content of an item was encoded before, or has the same problem as before.

        What was refused while it was decoded is not settled: limits, packages and the machine may have changed.
        """
        known = self._ledger.in_any_run(item_id, modality, part)
        is_same = known is not None and known.reason == problem and (not digest or known.digest == digest)
        if is_same:
            self._ledger.touch(item_id, modality, part)
        return is_same

    def reason(self, item_id: str, modality: Modality, part: int = 0) -> str | None:
        """Why a content of an item is quarantined: empty when it is encoded, None when it is unknown."""
        known = self._ledger.in_this_run(item_id, modality, part)
        return None if known is None else known.reason

    def reasons(self) -> Counter[str]:
        """Count quarantined contents by kind of reason."""
        return Counter(map(reason_kind, self._ledger.reasons()))

    def vector(self, modality: Modality, digest: str) -> NDArray[np.float16] | None:
        """Return the (D,) float16 vector of a content that was encoded before, for whichever item."""
        found = self.found(modality, digest)
        return found and found[0]

    def found(self, modality: Modality, digest: str) -> tuple[NDArray[np.float16], str] | None:
        """Return vector and label of a content that was encoded before, for whichever item."""
        position = self._ledger.position(modality, digest)
        if position is None:
            return None
        vectors, labels = self._unpacked(self._shards[position[0]])
        return vectors[position[1]].copy(), labels[position[1]]  # a view would keep the whole shard

    def append(self, embeddings: Sequence[Embedding]) -> None:
        """Write embeddings durably as one new shard; a later one of the same content's place replaces an earlier."""
        if not embeddings:
            return
        self.append_table(to_table(embeddings, self.dim))

    def append_table(self, table: pa.Table) -> None:
        """Write embeddings that are a table of the store's schema already, as `append` does."""
        data = parquet_bytes(table)
        shard = self.folder / shard_name(len(self._shards), data)
        fsops.write_bytes(shard, data)
        self._shards.append(shard)
        self._remember(len(self._shards) - 1, table)

    def collect(self, item_ids: ItemIds, modality: Modality) -> tuple[NDArray[np.float16], Mask]:
        """Return the vectors of one modality in row order: (N, D) float16, and (N,) bool saying which exist.

        An item with several pictures or frames gets the mean of their vectors.
        """
        return self.parts(item_ids, modality).pooled(len(item_ids))

    def parts(self, item_ids: ItemIds, modality: Modality) -> "Parts":
        """Return every vector of one modality by itself, in row order."""
        positions: list[tuple[int, int]] = []
        rows: list[int] = []
        labels: list[str] = []
        for row, item_id in enumerate(item_ids):
            for part, known in self._ledger.parts_of_item(item_id, modality):
                if not known.reason and (position := self._ledger.position(modality, known.digest)):
                    positions.append(position)
                    rows.append(row)
                    labels.append(_label(part, known.label))
        return Parts(np.array(rows, np.int64), labels, self._vectors_at(positions))

    def _vectors_at(self, shards_and_rows: Sequence[tuple[int, int]]) -> NDArray[np.float16]:
        """Return the vectors at P shards and rows: (P, D) float16; each shard is read once for all of them."""
        by_shard: dict[int, list[tuple[int, int]]] = {}
        for position, (shard, row) in enumerate(shards_and_rows):
            by_shard.setdefault(shard, []).append((position, row))
        vectors = np.zeros((len(shards_and_rows), self.dim), np.float16)
        for shard, pairs in by_shard.items():
            positions, shard_rows = np.array(pairs).T
            vectors[positions] = vectors_of(read_shard(self._shards[shard]), self.dim)[shard_rows]
        return vectors

    def records(self, item_ids: Iterable[str]) -> Iterator[Embedding]:
        """Return what became of each content of the items, in the order of the ids."""
        ids = iter(item_ids)
        while chunk := list(islice(ids, BLOCK_ITEMS)):
            yield from self._records(chunk)

    def _records(self, item_ids: Sequence[str]) -> list[Embedding]:
        """Return the records of some items."""
        records: list[Embedding] = []
        encoded: dict[int, tuple[int, int]] = {}  # where the vector of a record is
        for item_id in item_ids:
            for modality in Modality:
                for part, known in self._ledger.parts_of_item(item_id, modality):
                    if not known.reason and (position := self._ledger.position(modality, known.digest)):
                        encoded[len(records)] = position
                    records.append(Embedding(item_id, modality, known.digest, None, known.reason, part, known.label))
        for number, vector in zip(encoded, self._vectors_at(list(encoded.values())), strict=True):
            records[number] = replace(records[number], vector=vector)
        return records


@dataclass(frozen=True, eq=False)
class Parts:
    """The contents of one modality, each by itself.

    Attributes:
        rows: (P,) int64, the item of each, ascending.
        labels: P names, as ``"0"`` or ``"1 at 12.5 s"``.
        vectors: (P, D) float16.
    """

    rows: Rows
    labels: list[str]
    vectors: NDArray[np.float16]

    @classmethod
    def of_table(cls, table: pa.Table, item_ids: ItemIds, modality: Modality, dim: int) -> "Parts":
        """Return the encoded contents of one modality in a table of the store's schema, whose items are all known."""
        mask = pc.and_(pc.equal(table.column("modality"), str(modality)), pc.equal(table.column("status"), ENCODED))
        table = table.filter(mask)
        rows, part = item_ids.rows(table.column("item_id").to_pylist()), table.column("part").to_numpy()
        order = np.lexsort((part, rows))
        labels = [_label(*pair) for pair in zip(part.tolist(), table.column("label").to_pylist(), strict=True)]
        return cls(rows[order], [labels[position] for position in order], vectors_of(table, dim)[order])

    def pooled(self, count: int) -> tuple[NDArray[np.float16], Mask]:
        """Return the mean of each item's contents, (count, D) float16, and (count,) bool saying which have any."""
        means, contents = np.zeros((count, self.vectors.shape[1]), np.float16), np.zeros(count, np.int64)
        for start in range(0, count, BLOCK_ITEMS):
            block = slice(start, min(count, start + BLOCK_ITEMS))
            start_, stop_ = np.searchsorted(self.rows, (block.start, block.stop))
            block_rows = self.rows[start_:stop_] - start
            contents[block] = np.bincount(block_rows, minlength=block.stop - start)
            total = np.zeros((block.stop - start, means.shape[1]), np.float32)
            np.add.at(total, block_rows, self.vectors[start_:stop_].astype(np.float32))
            means[block] = total / np.maximum(contents[block], 1)[:, None]
        return means, contents > 0


def _vectors_and_labels(table: pa.Table, dim: int) -> tuple[NDArray[np.float16], list[str]]:
    return vectors_of(table, dim), table.column("label").to_pylist()


def _label(part: int, label: str) -> str:
    return f"{part} at {label}" if label else str(part)


def to_table(embeddings: Sequence[Embedding], dim: int) -> pa.Table:
    """Return embeddings as a table of the store's schema, a quarantined one with a vector of zeros."""
    vectors = np.zeros((len(embeddings), dim), np.float16)
    for row, embedding in enumerate(embeddings):
        if embedding.vector is not None:
            if embedding.vector.shape != (dim,):
                raise ShapeError(
                    f"vector of {embedding.item_id!r} has shape {embedding.vector.shape}, expected ({dim},)"
                )
            vectors[row] = embedding.vector
    return pa.table(
        {
            "item_id": pa.array([e.item_id for e in embeddings], pa.string()),
            "modality": pa.array([str(e.modality) for e in embeddings], pa.string()),
            "part": pa.array([e.part for e in embeddings], pa.int32()),
            "label": pa.array([e.label for e in embeddings], pa.string()),
            "content_hash": pa.array([e.content_hash for e in embeddings], pa.string()),
            "status": pa.array([ENCODED if e.vector is not None else QUARANTINED for e in embeddings], pa.string()),
            "reason": pa.array([e.reason for e in embeddings], pa.string()),
            "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), dim),
        }
    )


def vectors_of(table: pa.Table, dim: int) -> NDArray[np.float16]:
    """Return the vectors of a shard as (rows, D) float16."""
    column = table.column("vector").combine_chunks()
    if not _same_type(column.type, pa.list_(pa.float16(), dim)):
        raise DamagedFileError(f"vectors are {column.type}, expected {dim} numbers of half precision; {REPAIR_HINT}")
    flat: NDArray[np.float16] = column.flatten().to_numpy()
    return flat.reshape(-1, dim)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return a table as the bytes of a Parquet file.

    The numbers of a vector are worth neither a dictionary, nor statistics, nor compression, which take time to make and
    to read: half precision becomes a tenth smaller. Rows are in groups because writing one takes several times the
    memory of its vectors.
    """
    sink = pa.BufferOutputStream()
    others = [field.name for field in table.schema if not pa.types.is_fixed_size_list(field.type)]
    dictionaries: bool | list[str] = others if len(others) < table.num_columns else True
    compression = {name: "zstd" if name in others else "none" for name in table.column_names}
    pq.write_table(
        table,
        sink,
        compression=compression,
        use_dictionary=dictionaries,
        write_statistics=dictionaries,
        row_group_size=BLOCK_ITEMS // 2,
    )
    data: bytes = sink.getvalue().to_pybytes()
    return data


def shard_name(number: int, data: bytes) -> str:
    """Name a shard by its place in the order and its content."""
    return f"{number:06d}-{hashlib.sha256(data).hexdigest()[:32]}.parquet"


def read_shard(path: Path) -> pa.Table:
    """Read one shard after comparing its bytes with its name.

    Raises:
        DamagedFileError: When they differ, or it cannot be read.
    """
    data = shard_bytes(path)
    with read_as(str(path), REPAIR_HINT):
        return pq.read_table(pa.BufferReader(data))


def shard_bytes(path: Path) -> bytes:
    """Read the bytes of one shard, and compare them with its name.

    Raises:
        DamagedFileError: When they differ, or it cannot be read.
    """
    data = read_whole(path)
    if hashlib.sha256(data).hexdigest()[:32] != path.stem.split("-")[-1]:
        raise DamagedFileError(f"{path} is damaged: its bytes do not match its name; delete it and build again")
    return data


def check_embeddings_table(table: pa.Table, dim: int) -> pa.Table:
    """Check that a table is one of the store's schema, with values that can be used, and return it.

    Raises:
        ValueError: When it is not, or Arrow's own errors; see `read_as`.
    """
    check_table(table)
    expected = to_table([], dim).schema
    if table.schema.names != expected.names or any(
        not _same_type(field_.type, expected_field.type)
        for field_, expected_field in zip(table.schema, expected, strict=True)
    ):
        raise ValueError(f"it has columns {str(table.schema.names)[:200]} of other types than embeddings")
    if any(column.null_count for column in table.columns):
        raise ValueError("embeddings have nulls")
    parts = table.column("part").to_numpy()
    if len(parts) and not 0 <= parts.min() <= parts.max() <= MAX_PARTS:
        raise ValueError(f"a part has number {parts.max() if parts.max() > MAX_PARTS else parts.min()}")
    if unknown := {*pc.unique(table.column("modality")).to_pylist()} - {str(field_) for field_ in Modality}:
        raise ValueError(f"there is no modality {min(unknown)!r:.60}")
    if unknown := {*pc.unique(table.column("status")).to_pylist()} - {ENCODED, QUARANTINED}:
        raise ValueError(f"there is no status {min(unknown)!r:.60}")
    vectors = vectors_of(table, dim)
    if len(vectors) != table.num_rows or not np.isfinite(vectors).all():
        raise ValueError("vectors are not finite")
    return table


def check_table(table: pa.Table) -> pa.Table:
    """Check every offset and text of a table, which Arrow believes otherwise, and return it.

    Raises:
        ArrowInvalid: When one is wrong.
    """
    table.validate(full=True)
    return table


def _same_type(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether types are equal, whatever the values of a list are called."""
    if pa.types.is_fixed_size_list(left) and pa.types.is_fixed_size_list(right):
        return bool(left.list_size == right.list_size and left.value_type == right.value_type)
    return bool(left == right)
