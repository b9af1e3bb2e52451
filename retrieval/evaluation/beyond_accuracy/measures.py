"""Beyond accuracy: what else there is to say of lists that find what is relevant."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays.types import Vectors
from indexing.errors import ShapeError
from retrieval.candidates import Candidates
from retrieval.evaluation.beyond_accuracy.diversity import calibration, diversity
from retrieval.evaluation.beyond_accuracy.novelty import Past, gini, hits_of, mean_popularity, novelty, serendipity
from retrieval.features.attribute_values import Attribute
from retrieval.interactions.interactions import Interactions


@dataclass(frozen=True, eq=False)
class Beyond:
    """What the measures beyond accuracy need to know; each is taken where what it needs is given.

    Attributes:
        past: What users did before: for ``novelty@k``, ``popularity@k`` and ``serendipity@k``. A log that reaches into
            the time of what is to be found makes them say what could not be known.
        vectors: (N, D) float32, one an item: for ``diversity@k``.
        attribute: One value, or list of values, an item: for ``calibration@k`` of lists against the histories of the
            candidates.
    """

    past: Interactions | None = None
    vectors: Vectors | None = None
    attribute: pa.ChunkedArray | Sequence[object] | None = None

    def measure(
        self, candidates: Candidates, relevant: Sequence[Collection[str]], depths: Iterable[int]
    ) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
        """Measure lists at each of some depths k.

        Returns:
            For each measure of a list (B,) float64, NaN where it is not defined; and each measure of all lists.

        Raises:
            InputError: When the past is empty.
            ShapeError: When there is not one vector or value an item.
        """
        rows, items, ks = candidates.rows, candidates.items, sorted(set(depths))
        for name, given in (("vectors", self.vectors), ("attribute", self.attribute)):
            if given is not None and len(given) != len(items):
                raise ShapeError(f"{name} has {len(given)} lines for {len(items)} items; one an item, in row order")
        lists: dict[str, NDArray[np.float64]] = {}
        if self.past is not None:
            past, hits = Past.of(self.past, items), hits_of(rows, relevant, items)
            lists |= {f"novelty@{k}": novelty(rows, past, k) for k in ks}
            lists |= {f"popularity@{k}": mean_popularity(rows, past, k) for k in ks}
            lists |= {f"serendipity@{k}": serendipity(rows, hits, past, k) for k in ks}
        if self.vectors is not None:
            lists |= {f"diversity@{k}": diversity(rows, self.vectors, k) for k in ks}
        if self.attribute is not None:
            values = Attribute.of(self.attribute)
            lists |= {f"calibration@{k}": calibration(rows, candidates.histories, values, k) for k in ks}
        there = np.flatnonzero(items.alive)
        place = np.full(len(items) + 1, -1, np.int64)  # the last is that of padding
        place[there] = np.arange(len(there))
        return lists, {f"gini@{k}": gini(place[rows], len(there), k) for k in ks}
