"""Reading a store: vectors of each modality, memory-mapped and fused, and packed shards of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays import Mask, Rows, Vectors, unit
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import EncoderInfo
from indexing.filesystem import fsops
from indexing.filesystem.mapped import map_array, write_array
from indexing.media.files import Modality
from indexing.store.lazy_rows import selected
from indexing.store.store import EmbeddingStore, parquet_bytes, shard_name, to_table

BLOCK_ROWS = 16_384  # at a time, so that what is computed on the way stays small


@dataclass(frozen=True, eq=False)
class ModalityVectors:
    """The frozen vectors of N items.

    Attributes:
        vectors: For each modality (N, D) float16, zero where an item lacks it.
        exists: For each modality (N,) bool.
        weights: How much a modality counts in an item beside the others; 1 for those that are not named.
    """

    vectors: Mapping[Modality, NDArray[np.float16]]
    exists: Mapping[Modality, Mask]
    weights: Mapping[Modality, float] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities that any item has."""
        return tuple(modality for modality, exists in self.exists.items() if exists.any())

    @property
    def count(self) -> int:
        """The number N of items."""
        return max(map(len, self.exists.values()), default=0)

    def take(self, rows: Rows | Mask | slice) -> "ModalityVectors":
        """Keep some of the items."""
        return ModalityVectors(
            {modality: vectors[rows] for modality, vectors in self.vectors.items()},
            {modality: exists[rows] for modality, exists in self.exists.items()},
            self.weights,
        )

    def selected(self, mask: Mask) -> "ModalityVectors":
        """Keep the items in a mask (N,), whose vectors stay where they are if these are not in memory."""
        return ModalityVectors(
            {modality: selected(vectors, mask) for modality, vectors in self.vectors.items()},
            {modality: exists[mask] for modality, exists in self.exists.items()},
            self.weights,
        )


