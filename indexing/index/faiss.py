"""Search with FAISS: exact over flat vectors, approximate over an HNSW graph."""

from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.index.base import check_search, check_vectors, padded
from indexing.index.exact import misses, scan, selector
from indexing.index.faiss_io import faiss_bytes, read_faiss, write_faiss
from indexing.types import Mask, Rows, Vectors

# One more candidate kept costs a graph search about as much as scoring this many rows costs a scan.
ROWS_A_CANDIDATE = 10
# The candidates kept grow with N / allowed by this power: with .5, filters that go with the vectors fell short of the
# unfiltered recall.
WIDER = 0.6
# Rows by whose scores it is judged how deep in the whole catalogue a filtered answer lies.
SAMPLE = 4096
# Up to so many queries FAISS's own filtered scan of flat vectors is faster than a product with copied ones.
FEW = 1
# Building with more candidates than this gained no recall on CLIP vectors.
EF_CONSTRUCTION = 200


class FaissIndex:
    """A FAISS index behind the `VectorIndex` protocol, either ``faiss-flat`` or ``faiss-hnsw``."""

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - FAISS ships no types
        self._index = index
        self._graph = isinstance(index, faiss.IndexHNSW)

    @classmethod
    def flat(cls, vectors: Vectors) -> "FaissIndex":
        """Index (N, D) vectors for exact search."""
        vectors = check_vectors(vectors)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        return cls(index)

    @classmethod
    def hnsw(cls, vectors: Vectors, m: int = 16, ef_search: int = 64) -> "FaissIndex":
        """Index (N, D) vectors in an HNSW graph (Malkov and Yashunin, arXiv:1603.09320).

        Args:
            vectors: (N, D) float32.
            m: Edges a node and level; memory grows with it.
            ef_search: How many candidates a search keeps; recall and time grow with it.
        """
        vectors = check_vectors(vectors)
        index = faiss.IndexHNSWFlat(vectors.shape[1], m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.hnsw.efSearch = ef_search
        index.add(vectors)
        return cls(index)

    @property
    def kind(self) -> str:
        """``"faiss-hnsw"`` or ``"faiss-flat"``."""
        return "faiss-hnsw" if self._graph else "faiss-flat"

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self._index.d)

    @property
    def ef_search(self) -> int | None:
        """How many candidates a graph search keeps; None for a flat index."""
        return int(self._index.hnsw.efSearch) if self._graph else None

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors: (N, D) float32."""
        vectors: Vectors = self._index.reconstruct_batch(np.arange(len(self)))
        return vectors

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def with_ef_search(self, ef_search: int) -> "FaissIndex":
        """Set the search effort of a graph that nobody is searching yet."""
        self._index.hnsw.efSearch = ef_search
        return self

    def search(self, queries: Vectors, k: int, allow: Mask | None = None) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries = check_search(self, queries, k, allow)
        allowed = len(self) if allow is None else int(np.count_nonzero(allow))
        reachable = min(k, allowed)
        if reachable == 0 or len(queries) == 0:
            return padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        if allowed == len(self):
            allow = None
        effort = self._effort(reachable, allowed)
        if allow is not None and (not self._graph or allowed <= ROWS_A_CANDIDATE * effort):
            return padded(*self._scan(queries, reachable, allow), k)
        scores, rows = self._index.search(queries, reachable, params=self._parameters(effort, allow))
        # A graph can lose its way: a line that is short, or holds what is not allowed or lies deeper in the catalogue
        # than the better half of what the graph kept, is searched again exactly.
        wrong = misses(rows, allow)
        if allow is not None:
            wrong |= 2 * self._depth(queries, scores[:, -1:]) > effort
        if wrong.any():
            scores[wrong], rows[wrong] = self._scan(queries[wrong], reachable, allow)
        order = np.lexsort((rows, -scores), axis=1)
        return padded(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1), k)

    def _effort(self, k: int, allowed: int) -> int:
        """Give how many candidates a graph must keep; the k best of a filter lie about k · N / allowed deep."""
        if not self._graph or allowed == len(self):
            return max(self.ef_search or 0, k)
        spread = len(self) / allowed
        return int(np.ceil(max(self._index.hnsw.efSearch * spread**WIDER, 4 * k * spread)))

    def _parameters(self, effort: int, allow: Mask | None) -> Any:  # noqa: ANN401 - FAISS ships no types
        chosen = {} if allow is None else {"sel": selector(allow)}
        return faiss.SearchParametersHNSW(efSearch=effort, **chosen) if self._graph else faiss.SearchParameters()

    def _depth(self, queries: Vectors, scores: Vectors) -> Vectors:
        """Estimate how many rows of the whole catalogue score higher than (B, 1) scores: (B,)."""
        above: Vectors = (queries @ self._sample.T > scores).mean(axis=1) * len(self)
        return above

    @cached_property
    def _sample(self) -> Vectors:
        rows = np.random.default_rng(0).permutation(len(self))[:SAMPLE]
        vectors: Vectors = self._index.reconstruct_batch(rows)
        return vectors

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        return scan(faiss.downcast_index(self._index.storage) if self._graph else self._index, queries, k, allow, FEW)

    def save(self, path: Path) -> str:
        """Write the index into one file, in FAISS's own format, and give its sha256."""
        return write_faiss(self._index, path)

    def to_bytes(self) -> bytes:
        """Give the index in FAISS's own format, as `faiss.read_index` takes it."""
        return faiss_bytes(self._index)

    @classmethod
    def load(cls, path: Path) -> "FaissIndex":
        """Open what `save` wrote, memory-mapped: see `read_faiss` for what the caller owes.

        Raises:
            DamagedFileError: When FAISS refuses the bytes.
        """
        return cls(read_faiss(path))
