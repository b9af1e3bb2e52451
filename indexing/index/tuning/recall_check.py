"""The promise kept in a bundle: a few queries of each kind with exact answers, to be measured again at opening."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from indexing.arrays.types import Vectors
from indexing.filesystem.damaged_files import finite_tensors, read_as
from indexing.index.base import VectorIndex
from indexing.index.tuning.recall import Asked, Judged, Queries, judged

MOST, LEAST = 32, 4  # queries of a kind
SCANNED = 400_000_000  # numbers multiplied at opening by an index that scans everything: less than 100 ms


@dataclass(frozen=True, eq=False)
class Promise:
    """Queries of each kind with what exact search finds, and the recall on them when the index was built."""

    asked: Mapping[str, Judged]
    recall: Mapping[str, float]

    @classmethod
    def of(cls, index: VectorIndex, vectors: Vectors, queries: Asked, k: int) -> "Promise":
        """Keep some queries of each kind, and measure an index over (N, D) vectors with them.

        There are fewer where a search scans everything, so that opening a bundle stays quick.
        """
        scan = index.kind.endswith("flat")
        count = SCANNED // (vectors.size * max(1, len(queries))) if scan else MOST
        promise = cls(judged(vectors, queries, k, max(LEAST, min(MOST, count))), {})
        return cls(promise.asked, promise.measure(index, vectors))

    def measure(self, index: VectorIndex, vectors: Vectors) -> dict[str, float]:
        """Give the recall of an index over (N, D) vectors for each kind of query."""
        return {kind: round(one.measure(index, vectors, kind)[0], 4) for kind, one in self.asked.items()}

    def to_bytes(self) -> bytes:
        """Give the promise as safetensors."""
        tensors: dict[str, NDArray[Any]] = {}
        for kind, one in self.asked.items():
            tensors[f"{kind}.vectors"], tensors[f"{kind}.exact"] = one.queries.vectors, one.exact
            tensors[f"{kind}.recall"] = np.array([self.recall[kind]], np.float64)
            if one.queries.own is not None:
                tensors[f"{kind}.own"] = one.queries.own
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Promise":
        """Read what `to_bytes` gave.

        Raises:
            DamagedFileError: When it is something else.
        """
        with read_as("the stored sample of queries", "build again"):
            tensors = finite_tensors(data, endless=".exact")
            kinds = [name.removesuffix(".vectors") for name in tensors if name.endswith(".vectors")]
            asked = {
                kind: Judged(Queries(tensors[f"{kind}.vectors"], tensors.get(f"{kind}.own")), tensors[f"{kind}.exact"])
                for kind in sorted(kinds)
            }
            return cls(asked, {kind: float(tensors[f"{kind}.recall"][0]) for kind in asked})