def fuse(items: ModalityVectors) -> Vectors:
    """Average the modalities that each item has, by their weights: (N, D) float32, unit length.

    A missing modality is left out of the average, never filled with a mean. An item with none stays zero.
    """
    fused = np.zeros(next(iter(items.vectors.values())).shape, np.float32)
    for start in range(0, len(fused), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        for modality, vectors in items.vectors.items():
            of_modality, weight, exists = unit(vectors[rows]), items.weights.get(modality, 1.0), items.exists[modality]
            if weight != 1.0:
                of_modality *= weight
            if not exists[rows].all():
                of_modality *= exists[rows, None]
            fused[rows] += of_modality
        fused[rows] = unit(fused[rows])
    return fused


def collect_vectors(store: EmbeddingStore, items: ItemIds, modalities: tuple[Modality, ...]) -> ModalityVectors:
    """Return the vectors of every item and modality in a store."""
    by_modality = {modality: store.collect(items, modality) for modality in modalities}
    vectors = {modality: parts[0] for modality, parts in by_modality.items()}
    return ModalityVectors(vectors, {modality: parts[1] for modality, parts in by_modality.items()})


FROZEN = "frozen"


def frozen_contents(items: ModalityVectors) -> dict[str, Callable[[Path], str]]:
    """Return what writes the frozen vectors of N items into files that can be mapped, by their names."""
    contents: dict[str, Callable[[Path], str]] = {}
    for modality, vectors in items.vectors.items():
        vectors_name, exists_name = _frozen_names(modality)
        contents[vectors_name] = partial(_write_blocks, vectors, np.float16)
        contents[exists_name] = partial(_write_blocks, items.exists[modality], np.bool_)
    return contents


def _write_blocks(rows: Any, dtype: type[np.generic], path: Path) -> str:  # noqa: ANN401 - an array or `LazyRows`
    blocks = (rows[start : start + BLOCK_ROWS] for start in range(0, len(rows), BLOCK_ROWS))
    return write_array(path, blocks, rows.shape, dtype)


def frozen_names(modalities: Iterable[Modality]) -> list[str]:
    """Name the files that `frozen_contents` writes for these modalities."""
    return [name for modality in modalities for name in _frozen_names(modality)]


def _frozen_names(modality: Modality) -> tuple[str, str]:
    return f"{FROZEN}/{modality}.npy", f"{FROZEN}/{modality}.exists.npy"


def map_frozen(folder: Path, modalities: Iterable[Modality], count: int, dim: int) -> ModalityVectors:
    """Map what `frozen_contents` wrote for so many items into a folder.

    Raises:
        DamagedFileError: When a file holds something else.
    """
    vectors, exists = {}, {}
    for modality in modalities:
        vectors_name, exists_name = _frozen_names(modality)
        vectors[modality] = map_array(folder / vectors_name, (count, dim), np.float16)
        exists[modality] = map_array(folder / exists_name, (count,), np.bool_)
    return ModalityVectors(vectors, exists)


FUSED = "fused.f32"


def map_vectors(
    store: EmbeddingStore, item_ids: ItemIds, info: EncoderInfo, folder: Path
) -> tuple[Rows, ModalityVectors, Vectors]:
    """Return the vectors of the items that have a direction as memory-mapped arrays.

    The operating system brings in what is read and lets it go again; of the items only some thousand are in memory. A
    shard of the store is read once for every block that needs it: a few times where shards are in row order.

    Args:
        store: Has the embeddings.
        item_ids: The items.
        info: Of the encoder: what to collect, and how to weigh it.
        folder: Where the files are written: the arrays need them for as long as they live.

    Returns:
        The positions of these M items, (M,) int64; their frozen vectors; and these fused, (M, D) float32.
    """
    modalities = info.modalities
    files = {modality: folder / f"{modality}.f16" for modality in modalities}
    fsops.make_folder(folder)
    for path in (*files.values(), folder / FUSED):
        fsops.remove(path)  # of a build that was killed
    rows: list[Rows] = []
    exists: dict[Modality, list[NDArray[np.bool_]]] = {modality: [] for modality in modalities}
    for start in range(0, len(item_ids), BLOCK_ROWS):
        block = replace(
            collect_vectors(store, ItemIds(item_ids[start : start + BLOCK_ROWS]), modalities),
            weights=info.modality_weights,
        )
        fused = fuse(block)
        with_direction = np.flatnonzero(fused.any(axis=1))
        rows.append(with_direction + start)
        fsops.append(folder / FUSED, fused[with_direction].tobytes())
        for modality, path in files.items():
            exists[modality].append(block.exists[modality][with_direction])
            fsops.append(path, block.vectors[modality][with_direction].tobytes())
    positions, shape = np.concatenate(rows), (sum(map(len, rows)), store.dim)
    frozen = ModalityVectors(
        {modality: _open_mapped(path, np.float16, shape) for modality, path in files.items()},
        {modality: np.concatenate(parts) for modality, parts in exists.items()},
        info.modality_weights,
    )
    return positions, frozen, _open_mapped(folder / FUSED, np.float32, shape)


def _open_mapped(path: Path, kind: type[np.floating[Any]], shape: tuple[int, int]) -> NDArray[Any]:
    return np.memmap(path, kind, "r", shape=shape) if shape[0] else np.empty(shape, kind)


SHARD_ROWS = 50_000


@dataclass(frozen=True)
class PackedShards:
    """The packed shards.

    Attributes:
        files: The shards in row order.
        quarantined: How many contents have no vector.
    """

    files: tuple[Path, ...]
    quarantined: int


def pack(store: EmbeddingStore, item_ids: Iterable[str], folder: Path) -> PackedShards:
    """Write the embeddings of items, in the order of the ids, into shards in a folder."""
    fsops.make_folder(folder)
    records, quarantined = store.records(item_ids), 0
    files: list[Path] = []
    while chunk := list(islice(records, SHARD_ROWS)):
        data = parquet_bytes(to_table(chunk, store.dim))
        files.append(folder / shard_name(len(files), data))
        fsops.write_bytes(files[-1], data)
        quarantined += sum(record.vector is None for record in chunk)
    return PackedShards(tuple(files), quarantined)
