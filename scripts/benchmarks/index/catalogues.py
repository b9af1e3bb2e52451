"""Items and queries to measure an index on: drawn from the geometry of real pairs, or the real vectors of a bundle."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from indexing.arrays import Vectors
from indexing.bundle.bundle import Bundle
from indexing.bundle.index_files import held_out_queries
from indexing.index import Queries
from indexing.index.tuning.recall import GroundTruth, ground_truths
from indexing.store.collect import fuse
from scripts.benchmarks.index.geometry import draw, read_pairs

K = 10
KINDS = ("text", "image")


@dataclass(frozen=True)
class Catalogue:
    """Items, queries to tune with, and others to report on, each with exact answers."""

    items: Vectors
    tune: dict[str, GroundTruth]
    report: dict[str, GroundTruth]
    info: dict[str, Any]


def drawn_catalogue(pairs: Path, count: int, queries: int, seed: int) -> Catalogue:
    """Draw a catalogue and queries of each kind; half of these tune."""
    drawn = draw(*read_pairs(pairs), count, queries, seed)
    asked = {"text": Queries(drawn.texts), "image": Queries(drawn.images)}
    return _halved(drawn.items, asked, {"items": count, "fit of the vectors": drawn.fit})


def real_catalogue(source: Path, queries: int, seed: int) -> Catalogue:
    """Take the vectors of a bundle with its own held-out queries, or of a .npz file with items, text and image."""
    if source.is_dir():
        vectors = Bundle.open(source).modality_vectors
        items = fuse(vectors)
        asked = held_out_queries(vectors, items, queries, seed)
    else:
        with np.load(source, allow_pickle=False) as arrays:
            items = arrays["items"].astype(np.float32)
            asked = {kind: Queries(arrays[kind].astype(np.float32)[:queries]) for kind in KINDS if kind in arrays}
    asked = {kind: asked[kind] for kind in KINDS if kind in asked}
    return _halved(items, asked, {"items": len(items), "source": source.name})


def _halved(items: Vectors, asked: dict[str, Queries], info: dict[str, Any]) -> Catalogue:
    tune = {kind: Queries(one.vectors[: len(one) // 2]) for kind, one in asked.items()}
    report = {kind: Queries(one.vectors[len(one) // 2 :]) for kind, one in asked.items()}
    return Catalogue(
        items,
        ground_truths(items, tune, K, len(items)),
        ground_truths(items, report, K, len(items)),
        info | {"dim": items.shape[1]},
    )
