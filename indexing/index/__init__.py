"""Nearest-neighbour search: the protocol, the exact oracle, FAISS, and the choice between them."""

from indexing.index.base import VectorIndex
from indexing.index.build import IndexConfig, IndexReport, build_index, load_index
from indexing.index.flat import FlatIndex, recall

__all__ = ["FlatIndex", "IndexConfig", "IndexReport", "VectorIndex", "build_index", "load_index", "recall"]
