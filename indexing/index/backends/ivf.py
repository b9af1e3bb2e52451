"""Inverted lists of codes, for text queries the fastest FAISS index there is when codes are four bits and refined.

The vectors are rotated at random, so that each code carries as much as any other. Codes of four bits choose some
hundred candidates, whose scores on finer vectors order them. Codes of eight bits are scores by themselves. Files of
former versions may hold codes of one bit or of sixteen, or lists of centred vectors, of which more have to be scanned;
they are searched too, and extended as they are.

Some ten thousand vectors are scanned as fast in one list, which needs no training: see `IvfIndex.scan`.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from indexing.arrays import Mask, Rows, Vectors, check_vectors
from indexing.errors import DamagedFileError, InputError
from indexing.filesystem.checked_files import read_as
from indexing.index.backends.faiss_base import (
    Codec,
    FaissFile,
    Scalar,
    add_vectors,
    check_row_range,
    check_stored,
    code_cost,
    flat_codes,
    incomplete_rows,
    list_codes,
    list_search_params,
    random_rotation,
    read_faiss,
    search_allowed,
    selector,
    threads_for,
    unmapped_bytes,
    with_rotation,
)
from indexing.index.backends.gpu_lists import ListFiller
from indexing.index.backends.ivf_changes import codes_without, offset_of_codes, vectors_with, within_range
from indexing.index.backends.normal_codes import normal_codes
from indexing.index.base import check_search, ordered, padded
from indexing.index.config import SearchParams, SearchParamsByKind
from indexing.runtime.device import CPU
from indexing.runtime.threads import about_to_compute

# The wanted rows grow with the share of allowed rows by this power: .5 fell just short of the unfiltered recall for
# filters that go with the vectors, and a third visits more lists than are needed.
FILTER_POWER = 0.4
QUERIES_PER_STEP = 1024  # queries whose lists are ordered at a time, to bound memory


@dataclass(frozen=True)
class Occupancy:
    """The lists of an index.

    Attributes:
        centres: (L, D) float32, the centre of each list.
        list_of: (N,) int32, the list of each row.
    """

    centres: Vectors
    list_of: npt.NDArray[np.int32]

    @classmethod
    def of(cls, index: Any) -> "Occupancy":  # noqa: ANN401 - FAISS ships no types
        """Read the lists of a FAISS IVF index."""
        list_of, inverted_lists = np.zeros(index.ntotal, np.int32), index.invlists
        for number in range(index.nlist):
            if size := inverted_lists.list_size(number):
                list_of[faiss.rev_swig_ptr(inverted_lists.get_ids(number), size)] = number
        return cls(faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist), list_of)

    def lists(self, queries: Vectors, allow: Mask, unfiltered: int) -> npt.NDArray[np.int64]:
        """Say how many of the nearest lists to visit for each of (B, D) queries.

        Where all rows are allowed, ``unfiltered`` lists are enough, which hold a certain number of rows. Of a filtered
        search a part of that number of allowed rows is wanted, as fewer compete (`FILTER_POWER`); a filter
        whose rows are all far from the query leads to more lists. Rounded up to powers of two, so that a batch needs
        few different searches.
        """
        lists, allowed = len(self.centres), np.flatnonzero(allow)
        fraction = len(allowed) / len(allow)
        num_wanted = min(unfiltered / lists * len(allow) * fraction**FILTER_POWER, len(allowed))
        allowed_per_list = np.bincount(self.list_of[allowed], minlength=lists)
        needed = np.empty(len(queries), np.int64)
        for start in range(0, len(queries), QUERIES_PER_STEP):
            nearest_first = np.argsort(-(queries[start : start + QUERIES_PER_STEP] @ self.centres.T), axis=1)
            enough = np.cumsum(allowed_per_list[nearest_first], axis=1) >= num_wanted
            needed[start : start + QUERIES_PER_STEP] = enough.argmax(axis=1) + 1
        rounded: npt.NDArray[np.int64] = 2 ** np.ceil(np.log2(np.maximum(needed, unfiltered))).astype(np.int64)
        return np.minimum(rounded, lists)


MAX_TRAINING_ROWS = 100_000
LISTS_PER_SQRT = 4
# Up to so many queries FAISS's own filtered scan is faster than a product with decoded vectors.
MAX_ROW_WISE_QUERIES = 8
# A search of lists among allowed rows takes the time of scoring so many rows before it starts, and then twice its cost.
FILTER_OVERHEAD_ROWS = 3000
# Candidates suffice for ten answers. For more they grow by this power: nearly as large a share is found of 200.
TUNED_ANSWERS, ANSWERS_POWER = 10, 0.6
# A candidate costs as much as so many vectors of a scan that reads them in order.
ROWS_PER_CANDIDATE = 8
POINTS_PER_LIST = 39  # below which FAISS warns that a list is trained on too few


class IvfIndex(FaissFile):
    """A FAISS index behind the `VectorIndex` protocol: ``faiss-ivf``.

    Args:
        index: A rotation of inverted lists, refined or not.
        efforts: How hard to try; as hard as the file says when None.
    """

    kind = "faiss-ivf"
    ef_search = None

    def __init__(self, index: Any, efforts: SearchParamsByKind | None = None) -> None:  # noqa: ANN401 - FAISS ships no types
        self._index = index
        inner = faiss.downcast_index(index.index)
        self._refined = isinstance(inner, faiss.IndexRefine)
        self._codes = faiss.downcast_index(inner.base_index) if self._refined else inner
        self._exact = faiss.downcast_index(inner.refine_index) if self._refined else inner
        candidates = round(inner.k_factor) if self._refined else 0
        self.efforts = efforts or SearchParamsByKind(
            default=SearchParams(lists=int(self._codes.nprobe), candidates=candidates)
        )

    @classmethod
    def build(
        cls,
        vectors: Vectors,
        seed: int = 0,
        codec: Codec = "pq4",
        refine: Scalar | None = "fp16",
        device: str = CPU,
    ) -> "IvfIndex":
        """Index (N, D) vectors.

        Args:
            vectors: (N, D) float32.
            seed: Of the rotation and the sample that is trained on.
            codec: What the lists hold.
            refine: What candidates are scored on; None for the codes themselves, which ``pq4`` is too coarse for.
            device: Where lists are trained, and vectors assigned to them.

        Raises:
            InputError: When there are too few to train codes, or short codes are not refined.
            DeviceError: For a GPU that FAISS does not see.
        """
        vectors = check_vectors(vectors)
        about_to_compute(faiss.omp_get_max_threads())
        size, dim = vectors.shape
        lists = list_count(size)
        if lists < 1:
            raise InputError(f"{size} vectors are too few for inverted lists; build kind 'flat'")
        if refine is None and codec == "pq4":
            raise InputError("codes 'pq4' are too coarse to be scores; refine them with 'fp16' or 'sq8'")
        rng = np.random.default_rng(seed)
        rotation = random_rotation(dim, rng)
        even, rotated = len(rotation), vectors @ rotation.T
        exact = None if refine is None else add_vectors(flat_codes(even, refine), rotated)
        coarse = faiss.IndexFlatIP(even)
        codes = list_codes(coarse, even, lists, codec)
        codes.referenced_objects = (coarse,)  # FAISS points into it without owning it
        filler = ListFiller(codes, device)
        filler.train(rotated[rng.permutation(size)[:MAX_TRAINING_ROWS]])
        filler.add(rotated)
        if exact is None:
            codes.make_direct_map()  # vectors are fetched by row; refined ones are fetched from what refines
        return cls(_assembled(rotation, codes, exact))

    @classmethod
    def scan(cls, vectors: Vectors, refine: Scalar = "fp32", seed: int = 0) -> "IvfIndex":
        """Index (N, D) vectors in one list of four-bit codes, which every search scans as a whole.

        Nothing is trained, so that it takes little longer to build than a flat index.

        Args:
            vectors: (N, D) float32.
            refine: What candidates are scored on.
            seed: Of the rotation.
        """
        vectors = check_vectors(vectors)
        about_to_compute(faiss.omp_get_max_threads())
        rotation = random_rotation(vectors.shape[1], np.random.default_rng(seed))
        rotated = vectors @ rotation.T
        exact = add_vectors(flat_codes(len(rotation), refine), rotated)
        rotated -= rotated.mean(axis=0)
        codes = normal_codes(rotated.std(axis=0))
        codes.add(rotated)
        return cls(_assembled(rotation, codes, exact))

    @property
    def lists(self) -> int:
        """How many lists the vectors are in."""
        return int(self._codes.nlist)

    @property
    def effort(self) -> SearchParams:
        """How hard a search tries for a kind of query that it was not tuned for."""
        return self.efforts.greatest

    @property
    def code_cost(self) -> float:
        """What a code that is scanned costs, where one is a vector that is scored."""
        return code_cost(self._codes)

    @property
    def refined(self) -> bool:
        """Whether the best codes are scored anew on finer vectors."""
        return self._refined

    @property
    def unmapped_bytes(self) -> int:
        """Bytes that it keeps in memory of its own once it was opened; all else stays in its file."""
        return unmapped_bytes(self._codes)

    def with_efforts(self, efforts: SearchParamsByKind) -> "IvfIndex":
        """Return the same index with other efforts; see `TunableIndex.with_efforts`."""
        return IvfIndex(self._index, efforts)

    def with_effort(self, effort: SearchParams) -> "IvfIndex":
        """Return the same index that tries so hard for every kind of query."""
        return self.with_efforts(SearchParamsByKind(default=effort))

    def can_hold(self, vectors: Vectors) -> bool:
        """Say whether quantisers that were trained on other vectors reach as far as (M, D) ones."""
        return within_range(self._exact, check_vectors(vectors, self.dim) @ self._rotation().T)

    def updated(self, kept: Mask, added: Vectors, path: Path) -> "IvfIndex":
        """Return an index of the rows that are kept and other ones after them, with what this one has trained.

        Args:
            kept: (N,) bool; the rows are numbered anew, in their order.
            added: (M, D) float32.
            path: Where the vectors that candidates are scored on are written; they are needed while the index lives.
        """
        about_to_compute(faiss.omp_get_max_threads())
        rotation, codes = self._rotation(), codes_without(self._codes, kept)
        rotated = np.ascontiguousarray(check_vectors(added, self.dim, "added") @ rotation.T)
        exact = vectors_with(self._exact, kept, rotated, path) if self._refined else None
        if len(added):
            offset = offset_of_codes(self._codes, self._exact) if self._refined else np.float32(0)
            codes.add_with_ids(rotated - offset, codes.ntotal + np.arange(len(added)))
        if exact is None:
            codes.make_direct_map()
        return IvfIndex(_assembled(rotation, codes, exact), self.efforts)

    @property
    def vectors(self) -> Vectors:
        """A copy of the vectors, as exact as half precision: (N, D) float32."""
        return self._rotated_vectors(np.arange(len(self))) @ self._rotation()

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
        effort = self.efforts.of(kind)
        if allow is not None and allowed <= FILTER_OVERHEAD_ROWS + 2 * self._estimated_cost(
            effort, len(self) / allowed
        ):
            return padded(*self._scan(queries, reachable, allow), k)
        if self._is_single and ROWS_PER_CANDIDATE * self._candidates(effort, reachable) >= allowed:
            return padded(*self._scan_single(queries, reachable, allow), k)
        scores, rows = self._search(queries, reachable, allow, effort)
        incomplete = incomplete_rows(check_row_range(rows, len(self)), allow)
        if incomplete.any():
            scores[incomplete], rows[incomplete] = self._scan(queries[incomplete], reachable, allow)
        return padded(*ordered(scores, rows), k)

    def _candidates(self, effort: SearchParams, k: int) -> int:
        """Return how many codes get scores from finer vectors when k answers are wanted."""
        for_all = int(np.ceil(effort.candidates * max(1.0, k / TUNED_ANSWERS) ** ANSWERS_POWER))
        return min(len(self), max(for_all, k))

    @property
    def _is_single(self) -> bool:
        """Whether candidates are scored on vectors of single precision, which are quick to scan."""
        return self._refined and isinstance(self._exact, faiss.IndexFlat)

    def _estimated_cost(self, effort: SearchParams, inverse_fraction: float) -> float:
        """Estimate a filtered search in rows scored; the filter allows one of ``inverse_fraction`` rows."""
        lists = min(self.lists, int(effort.lists * inverse_fraction ** (1 - FILTER_POWER)))
        return lists * len(self) / self.lists * self.code_cost + effort.candidates

    def _search(self, queries: Vectors, k: int, allow: Mask | None, effort: SearchParams) -> tuple[Vectors, Rows]:
        probed = np.full(len(queries), max(1, effort.lists))
        if allow is not None:
            probed = self._occupancy.lists(self._rotate_queries(queries), allow, effort.lists)
        scores, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for lists in np.unique(probed):
            params = list_search_params(
                self._codes, min(self.lists, int(lists)), None if allow is None else selector(allow)
            )
            if self._refined:
                candidates = self._candidates(effort, k)
                params = faiss.IndexRefineSearchParameters(k_factor=candidates / k, base_index_params=params)
            same_lists = probed == lists
            scores[same_lists], rows[same_lists] = self._index.search(
                queries[same_lists], k, params=faiss.SearchParametersPreTransform(index_params=params)
            )
        return scores, rows

    @cached_property
    def _occupancy(self) -> Occupancy:
        return Occupancy.of(self._codes)

    def _scan(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        return search_allowed(self._exact, self._rotate_queries(queries), k, allow, MAX_ROW_WISE_QUERIES)

    def _scan_single(self, queries: Vectors, k: int, allow: Mask | None) -> tuple[Vectors, Rows]:
        if allow is not None:
            return self._scan(queries, k, allow)
        with threads_for(len(queries)):
            return ordered(*self._exact.search(self._rotate_queries(queries), k))

    def _rotate_queries(self, queries: Vectors) -> Vectors:
        """Return queries as the codes and the exact vectors have them."""
        rotated: Vectors = self._index.chain.at(0).apply(queries)
        return rotated

    def _rotated_vectors(self, rows: Rows) -> Vectors:
        vectors: Vectors = self._exact.reconstruct_batch(rows)
        return vectors

    def _rotation(self) -> Vectors:
        transform = faiss.downcast_VectorTransform(self._index.chain.at(0))
        matrix: Vectors = faiss.vector_to_array(transform.A).reshape(transform.d_out, transform.d_in)
        return matrix

    def keep_greatest(self) -> None:
        """Note the greatest effort in the file, for those who open it with FAISS itself; before anyone searches."""
        greatest = self.efforts.greatest
        self._codes.nprobe = greatest.lists
        if self._refined:
            faiss.downcast_index(self._index.index).k_factor = float(max(1, greatest.candidates))

    @classmethod
    def load(cls, path: Path) -> "IvfIndex":
        """Open what `save` wrote, memory-mapped: see `read_faiss` for what the caller owes.

        Raises:
            DamagedFileError: When FAISS refuses the bytes, or they are another kind of index.
        """
        index = read_faiss(path)
        if not isinstance(index, faiss.IndexPreTransform) or not _is_lists(faiss.downcast_index(index.index)):
            raise DamagedFileError(f"{path} is a FAISS index of another kind; build the index again")
        with read_as(f"{path}", "build the bundle again"):
            loaded = cls(index)
            rotation = loaded._rotation()
        check_stored(index, loaded._exact, rotation.shape[0])
        check_stored(index, loaded._codes, rotation.shape[0])
        if rotation.shape[1] != loaded.dim or not np.isfinite(rotation).all():
            raise DamagedFileError(f"{path} turns vectors in a way that does not fit them; build the bundle again")
        return loaded


def _assembled(rotation: Vectors, codes: Any, exact: Any | None) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Put codes behind a rotation, refined on exact vectors if there are any; FAISS owns none of its parts."""
    inner = codes if exact is None else faiss.IndexRefine(codes, exact)
    inner.ntotal = codes.ntotal
    index = with_rotation(rotation, inner)
    index.ntotal = codes.ntotal
    index.referenced_objects = (codes, exact, inner, *index.referenced_objects)
    return index


def _is_lists(index: Any) -> bool:  # noqa: ANN401 - FAISS ships no types
    base = faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index
    return isinstance(base, faiss.IndexIVF)


def list_count(size: int) -> int:
    """Return the number of lists for so many vectors; 0 when they are too few."""
    return min(int(LISTS_PER_SQRT * size**0.5), size // POINTS_PER_LIST)
