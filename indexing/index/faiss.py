"""Search with FAISS: exact over flat vectors, approximate over an HNSW graph."""

from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing import fsops
from indexing.errors import DamagedFileError
from indexing.index.base import check_search, check_vectors, padded
from indexing.index.codecs import Scalar, flat_codes, nbytes, quantizer
from indexing.index.effort import Effort, Efforts
from indexing.index.flat import FlatIndex
from indexing.types import Mask, Rows, Vectors

# Below this share of allowed rows a graph walks mostly through forbidden nodes: scanning the allowed ones is
# exact and no slower.
SCAN_BELOW = 0.2
# Building with more candidates than this gained no recall on CLIP vectors.
EF_CONSTRUCTION = 200
# FAISS trusts the sizes written in a file: no vector inside may claim more bytes than this many times the file.
DESERIALIZE_SLACK = 4


class FaissIndex:
    """A FAISS index behind the `VectorIndex` protocol, either ``faiss-flat`` or ``faiss-hnsw``.

    A graph over eight-bit codes is refined: what it keeps while it walks is scored anew in half precision.
    """

    def __init__(self, index: Any, efforts: Efforts | None = None) -> None:  # noqa: ANN401 - FAISS ships no types
        self._index = index
        self._refined = isinstance(index, faiss.IndexRefine)
        inner = faiss.downcast_index(index.base_index) if self._refined else index
        self._graph = isinstance(inner, faiss.IndexHNSW)
        self.efforts = efforts or Efforts(default=Effort(ef_search=int(inner.hnsw.efSearch) if self._graph else 0))

    @classmethod
    def flat(cls, vectors: Vectors, codec: Scalar = "fp32") -> "FaissIndex":
        """Index (N, D) vectors for a search that scans them all: exact, or as exact as the codec is."""
        vectors = check_vectors(vectors)
        return cls(_filled(flat_codes(vectors.shape[1], codec), vectors))

    @classmethod
    def hnsw(cls, vectors: Vectors, m: int = 16, ef_search: int = 64, codec: Scalar = "fp32") -> "FaissIndex":
        """Index (N, D) vectors in an HNSW graph (Malkov and Yashunin, arXiv:1603.09320).

        Args:
            vectors: (N, D) float32.
            m: Edges a node and level; memory grows with it.
            ef_search: How many candidates a search keeps; recall and time grow with it.
            codec: What the graph is over; any but ``"fp32"`` is refined in half precision.
        """
        vectors = check_vectors(vectors)
        dim = vectors.shape[1]
        if codec == "fp32":
            graph = faiss.IndexHNSWFlat(dim, m, faiss.METRIC_INNER_PRODUCT)
        else:
            graph = faiss.IndexHNSWSQ(dim, quantizer(codec), m, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = EF_CONSTRUCTION
        graph.hnsw.efSearch = ef_search
        _filled(graph, vectors)
        if codec == "fp32":
            return cls(graph)
        exact = _filled(flat_codes(dim, "fp16"), vectors)
        refined = faiss.IndexRefine(graph, exact)
        refined.ntotal = len(vectors)
        refined.referenced_objects = (graph, exact)  # FAISS points into these without owning them
        return cls(refined)

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
        """How many candidates a graph search keeps at most; None for a flat index."""
        return self.efforts.greatest.ef_search if self._graph else None

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps in memory."""
        return nbytes(self._index)

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors: (N, D) float32."""
        vectors: Vectors = self._index.reconstruct_batch(np.arange(len(self)))
        return vectors

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def with_efforts(self, efforts: Efforts) -> "FaissIndex":
        """Give the same index with other efforts; see `TunableIndex.with_efforts`."""
        return FaissIndex(self._index, efforts)

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries = check_search(self, queries, k, allow)
        allowed = len(self) if allow is None else int(allow.sum())
        reachable = min(k, allowed)
        if reachable == 0 or len(queries) == 0:
            return padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        if allow is not None and self._graph and allowed < SCAN_BELOW * len(self):
            return self._scan(queries, k, allow)
        scores, rows = self._index.search(queries, reachable, params=self._parameters(reachable, allow, kind))
        # A graph can lose its way, and FAISS has dropped selectors in places (issues 5504, 5584): what comes back is
        # checked, and a line that is short or holds a forbidden row is searched again exactly.
        wrong = (rows < 0).any(axis=1)
        if allow is not None:
            wrong |= ~allow[rows].all(axis=1)
        if wrong.any():
            scores[wrong], rows[wrong] = self._scan(queries[wrong], reachable, allow)
        order = np.lexsort((rows, -scores), axis=1)
        return padded(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1), k)

    def _parameters(self, k: int, allow: Mask | None, kind: str | None) -> Any:  # noqa: ANN401 - FAISS ships no types
        selector: dict[str, Any] = {}
        if allow is not None:
            selector["sel"] = faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))
        if not self._graph:
            return faiss.SearchParameters(**selector)
        allowed = len(self) if allow is None else int(allow.sum())
        effort = max(self.efforts.of(kind).ef_search, k) * len(self) // max(allowed, 1)
        walk = faiss.SearchParametersHNSW(efSearch=effort, **selector)
        if not self._refined:
            return walk
        return faiss.IndexRefineSearchParameters(k_factor=min(effort, len(self)) / k, base_index_params=walk)

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        among = np.arange(len(self)) if allow is None else np.flatnonzero(allow)
        scores, found = FlatIndex(self._index.reconstruct_batch(among)).search(queries, k)
        return scores, np.where(found >= 0, among[found], -1)

    def keep_greatest(self) -> None:
        """Note the greatest effort in the file, for those who open it with FAISS itself; before anyone searches."""
        if self._graph:
            inner = faiss.downcast_index(self._index.base_index) if self._refined else self._index
            inner.hnsw.efSearch = self.efforts.greatest.ef_search

    def save(self, path: Path) -> None:
        """Write the index into one file, in FAISS's own format."""
        fsops.write_bytes(path, self.to_bytes())

    def to_bytes(self) -> bytes:
        """Give the index in FAISS's own format, as `faiss.read_index` takes it."""
        return faiss_bytes(self._index)

    @classmethod
    def load(cls, path: Path) -> "FaissIndex":
        """Read what `save` wrote. The caller has checked the file's sha256: FAISS itself does not notice damage.

        Raises:
            DamagedFileError: When FAISS refuses the bytes.
        """
        return cls(read_faiss(path))


def _filled(index: Any, vectors: Vectors) -> Any:  # noqa: ANN401 - FAISS ships no types
    index.train(vectors)
    index.add(vectors)
    return index


def faiss_bytes(index: Any) -> bytes:  # noqa: ANN401 - FAISS ships no types
    """Give an index in FAISS's own format."""
    data: bytes = faiss.serialize_index(index).tobytes()
    return data


def read_faiss(path: Path) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Read a file in FAISS's own format, which claims no more memory than it may.

    Raises:
        DamagedFileError: When FAISS refuses the bytes.
    """
    data = np.fromfile(path, dtype=np.uint8)
    faiss.set_deserialization_vector_byte_limit(DESERIALIZE_SLACK * max(len(data), 1 << 20))
    try:
        return faiss.deserialize_index(data)
    except RuntimeError as error:
        raise DamagedFileError(f"{path} is not a FAISS index: {error}; build the index again") from error
