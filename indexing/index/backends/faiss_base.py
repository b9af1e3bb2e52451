"""What all FAISS indexes share: their files, the codes of vectors, and exact search among allowed rows.

Files are written through `fsops`, read with suspicion, and opened without being loaded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, Literal, assert_never

import faiss
import numpy as np

from indexing.arrays import Mask, Rows, Vectors
from indexing.errors import DamagedFileError
from indexing.filesystem import fsops
from indexing.index.backends.flat import MAX_SCORES, exact_search
from indexing.index.base import ordered
from indexing.runtime.threads import about_to_compute

# FAISS trusts the sizes written in a file: no vector inside may claim more bytes than this many times the file.
MAX_SIZE_FACTOR = 4
MIN_SIZE_LIMIT = 1 << 20

_limits = Lock()  # FAISS has one limit for the whole process


@contextmanager
def threads_for(queries: int) -> Iterator[None]:
    """Let FAISS search exactly for one query in one thread, for more in as many as it has.

    With several threads and one query its exact search takes another, slower way: of 15,000 vectors of 1,153 numbers
    7.9 ms in place of 3.0. The number of threads is of the calling thread alone.
    """
    threads: int = faiss.omp_get_max_threads()
    if queries != 1 or threads == 1:
        yield
        return
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def write_faiss(index: Any, path: Path) -> str:  # noqa: ANN401 - FAISS ships no types
    """Write an index into one file as `faiss.read_index` takes it, without a copy of it in memory.

    Returns:
        The hexadecimal sha256 of the file.
    """
    return fsops.write_stream(path, lambda write: faiss.write_index(index, faiss.PyCallbackIOWriter(write)))


def faiss_bytes(index: Any) -> bytes:  # noqa: ANN401 - FAISS ships no types
    """Return an index in FAISS's own format."""
    data: bytes = faiss.serialize_index(index).tobytes()
    return data


def read_faiss(path: Path, *, mapped: bool = True) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Open a file in FAISS's own format, which claims no more memory than it may.

    The caller has checked the file's sha256: FAISS itself does not notice damage.

    Args:
        path: The file. While a mapped index lives, nothing may write into the file; to replace or remove it is fine.
        mapped: Leave vectors, codes and graphs in the file and let the operating system bring in what is searched;
            processes that open the same file share it. Else all of it is read into memory.

    Raises:
        DamagedFileError: When the file is missing, or FAISS refuses its bytes.
    """
    try:
        size = max(path.stat().st_size, MIN_SIZE_LIMIT)
        with _limits:
            faiss.set_deserialization_vector_byte_limit(MAX_SIZE_FACTOR * size)
            faiss.set_deserialization_loop_limit(size)  # whatever is read in a loop takes a byte at least
            if mapped:
                return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
            return faiss.deserialize_index(np.fromfile(path, dtype=np.uint8))
    except (OSError, RuntimeError) as error:
        raise DamagedFileError(f"{path} is not a FAISS index: {error}; build the index again") from error


class FaissFile:
    """What every index in one FAISS file shares: its size, and how it is written."""

    _index: Any

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self._index.d)

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps in memory."""
        return nbytes(self._index)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def save(self, path: Path) -> str:
        """Write the index into one file, in FAISS's own format, and return its sha256."""
        return write_faiss(self._index, path)

    def to_bytes(self) -> bytes:
        """Return the index in FAISS's own format, as `faiss.read_index` takes it."""
        return faiss_bytes(self._index)


Scalar = Literal["fp32", "fp16", "sq8"]
"""Kept as single or half precision, or eight bits a dimension between the least and the greatest there."""

Codec = Literal["pq4", "sq8"]
"""What inverted lists hold: product codes of four bits for two dimensions, too coarse to be scores, or eight bits."""

QUERY_BITS = 8  # a dimension of a query that is compared with codes of one bit, which former versions built

_QUANTIZERS = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}


def quantizer(codec: str) -> int:
    """Return FAISS's number of a scalar quantiser other than ``"fp32"``."""
    return int(_QUANTIZERS[codec])


