"""Codes of four bits for two dimensions that need no training.

Of centred vectors that were rotated at random every dimension is about normal, and the codebook of each pair of them is
the best one for a normal distribution (Max 1960). All codes are in one list, so that a search scans everything.
"""

from typing import Any

import faiss
import numpy as np

from indexing.arrays import Vectors

# Where a normal distribution is cut into four levels with the least squared error.
LEVELS = np.array([-1.5104, -0.4528, 0.4528, 1.5104], np.float32)


def normal_codes(stds: Vectors) -> Any:  # noqa: ANN401 - FAISS ships no types
    """Make one empty list of codes for an even number of dimensions with such standard deviations, (D,)."""
    dim = len(stds)
    coarse = faiss.IndexFlatIP(dim)
    coarse.add(np.zeros((1, dim), np.float32))
    codes = faiss.IndexIVFPQFastScan(coarse, dim, 1, dim // 2, 4, faiss.METRIC_INNER_PRODUCT)
    levels = np.arange(16)
    pairs = np.stack([LEVELS[levels % 4], LEVELS[levels // 4]], axis=1)
    codebook = pairs[None] * stds.reshape(-1, 1, 2)
    faiss.copy_array_to_vector(codebook.astype(np.float32).ravel(), codes.pq.centroids)
    codes.is_trained = True
    codes.referenced_objects = (coarse,)  # FAISS points to it without owning it
    return codes
