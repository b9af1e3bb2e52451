"""Exact search in numpy: the oracle that every other index is measured against."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from indexing.arrays import Mask, Rows, Vectors, check_vectors
from indexing.errors import DamagedFileError
from indexing.filesystem import fsops
from indexing.index.base import check_search, merged, no_answers, padded

# Scores of one block of queries against all N vectors, in memory with two copies: 8 million floats are 32 MB.
MAX_SCORES = 8_000_000
# Below this share of allowed rows their vectors are copied before they are scored.
COPY_BELOW_FRACTION = 0.25


class FlatIndex:
    """Exact inner-product search by one matrix product.

    >>> index = FlatIndex(np.eye(3, dtype=np.float32))
    >>> scores, rows = index.search(np.array([[0.0, 2.0, 1.0]], dtype=np.float32), k=2)
    >>> rows.tolist(), scores.tolist()
    ([[1, 2]], [[2.0, 1.0]])
    """

    kind = "flat"

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = check_vectors(vectors)

    @property
    def dim(self) -> int:
        """Length D of the vectors."""
        return int(self.vectors.shape[1])

    def __len__(self) -> int:
        return int(self.vectors.shape[0])

    def search(
        self,
        queries: Vectors,
        k: int,
        allow: Mask | None = None,
        kind: str | None = None,  # noqa: ARG002 - exact for every kind
    ) -> tuple[Vectors, Rows]:
        """Find the best k rows for each query; see `VectorIndex.search`."""
        queries, k = check_search(self, queries, k, allow), int(k)
        return padded(*search_vectors(self.vectors, queries, k, allow), k)

    def save(self, path: Path) -> str:
        """Write the vectors into one safetensors file, and return its sha256."""
        data = save({"vectors": self.vectors})
        return fsops.write_stream(path, lambda write: write(data))

    @classmethod
    def load(cls, path: Path) -> "FlatIndex":
        """Open what `save` wrote, memory-mapped: nothing may write into the file while the index lives.

        Raises:
            DamagedFileError: When it is no such file.
        """
        try:
            with safe_open(path, framework="numpy") as file:  # checks the header against the size of the file
                shape = file.get_slice("vectors").get_shape()
                only_vectors = list(file.keys()) == ["vectors"] and file.get_slice("vectors").get_dtype() == "F32"
            if not only_vectors or len(shape) != 2:
                raise DamagedFileError(f"{path} holds something else than one matrix of vectors; build the index again")
            with path.open("rb") as data:
                start = 8 + int.from_bytes(data.read(8), "little")
        except (OSError, SafetensorError) as error:
            raise DamagedFileError(f"{path} cannot be read as vectors: {error}; build the index again") from error
        if 0 in shape:
            return cls(np.empty(shape, np.float32))
        return cls(np.memmap(path, np.float32, "r", start, tuple(shape)))


def search_vectors(vectors: Vectors, queries: Vectors, k: int, allow: Mask | None = None) -> tuple[Vectors, Rows]:
    """Find the best of k and all allowed rows of (N, D) vectors for each query, equal scores in row order."""
    candidates = np.arange(len(vectors)) if allow is None else np.flatnonzero(allow)
    # To copy the vectors of many allowed rows costs more than to score those that are not.
    copy_allowed = len(candidates) < COPY_BELOW_FRACTION * len(vectors)
    scored_vectors = vectors[candidates] if copy_allowed else vectors
    block = max(1, MAX_SCORES // max(1, len(scored_vectors)))
    parts = []
    for start in range(0, max(1, len(queries)), block):
        scores = queries[start : start + block] @ scored_vectors.T
        if not copy_allowed and len(candidates) < len(vectors):
            scores = scores[:, candidates]
        parts.append(top_k(scores, candidates, min(k, len(candidates))))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def exact_search(blocks: Iterable[Vectors], queries: Vectors, k: int) -> tuple[Vectors, Rows]:
    """Search (rows, D) blocks exactly, one at a time, for vectors that do not fit in memory together.

    Returns:
        As `VectorIndex.search` does, with rows counted through all blocks.
    """
    answers, start = no_answers(len(queries)), 0
    for block in blocks:
        scores, rows = search_vectors(block, queries, min(k, len(block)))
        answers = merged(answers, (scores, rows + start), k)
        start += len(block)
    return padded(*answers, k)


def top_k(scores: Vectors, candidates: Rows, k: int) -> tuple[Vectors, Rows]:
    """Select the k best columns of each row, equal scores in row order."""
    if k == 0:
        return np.empty((len(scores), 0), np.float32), np.empty((len(scores), 0), np.int64)
    # argpartition alone may drop any of the columns tied at the cut: keep all that reach the k-th best score.
    kth = scores.shape[1] - k
    kth_score = np.partition(scores, kth, axis=1)[:, kth : kth + 1]
    best = np.empty((len(scores), k), np.int64)
    for query, at_least_kth in enumerate(scores >= kth_score):
        columns = np.flatnonzero(at_least_kth)
        best[query] = columns[np.argsort(-scores[query, columns], kind="stable")[:k]]
    return np.take_along_axis(scores, best, axis=1), candidates[best]
