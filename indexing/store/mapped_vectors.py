"""The vectors of a store block by block into files that are then mapped: for a build of more than memory holds."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexing.arrays.types import Rows, Vectors
from indexing.catalogue.item_ids import ItemIds
from indexing.encoders.base import EncoderInfo
from indexing.filesystem import fsops
from indexing.media.files import Modality
from indexing.store.collect import collected
from indexing.store.fusion import ModalityVectors, fuse
from indexing.store.store import EmbeddingStore

ROWS = 16_384
FUSED = "fused.f32"


def mapped(
    store: EmbeddingStore, item_ids: ItemIds, info: EncoderInfo, folder: Path
) -> tuple[Rows, ModalityVectors, Vectors]:
    """Give the vectors of the items that have a direction as memory-mapped arrays.

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
    for start in range(0, len(item_ids), ROWS):
        block = replace(collected(store, ItemIds(item_ids[start : start + ROWS]), modalities), weights=info.weighed)
        fused = fuse(block)
        kept = np.flatnonzero(fused.any(axis=1))
        rows.append(kept + start)
        fsops.append(folder / FUSED, fused[kept].tobytes())
        for modality, path in files.items():
            exists[modality].append(block.exists[modality][kept])
            fsops.append(path, block.vectors[modality][kept].tobytes())
    found, shape = np.concatenate(rows), (sum(map(len, rows)), store.dim)
    frozen = ModalityVectors(
        {modality: _opened(path, np.float16, shape) for modality, path in files.items()},
        {modality: np.concatenate(parts) for modality, parts in exists.items()},
        info.weighed,
    )
    return found, frozen, _opened(folder / FUSED, np.float32, shape)


def _opened(path: Path, kind: type[np.floating[Any]], shape: tuple[int, int]) -> NDArray[Any]:
    return np.memmap(path, kind, "r", shape=shape) if shape[0] else np.empty(shape, kind)