def flat_codes(dim: int, codec: Scalar) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make an empty FAISS index that scans codes of one kind."""
    if codec == "fp32":
        return faiss.IndexFlatIP(dim)
    return faiss.IndexScalarQuantizer(dim, quantizer(codec), faiss.METRIC_INNER_PRODUCT)


def add_vectors(index: Any, vectors: Vectors) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Train an index on (N, D) vectors, add them, and return it."""
    about_to_compute(faiss.omp_get_max_threads())
    index.train(vectors)
    index.add(vectors)
    return index


def list_codes(coarse: Any, dim: int, lists: int, codec: Codec) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make empty inverted lists of codes of one kind over a coarse quantiser, which the caller keeps alive."""
    product = faiss.METRIC_INNER_PRODUCT
    match codec:
        case "pq4":
            return faiss.IndexIVFPQFastScan(coarse, dim, lists, dim // 2, 4, product)
        case "sq8":
            return faiss.IndexIVFScalarQuantizer(coarse, dim, lists, quantizer(codec), product)
        case _:
            assert_never(codec)


def random_rotation(dim: int, rng: np.random.Generator) -> Vectors:
    """Draw a rotation of vectors of length D into an even number E of dimensions: (E, D) float32."""
    even = dim + dim % 2
    rotation: Vectors = np.linalg.qr(rng.normal(size=(even, even)))[0][:, :dim].astype(np.float32)
    return rotation


def with_rotation(rotation: Vectors, index: Any) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make an index that rotates what it is given by (E, D) and hands it to another, which the caller keeps alive."""
    transform = faiss.LinearTransform(rotation.shape[1], len(rotation), False)
    faiss.copy_array_to_vector(rotation.ravel(), transform.A)
    transform.is_trained = True
    index_ = faiss.IndexPreTransform(transform, index)
    index_.referenced_objects = (transform,)  # FAISS points into it without owning it
    return index_


def list_search_params(codes: Any, lists: int, selector_: Any = None) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Say for one search how many lists to scan, and by a selector which rows."""
    row_filter = {} if selector_ is None else {"sel": selector_}
    if isinstance(codes, faiss.IndexIVFRaBitQ):
        return faiss.IVFRaBitQSearchParameters(nprobe=lists, qb=QUERY_BITS, **row_filter)
    return faiss.SearchParametersIVF(nprobe=lists, **row_filter)


def code_cost(codes: Any) -> float:  # noqa: ANN401 - FAISS ships no types
    """Say what a code that is scanned costs, where one is a vector that is fetched from anywhere and scored."""
    if isinstance(codes, faiss.IndexIVFPQFastScan):
        return 1 / 16
    return 1 / 8 if isinstance(codes, faiss.IndexIVFRaBitQ) else 1.0


def nbytes(index: Any) -> int:  # noqa: ANN401 - FAISS ships no types
    """Count the bytes that a FAISS index of the kinds used here keeps in memory."""
    index = faiss.downcast_index(index)
    match index:
        case faiss.IndexPreTransform():
            transform = faiss.downcast_VectorTransform(index.chain.at(0))
            return 4 * int(transform.A.size()) + nbytes(index.index)
        case faiss.IndexRefine():
            return nbytes(index.base_index) + nbytes(index.refine_index)
        case faiss.IndexHNSW():
            graph = index.hnsw
            links = 4 * graph.neighbors.size() + 8 * graph.offsets.size() + 4 * graph.levels.size()
            return int(links) + nbytes(index.storage)
        case faiss.IndexIVF():
            return _lists_bytes(index) + nbytes(index.quantizer) + 8 * int(index.direct_map.array.size())
    return int(index.ntotal) * int(index.sa_code_size())


def unmapped_bytes(codes: Any) -> int:  # noqa: ANN401 - FAISS ships no types
    """Count the bytes of lists that are in memory though their file is mapped: those of fast scan."""
    return _lists_bytes(codes) if isinstance(codes, faiss.IndexIVFPQFastScan) else 0


def _lists_bytes(index: Any) -> int:  # noqa: ANN401 - FAISS ships no types
    """Count the codes and the 8 bytes of an id; fast-scan codes lie in blocks that are padded."""
    lists = faiss.downcast_InvertedLists(index.invlists)
    counts = [lists.list_size(number) for number in range(lists.nlist)]
    if isinstance(lists, faiss.BlockInvertedLists):
        blocks = sum(-(-count // lists.n_per_block) for count in counts)
        return int(blocks * lists.block_size + 8 * sum(counts))
    return int(sum(counts) * (lists.code_size + 8))


# Rows that are copied out of FAISS at a time: with 512 dimensions 32 MB, which stays near the processor.
BLOCK_ROWS = 16_384


def search_allowed(
    stored: Any,  # noqa: ANN401 - FAISS ships no types
    queries: Vectors,
    k: int,
    allow: Mask | None,
    max_row_wise: int,
) -> tuple[Vectors, Rows]:
    """Find the best k rows among those allowed.

    A few queries go row by row through FAISS, which passes over forbidden rows without reading them. For more, copying
    the allowed rows once and multiplying matrices is faster.

    Args:
        stored: A FAISS index that keeps one vector a row, in order.
        queries: (B, D) float32, as that index has them.
        k: Rows a query; at least as many must be allowed.
        allow: (N,) bool; all when None.
        max_row_wise: How many queries are few, for that kind of index.

    Returns:
        Scores (B, k) float32 and rows (B, k) int64, the best first and ties by row.
    """
    if allow is None:
        allow = np.ones(stored.ntotal, np.bool_)
    if len(queries) > max_row_wise:
        return _gathered(stored, queries, k, allow)
    scores, rows = stored.search(queries, k, params=faiss.SearchParameters(sel=selector(allow)))
    incomplete = incomplete_rows(check_row_range(rows, stored.ntotal), allow)
    if incomplete.any():
        scores[incomplete], rows[incomplete] = _gathered(stored, queries[incomplete], k, allow)
    return ordered(scores, rows)


def selector(allow: Mask) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Return a mask (N,) in the form in which FAISS takes it."""
    return faiss.IDSelectorBitmap(np.packbits(allow, bitorder="little"))


