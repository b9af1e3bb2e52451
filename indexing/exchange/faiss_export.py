"""A plain FAISS file and the names of its rows, for whoever calls faiss.read_index.

index.faiss      inner products over the item vectors that this bundle serves
ids.parquet      row, item_id
about.json       which encoder queries must come from, and the like
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle, served_vectors
from indexing.bundle.generation import INDEX
from indexing.errors import InputError
from indexing.exchange.array_files import new_folder
from indexing.filesystem import fsops
from indexing.store.store import parquet_bytes

SHARDED = "faiss-sharded"
INDEX_FILE, IDS, ABOUT = "index.faiss", "ids.parquet", "about.json"


@dataclass(frozen=True)
class FaissReport:
    """What was written.

    Attributes:
        items: Rows of the index.
        dim: Length of the vectors.
        content_dim: So many of their first numbers are content, of unit length. The others, if any, are what users go
            on to: a query by text or picture has zeros there.
        kind: ``faiss-flat``, ``faiss-hnsw`` or ``faiss-ivf``.
        metric: Always ``inner_product``; content has unit length, so that it is the cosine for unit queries.
        encoder: What queries must be embedded with.
        fingerprint: Its identity.
        generation: Of the bundle.
        learned: Parts that changed the item vectors; queries by text or picture stay as the encoder gives them.
    """

    items: int
    dim: int
    content_dim: int
    kind: str
    metric: str
    encoder: str
    fingerprint: str
    generation: str
    learned: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


def export_faiss(bundle: Bundle, folder: Path | str, *, kind: Literal["own", "flat"] = "own") -> FaissReport:
    """Write the index of a bundle as FAISS reads it, with the item_id of every row.

    Args:
        bundle: The generation.
        folder: Where to; it must not exist or be empty.
        kind: ``"own"`` for the bundle's index as it is (a graph stays a graph), ``"flat"`` for an IndexFlatIP.

    Raises:
        InputError: When the folder is taken or the kind is unknown.
    """
    if kind not in ("own", "flat"):
        raise InputError(f"kind of index {kind!r} is unknown; choose 'own' or 'flat'")
    index_kind = bundle.require_compacted().manifest.index["kind"]
    copy_index = kind == "own" and index_kind.startswith("faiss-")
    if copy_index and index_kind == SHARDED:
        raise InputError(f"the index of {bundle.root} is in shards, no single file of FAISS; export kind 'flat'")
    info = bundle.manifest.encoder
    report = FaissReport(
        items=len(bundle.items),
        dim=bundle.index.dim,
        content_dim=info.dim,
        kind=index_kind if copy_index else "faiss-flat",
        metric="inner_product",
        encoder=info.name,
        fingerprint=info.fingerprint,
        generation=bundle.manifest.generation,
        learned=tuple(feature for feature in bundle.manifest.features if feature in ("adapter", "behaviour")),
    )
    rows = pa.array(np.arange(report.items, dtype=np.int64))
    ids = pa.table({"row": rows, "item_id": pa.array(bundle.items, pa.string())})
    with new_folder(folder) as unfinished:
        if copy_index:
            fsops.copy(bundle.folder / INDEX, unfinished / INDEX_FILE)
        else:
            _save_flat(served_vectors(bundle), unfinished / INDEX_FILE)
        fsops.write_bytes(unfinished / IDS, parquet_bytes(ids))
        fsops.write_bytes(unfinished / ABOUT, json.dumps(report.to_json(), indent=2).encode())
    return report


def _save_flat(vectors: Vectors, path: Path) -> None:
    from indexing.index.backends.faiss import FaissIndex  # FAISS is loaded only by those who build or search

    FaissIndex.flat(vectors).save(path)
