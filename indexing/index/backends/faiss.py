"""Search with FAISS: exact over flat vectors, approximate over an HNSW graph."""

from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.arrays import Mask, Rows, Vectors, check_vectors
from indexing.filesystem.checked_files import read_as
from indexing.index.backends.faiss_base import (
    FaissFile,
    Scalar,
    add_vectors,
    check_row_range,
    check_stored,
    flat_codes,
    incomplete_rows,
    quantizer,
    read_faiss,
    search_allowed,
    selector,
    threads_for,
)
from indexing.index.base import check_search, ordered, padded
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.runtime.threads import about_to_compute

# One more candidate kept costs a graph search about as much as scoring this many rows costs a scan.
ROWS_PER_CANDIDATE = 10
# The candidates kept grow with N / allowed by this power: with .5, filters that go with the vectors fell short of the
# unfiltered recall.
FILTER_POWER = 0.6
# Rows by whose scores it is judged how deep in the whole catalogue a filtered answer lies.
RANK_SAMPLE = 4096
# Up to so many queries FAISS's own filtered scan of flat vectors is faster than a product with copied ones.
MAX_ROW_WISE_QUERIES = 1
# Building with more candidates than this gained no recall on CLIP vectors.
EF_CONSTRUCTION = 200


class FaissIndex(FaissFile):
    """A FAISS index behind the `VectorIndex` protocol, either ``faiss-flat`` or ``faiss-hnsw``.

    A graph over eight-bit codes is refined: what it keeps while it walks is scored anew in half precision.
    """

    def __init__(self, index: Any, efforts: SearchParamsByKind | None = None) -> None:  # noqa: ANN401 - FAISS ships no types
        self._index = index
        self._refined = isinstance(index, faiss.IndexRefine)
        inner = faiss.downcast_index(index.base_index) if self._refined else index
        self._is_graph = isinstance(inner, faiss.IndexHNSW)
        self._stored = faiss.downcast_index(
            index.refine_index if self._refined else inner.storage if self._is_graph else index
        )
        self.efforts = efforts or SearchParamsByKind(
            default=SearchParams(ef_search=int(inner.hnsw.efSearch) if self._is_graph else 0)
        )

    @classmethod
    def flat(cls, vectors: Vectors, codec: Scalar = "fp32") -> "FaissIndex":
        """Index (N, D) vectors for a search that scans them all: exact, or as exact as the codec is."""
        vectors = check_vectors(vectors)
        return cls(add_vectors(flat_codes(vectors.shape[1], codec), vectors))

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
        add_vectors(graph, vectors)
        if codec == "fp32":
            return cls(graph)
        exact = add_vectors(flat_codes(dim, "fp16"), vectors)
        refined = faiss.IndexRefine(graph, exact)
        refined.ntotal = len(vectors)
        refined.referenced_objects = (graph, exact)  # FAISS points into these without owning them
        return cls(refined)

    @property
    def kind(self) -> str:
        """``"faiss-hnsw"`` or ``"faiss-flat"``."""
        return "faiss-hnsw" if self._is_graph else "faiss-flat"

    @property
    def ef_search(self) -> int | None:
        """How many candidates a graph search keeps at most; None for a flat index."""
        return self.efforts.greatest.ef_search if self._is_graph else None

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors: (N, D) float32."""
        vectors: Vectors = self._stored.reconstruct_batch(np.arange(len(self)))
        return vectors

    def with_efforts(self, efforts: SearchParamsByKind) -> "FaissIndex":
        """Return the same index with other efforts; see `TunableIndex.with_efforts`."""
        return FaissIndex(self._index, efforts)

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        about_to_compute(faiss.omp_get_max_threads())
        allowed = len(self) if allow is None else int(np.count_nonzero(allow))
        reachable = min(k, allowed)
        if reachable == 0 or len(queries) == 0:
            return padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        if allowed == len(self):
            allow = None
        effort = self._effort(reachable, allowed, kind)
        if allow is not None and (not self._is_graph or allowed <= ROWS_PER_CANDIDATE * effort):
            return padded(*self._scan(queries, reachable, allow), k)
        with threads_for(len(queries)):
            scores, rows = self._index.search(queries, reachable, params=self._parameters(reachable, effort, allow))
        # A graph can lose its way: a line that is short, or holds what is not allowed or lies deeper in the catalogue
        # than the better half of what the graph kept, is searched again exactly.
        incomplete = incomplete_rows(check_row_range(rows, len(self)), allow)
        if allow is not None:
            incomplete |= 2 * self._rank_in_catalogue(queries, scores[:, -1:]) > effort
        if incomplete.any():
            scores[incomplete], rows[incomplete] = self._scan(queries[incomplete], reachable, allow)
        return padded(*ordered(scores, rows), k)

    def _effort(self, k: int, allowed: int, kind: str | None) -> int:
        """Return how many candidates a graph must keep; the k best of a filter lie about k · N / allowed deep."""
        ef_search = self.efforts.of(kind).ef_search
        if not self._is_graph or allowed == len(self):
            return max(ef_search, k)
        inverse_fraction = len(self) / allowed
        return int(np.ceil(max(ef_search * inverse_fraction**FILTER_POWER, 4 * k * inverse_fraction)))

    def _parameters(self, k: int, effort: int, allow: Mask | None) -> Any:  # noqa: ANN401 - FAISS ships no types
        row_filter = {} if allow is None else {"sel": selector(allow)}
        if not self._is_graph:
            return faiss.SearchParameters(**row_filter) if row_filter else None
        graph_params = faiss.SearchParametersHNSW(efSearch=effort, **row_filter)
        if not self._refined:
            return graph_params
        return faiss.IndexRefineSearchParameters(k_factor=min(effort, len(self)) / k, base_index_params=graph_params)

    def _rank_in_catalogue(self, queries: Vectors, scores: Vectors) -> Vectors:
        """Estimate how many rows of the whole catalogue score higher than (B, 1) scores: (B,)."""
        above: Vectors = (queries @ self._sample.T > scores).mean(axis=1) * len(self)
        return above

    @cached_property
    def _sample(self) -> Vectors:
        rows = np.random.default_rng(0).permutation(len(self))[:RANK_SAMPLE]
        vectors: Vectors = self._stored.reconstruct_batch(rows)
        return vectors

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        return search_allowed(self._stored, queries, k, allow, MAX_ROW_WISE_QUERIES)

    def keep_greatest(self) -> None:
        """Note the greatest effort in the file, for those who open it with FAISS itself; before anyone searches."""
        if self._is_graph:
            inner = faiss.downcast_index(self._index.base_index) if self._refined else self._index
            inner.hnsw.efSearch = self.efforts.greatest.ef_search

    @classmethod
    def load(cls, path: Path) -> "FaissIndex":
        """Open what `save` wrote, memory-mapped: see `read_faiss` for what the caller owes.

        Raises:
            DamagedFileError: When FAISS refuses the bytes.
        """
        with read_as(f"{path}", "build the bundle again"):
            index = cls(read_faiss(path))
        check_stored(index._index, index._stored, index.dim)
        return index