def check_row_range(rows: Rows, count: int) -> Rows:
    """Check that rows which FAISS gives are among so many: a file may say otherwise.

    Raises:
        DamagedFileError: When one is not.
    """
    if rows.size and (rows.max() >= count or rows.min() < -1):
        raise DamagedFileError(f"the index gives row {rows.max()} of {count}: it is damaged; build the bundle again")
    return rows


def check_stored(index: Any, stored: Any, dim: int) -> None:  # noqa: ANN401 - FAISS ships no types
    """Check that the vectors an index keeps are as many as it says, of a length, and compared by inner product.

    Raises:
        DamagedFileError: When they are not.
    """
    if {int(index.metric_type), int(stored.metric_type)} != {faiss.METRIC_INNER_PRODUCT}:
        raise DamagedFileError("an index compares by another metric than inner product; build the bundle again")
    if int(stored.ntotal) != int(index.ntotal) or int(stored.d) != dim:
        raise DamagedFileError(
            f"an index of {index.ntotal} vectors of length {dim} keeps {stored.ntotal} of length {stored.d}: it is "
            "damaged; build the bundle again"
        )


def incomplete_rows(rows: Rows, allow: Mask | None) -> Mask:
    """Say which queries have fewer than k rows, or a row that is not allowed: (B,) bool of rows (B, k).

    FAISS has dropped selectors in places (its issues 5504 and 5584): nothing that it gives is believed unseen.
    """
    incomplete: Mask = rows < 0 if allow is None else (rows < 0) | ~allow[rows]
    return np.asarray(incomplete.any(axis=1), np.bool_)


def _gathered(stored: Any, queries: Vectors, k: int, allow: Mask) -> tuple[Vectors, Rows]:  # noqa: ANN401
    allowed = np.flatnonzero(allow)
    size = max(1, min(BLOCK_ROWS, MAX_SCORES // max(1, len(queries))))
    blocks = (stored.reconstruct_batch(allowed[start : start + size]) for start in range(0, len(allowed), size))
    scores, positions = exact_search(blocks, queries, k)
    return scores, allowed[positions]
