"""Search with FAISS: exact over flat vectors, approximate over an HNSW graph."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.index.base import check_search, check_vectors, padded
from indexing.index.faiss_io import faiss_bytes, read_faiss, write_faiss
from indexing.index.flat import FlatIndex
from indexing.types import Mask, Rows, Vectors

# Below this share of allowed rows a graph walks mostly through forbidden nodes: scanning the allowed ones is
# exact and no slower.
SCAN_BELOW = 0.2
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
        allowed = len(self) if allow is None else int(allow.sum())
        reachable = min(k, allowed)
        if reachable == 0 or len(queries) == 0:
            return padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        if allow is not None and self._graph and allowed < SCAN_BELOW * len(self):
            return self._scan(queries, k, allow)
        scores, rows = self._index.search(queries, reachable, params=self._parameters(reachable, allow, allowed))
        # A graph can lose its way, and FAISS has dropped selectors in places (issues 5504, 5584): what comes back is
        # checked, and a line that is short or holds a forbidden row is searched again exactly.
        wrong = (rows < 0).any(axis=1)
        if allow is not None:
            wrong |= ~allow[rows].all(axis=1)
        if wrong.any():
            scores[wrong], rows[wrong] = self._scan(queries[wrong], reachable, allow)
        order = np.lexsort((rows, -scores), axis=1)
        return padded(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1), k)

    def _parameters(self, k: int, allow: Mask | None, allowed: int) -> Any:  # noqa: ANN401 - FAISS ships no types
        selector: dict[str, Any] = {}
        if allow is not None:
            selector["sel"] = faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))
        if not self._graph:
            return faiss.SearchParameters(**selector)
        effort = max(self._index.hnsw.efSearch, k) * len(self) // max(allowed, 1)
        return faiss.SearchParametersHNSW(efSearch=effort, **selector)

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        among = np.arange(len(self)) if allow is None else np.flatnonzero(allow)
        scores, found = FlatIndex(self._index.reconstruct_batch(among)).search(queries, k)
        return scores, np.where(found >= 0, among[found], -1)

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
