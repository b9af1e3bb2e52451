"""Nearest-neighbour search: the protocol, the exact oracle, FAISS, and the choice between them."""

from indexing.index.backends.flat import FlatIndex
from indexing.index.base import VectorIndex
from indexing.index.config import IndexConfig
from indexing.index.tuning.build import IndexReport, build_index, load_index
from indexing.index.tuning.recall import Queries, recall

__all__ = ["FlatIndex", "IndexConfig", "IndexReport", "Queries", "VectorIndex", "build_index", "load_index", "recall"]
