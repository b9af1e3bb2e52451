"""Nearest-neighbour search: the protocol, the exact oracle, FAISS, and the choice between them."""

from indexing.index.base import VectorIndex
from indexing.index.build import IndexReport, build_index, load_index
from indexing.index.flat import FlatIndex, recall
from indexing.index.goals import IndexConfig
from indexing.index.queries import Queries

__all__ = ["FlatIndex", "IndexConfig", "IndexReport", "Queries", "VectorIndex", "build_index", "load_index", "recall"]
