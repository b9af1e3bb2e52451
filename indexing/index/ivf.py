"""Inverted lists of four-bit codes, refined on half-precision vectors: the fastest FAISS index for text queries.

The vectors are centred, which changes no order and frees the quantiser from the mean, and rotated at random, so that
each code carries as much as any other. Codes choose some hundred candidates; their scores in half precision order them.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.errors import DamagedFileError, InputError
from indexing.index.base import check_search, check_vectors, padded
from indexing.index.exact import misses, scan, selector
from indexing.index.faiss_io import faiss_bytes, read_faiss, write_faiss
from indexing.index.occupancy import FEWER, Occupancy
from indexing.types import Mask, Rows, Vectors

TRAINED_ON = 100_000
LISTS_PER_ROOT = 4
# Up to so many queries FAISS's own filtered scan is faster than a product with decoded vectors.
FEW = 8
# A search of lists among allowed rows takes the time of scoring so many rows before it starts, and then twice its cost.
SCAN_ROWS = 3000
POINTS_PER_LIST = 39  # below which FAISS warns that a list is trained on too few


@dataclass(frozen=True)
class Effort:
    """How hard a search tries.

    Attributes:
        lists: How many lists are scanned.
        candidates: How many of the best codes get exact scores.
    """

    lists: int
    candidates: int

    def cost(self, size: int, lists: int) -> float:
        """Give the relative cost of a query over so many vectors in so many lists.

        A code costs about a sixteenth of an exact score: it is scanned, the vector is fetched from anywhere.
        """
        return self.lists * size / lists / 16 + self.candidates


class IvfIndex:
    """A FAISS index behind the `VectorIndex` protocol: ``faiss-ivf``."""

    kind = "faiss-ivf"
    ef_search = None

    def __init__(self, index: Any) -> None:  # noqa: ANN401 - FAISS ships no types
        self._index = index
        self._refined = faiss.downcast_index(index.index)
        self._codes = faiss.downcast_index(self._refined.base_index)
        self._exact = faiss.downcast_index(self._refined.refine_index)

    @classmethod
    def build(cls, vectors: Vectors, seed: int = 0) -> "IvfIndex":
        """Index (N, D) vectors.

        Args:
            vectors: (N, D) float32.
            seed: Of the rotation and the sample that is trained on.

        Raises:
            InputError: When there are too few to train four-bit codes.
        """
        vectors = check_vectors(vectors)
        size, dim = vectors.shape
        lists = min(int(LISTS_PER_ROOT * size**0.5), size // POINTS_PER_LIST)
        if lists < 1:
            raise InputError(f"{size} vectors are too few for inverted lists; build kind 'flat'")
        rng = np.random.default_rng(seed)
        even = dim + dim % 2
        rotation = np.linalg.qr(rng.normal(size=(even, even)))[0][:, :dim].astype(np.float32)
        rotated = vectors @ rotation.T
        centred = rotated - rotated.mean(axis=0)
        quantizer = faiss.IndexFlatIP(even)
        codes = faiss.IndexIVFPQFastScan(quantizer, even, lists, even // 2, 4, faiss.METRIC_INNER_PRODUCT)
        codes.train(centred[rng.permutation(size)[:TRAINED_ON]])
        codes.add(centred)
        exact = faiss.IndexScalarQuantizer(even, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        exact.train(rotated[:1])
        exact.add(rotated)
        refined = faiss.IndexRefine(codes, exact)
        refined.ntotal = size
        turn = faiss.LinearTransform(dim, even, False)
        faiss.copy_array_to_vector(rotation.ravel(), turn.A)
        turn.is_trained = True
        whole = faiss.IndexPreTransform(turn, refined)
        whole.ntotal = size
        kept = (quantizer, codes, exact, refined, turn)  # FAISS points into these without owning them
        whole.referenced_objects = kept
        return cls(whole)

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self._index.d)

    @property
    def lists(self) -> int:
        """How many lists the vectors are in."""
        return int(self._codes.nlist)

    @property
    def effort(self) -> Effort:
        """How hard a search tries."""
        return Effort(int(self._codes.nprobe), round(self._refined.k_factor))

    def with_effort(self, effort: Effort) -> "IvfIndex":
        """Set the effort of an index that nobody is searching yet; it is saved with the index."""
        self._codes.nprobe, self._refined.k_factor = effort.lists, float(effort.candidates)
        return self

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors, as exact as half precision: (N, D) float32."""
        return self._rotated(np.arange(len(self))) @ self._rotation()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, queries: Vectors, k: int, allow: Mask | None = None) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries = check_search(self, queries, k, allow)
        allowed = len(self) if allow is None else int(np.count_nonzero(allow))
        reachable = min(k, allowed)
        if reachable == 0 or len(queries) == 0:
            return padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        if allowed == len(self):
            allow = None
        effort = self.effort
        likely = Effort(min(self.lists, int(effort.lists * (len(self) / allowed) ** (1 - FEWER))), effort.candidates)
        if allow is not None and allowed <= SCAN_ROWS + 2 * likely.cost(len(self), self.lists):
            return padded(*self._scan(queries, reachable, allow), k)
        scores, rows = self._search(queries, reachable, allow)
        wrong = misses(rows, allow)
        if wrong.any():
            scores[wrong], rows[wrong] = self._scan(queries[wrong], reachable, allow)
        order = np.lexsort((rows, -scores), axis=1)
        return padded(np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1), k)

    def _search(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        effort = self.effort
        probed = np.full(len(queries), effort.lists)
        chosen = {}
        if allow is not None:
            probed = self._occupancy.lists(self._turned(queries), allow, effort.lists)
            chosen["sel"] = selector(allow)
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for lists in np.unique(probed):
            inner = faiss.SearchParametersIVF(nprobe=int(lists), **chosen)
            candidates = min(len(self), max(effort.candidates, k))
            refining = faiss.IndexRefineSearchParameters(k_factor=candidates / k, base_index_params=inner)
            lines = probed == lists
            scores[lines], rows[lines] = self._index.search(
                queries[lines], k, params=faiss.SearchParametersPreTransform(index_params=refining)
            )
        return scores, rows

    @cached_property
    def _occupancy(self) -> Occupancy:
        return Occupancy.of(self._codes)

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        return scan(self._exact, self._turned(queries), k, allow, FEW)

    def _turned(self, queries: Vectors) -> Vectors:
        """Give queries as the codes and the exact vectors have them."""
        turned: Vectors = self._index.chain.at(0).apply(queries)
        return turned

    def _rotated(self, rows: Rows) -> Vectors:
        vectors: Vectors = self._exact.reconstruct_batch(rows)
        return vectors

    def _rotation(self) -> Vectors:
        turn = faiss.downcast_VectorTransform(self._index.chain.at(0))
        matrix: Vectors = faiss.vector_to_array(turn.A).reshape(turn.d_out, turn.d_in)
        return matrix

    def save(self, path: Path) -> str:
        """Write the index into one file, in FAISS's own format, and give its sha256."""
        return write_faiss(self._index, path)

    def to_bytes(self) -> bytes:
        """Give the index in FAISS's own format, as `faiss.read_index` takes it."""
        return faiss_bytes(self._index)

    @classmethod
    def load(cls, path: Path) -> "IvfIndex":
        """Open what `save` wrote, memory-mapped: see `read_faiss` for what the caller owes.

        Raises:
            DamagedFileError: When FAISS refuses the bytes, or they are another kind of index.
        """
        index = read_faiss(path)
        if not isinstance(index, faiss.IndexPreTransform) or not isinstance(
            faiss.downcast_index(index.index), faiss.IndexRefine
        ):
            raise DamagedFileError(f"{path} is a FAISS index of another kind; build the index again")
        return cls(index)
