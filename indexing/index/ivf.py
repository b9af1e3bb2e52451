"""Inverted lists of four-bit codes, refined on half-precision vectors: the fastest FAISS index for text queries.

The vectors are centred, which changes no order and frees the quantiser from the mean, and rotated at random, so that
each code carries as much as any other. Codes choose some hundred candidates; their scores in half precision order them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from indexing.errors import DamagedFileError, InputError
from indexing.index.base import check_search, check_vectors, padded
from indexing.index.faiss import SCAN_BELOW
from indexing.index.faiss_io import faiss_bytes, read_faiss, write_faiss
from indexing.index.flat import FlatIndex
from indexing.types import Mask, Rows, Vectors

TRAINED_ON = 100_000
LISTS_PER_ROOT = 4
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
        allowed = len(self) if allow is None else int(allow.sum())
        reachable = min(k, allowed)
        if reachable == 0 or len(queries) == 0:
            return padded(np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64), k)
        if allowed < SCAN_BELOW * len(self):
            return self._scan(queries, k, allow)
        scores, rows = self._search(queries, reachable, len(self) / allowed)
        if allow is not None:
            # Fast-scan codes know no selectors: more are asked for, and what is forbidden is dropped.
            scores = np.where(allow[rows] & (rows >= 0), scores, -np.inf)
            rows = np.where(np.isinf(scores), -1, rows)
        order = np.lexsort((rows, -scores), axis=1)[:, :reachable]
        scores, rows = np.take_along_axis(scores, order, axis=1), np.take_along_axis(rows, order, axis=1)
        short = (rows < 0).any(axis=1)
        if short.any():
            scores[short], rows[short] = self._scan(queries[short], reachable, allow)
        return padded(scores, rows, k)

    def _search(self, queries: Vectors, k: int, spread: float) -> tuple[Vectors, Rows]:
        """Search for k rows and, when only one in ``spread`` counts, for that many times as many."""
        effort = self.effort
        wanted = min(len(self), int(np.ceil(k * spread)) + (k if spread > 1 else 0))
        candidates = min(len(self), max(int(effort.candidates * spread), wanted))
        inner = faiss.SearchParametersIVF(nprobe=min(self.lists, int(np.ceil(effort.lists * spread))))
        refining = faiss.IndexRefineSearchParameters(k_factor=candidates / wanted, base_index_params=inner)
        found: tuple[Vectors, Rows] = self._index.search(
            queries, wanted, params=faiss.SearchParametersPreTransform(index_params=refining)
        )
        return found

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        among = np.arange(len(self)) if allow is None else np.flatnonzero(allow)
        scores, found = FlatIndex(self._rotated(among)).search(queries @ self._rotation().T, k)
        return scores, np.where(found >= 0, among[found], -1)

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
