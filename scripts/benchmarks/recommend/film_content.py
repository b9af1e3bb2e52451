"""Vectors of films as peers and yardsticks take them."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from indexing.arrays import Mask, Vectors, unit
from indexing.catalogue.item_ids import ItemIds


def as_they_are(folder: Path, items: ItemIds, column: str) -> Vectors:
    """Give unit vectors of vectors.parquet as the encoder made them, (N, D) float32; zero where there is none."""
    return _vectors(folder, items, column)[0]


def centred(folder: Path, items: ItemIds, column: str) -> Vectors:
    """Give unit vectors after their mean was taken from them, (N, D) float32; zero where there is none."""
    vectors, there = _vectors(folder, items, column)
    vectors[there] = unit(vectors[there] - vectors[there].mean(axis=0))
    return vectors


def _vectors(folder: Path, items: ItemIds, column: str) -> tuple[Vectors, Mask]:
    """Give unit vectors, and which films have one."""
    table = pq.read_table(folder / "vectors.parquet", columns=["item_id", column]).to_pydict()
    of_item = {name: vector for name, vector in zip(*table.values(), strict=True) if vector is not None}
    there = np.array([name in of_item for name in items])
    vectors = np.zeros((len(items), len(next(iter(of_item.values())))), np.float32)
    vectors[there] = unit(np.array([of_item[name] for name in np.array(list(items))[there]], np.float32))
    return vectors, there
