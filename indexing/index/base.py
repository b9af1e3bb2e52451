"""What an index is: vectors in, the rows with the highest inner products out."""

from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import numpy as np

from indexing.arrays import Mask, Rows, Vectors, check_vectors
from indexing.errors import ShapeError
from indexing.index.config import SearchParamsByKind
from indexing.runtime.arguments import check_whole
from indexing.runtime.threads import require_own_threads


@runtime_checkable
class VectorIndex(Protocol):
    """Nearest-neighbour search by inner product over N vectors of length D.

    Scores are higher-is-better and ties go to the lower row. An index that is being searched is never changed.
    """

    @property
    def kind(self) -> str:
        """The type of index, for the manifest: ``"flat"``, ``"faiss-flat"``, ``-hnsw``, ``-ivf`` or ``-sharded``."""
        ...

    @property
    def dim(self) -> int:
        """Length D of its vectors."""
        ...

    def __len__(self) -> int:
        """Return the number N of vectors."""
        ...

    def search(
        self, queries: Vectors, k: int, allow: Mask | None = None, kind: str | None = None
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query.

        Args:
            queries: (B, D) float32, any length but zero.
            k: How many rows to return a query; at least 1.
            allow: (N,) bool, the rows that may be returned; all when None.
            kind: What the queries are (``"text"``, ``"image"``, …), for an index that was tuned for each kind. With
                none, or one that it was not tuned for, it searches as hard as for the hardest.

        Returns:
            Scores (B, k) float32, and rows (B, k) int64. Where fewer than k rows exist or are allowed, the line
            ends with row -1 and score -inf.

        Raises:
            ShapeError: For queries of another dimension or a mask of another length.
            VectorError: For NaN, infinite or zero queries.
        """
        ...

    def save(self, path: Path) -> str:
        """Write the index into one file, and give the hexadecimal sha256 of its bytes."""
        ...


@runtime_checkable
class TunableIndex(VectorIndex, Protocol):
    """An index with search parameters for each kind of query."""

    @property
    def efforts(self) -> SearchParamsByKind:
        """How hard it tries."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps in memory."""
        ...

    def with_efforts(self, efforts: SearchParamsByKind) -> Self:
        """Return the same index, not a copy, that tries otherwise; this one stays as it is."""
        ...

    def keep_greatest(self) -> None:
        """Note the greatest effort in the file, for those who open it with FAISS itself; before anyone searches."""
        ...


def check_k(k: object) -> int:
    """Return k, the number of answers, as a plain int.

    Raises:
        InputError: When it is no whole number of at least 1.

    >>> check_k(np.int64(3))
    3
    """
    return check_whole(k, "k")


def check_search(index: VectorIndex, queries: Vectors, k: int, allow: Mask | None) -> Vectors:
    """Check the arguments of `VectorIndex.search`, and return the queries as contiguous float32."""
    require_own_threads()
    check_k(k)
    if allow is not None and (allow.shape != (len(index),) or allow.dtype != np.bool_):
        raise ShapeError(f"allow has shape {allow.shape} and dtype {allow.dtype}, expected ({len(index)},) bool")
    return check_vectors(queries, index.dim, "queries")


def padded(scores: Vectors, rows: Rows, k: int) -> tuple[Vectors, Rows]:
    """Widen (B, j) answers to (B, k) with score -inf and row -1."""
    missing = k - rows.shape[1]
    if missing <= 0:
        return scores, rows
    widths = ((0, 0), (0, missing))
    return (
        np.pad(scores, widths, constant_values=-np.inf),
        np.pad(rows, widths, constant_values=-1),
    )


def ordered(scores: Vectors, rows: Rows) -> tuple[Vectors, Rows]:
    """Order the (B, j) answers of each query by score, the best first and equal scores in row order."""
    order = np.lexsort((rows, -scores), axis=1)
    queries = np.arange(len(order))[:, None]  # np.take_along_axis takes four times as long for one query
    return scores[queries, order], rows[queries, order]


def no_answers(queries: int) -> tuple[Vectors, Rows]:
    """Return answers without any row, to merge others into."""
    return np.empty((queries, 0), np.float32), np.empty((queries, 0), np.int64)


def merged(left: tuple[Vectors, Rows], right: tuple[Vectors, Rows], k: int) -> tuple[Vectors, Rows]:
    """Merge the answers of two searches over different rows: the best k of both, equal scores in row order.

    (`faiss.merge_knn_results` gives equal scores in any order.)

    >>> left = np.array([[2.0, 1.0]], np.float32), np.array([[5, 0]])
    >>> right = np.array([[2.0, -np.inf]], np.float32), np.array([[3, -1]])
    >>> merged(left, right, 3)[1].tolist()
    [[3, 5, 0]]
    """
    scores, rows = np.concatenate([left[0], right[0]], axis=1), np.concatenate([left[1], right[1]], axis=1)
    scores, rows = ordered(scores, rows)
    return scores[:, :k], rows[:, :k]
