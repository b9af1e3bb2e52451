"""Which inverted list each row is in, and so how many lists a filtered search must visit."""

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from indexing.arrays.types import Mask, Vectors

# The wanted rows grow with the share of allowed rows by this power: .5 fell just short of the unfiltered recall for
# filters that go with the vectors, and a third visits more lists than are needed.
FEWER = 0.4
TOGETHER = 1024  # queries whose lists are ordered at a time, to bound memory


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
        list_of, held = np.zeros(index.ntotal, np.int32), index.invlists
        for number in range(index.nlist):
            if size := held.list_size(number):
                list_of[faiss.rev_swig_ptr(held.get_ids(number), size)] = number
        return cls(faiss.downcast_index(index.quantizer).reconstruct_n(0, index.nlist), list_of)

    def lists(self, queries: Vectors, allow: Mask, unfiltered: int) -> npt.NDArray[np.int64]:
        """Say how many of the nearest lists to visit for each of (B, D) queries.

        Where all rows are allowed, ``unfiltered`` lists are enough, which hold a certain number of rows. Of a filtered
        search a part of that number of allowed rows is wanted, as fewer compete (`FEWER`); a filter whose rows are all
        far from the query leads to as many lists more as it takes. Rounded up to powers of two, so that a batch needs
        few different searches.
        """
        lists, allowed = len(self.centres), np.flatnonzero(allow)
        share = len(allowed) / len(allow)
        wanted = min(unfiltered / lists * len(allow) * share**FEWER, len(allowed))
        held = np.bincount(self.list_of[allowed], minlength=lists)
        needed = np.empty(len(queries), np.int64)
        for start in range(0, len(queries), TOGETHER):
            nearest_first = np.argsort(-(queries[start : start + TOGETHER] @ self.centres.T), axis=1)
            reached = np.cumsum(held[nearest_first], axis=1) >= wanted
            needed[start : start + TOGETHER] = reached.argmax(axis=1) + 1
        rounded: npt.NDArray[np.int64] = 2 ** np.ceil(np.log2(np.maximum(needed, unfiltered))).astype(np.int64)
        return np.minimum(rounded, lists)
