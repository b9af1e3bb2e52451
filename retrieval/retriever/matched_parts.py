"""Which part of an item a query met: its text, one of its pictures, a moment of its film, its sound."""

from typing import NamedTuple

import numpy as np

from indexing.arrays.vectors import unit
from indexing.bundle.bundle import Bundle
from indexing.errors import InputError
from indexing.media.files import Modality
from retrieval.candidates import Candidates


class Part(NamedTuple):
    """The part of an item that is nearest to a query.

    Attributes:
        modality: What it is.
        label: Which one: ``"0"`` for the first picture or text, ``"1 at 12.5 s"`` for a frame of a film.
        score: Its cosine with the query.
    """

    modality: Modality
    label: str
    score: float


def nearest_parts(candidates: Candidates, bundle: Bundle) -> list[list[Part | None]]:
    """Find for each hit of each query the part that is nearest to it, among the frozen vectors of the item.

    Args:
        candidates: B queries with their hits.
        bundle: Where they were found.

    Returns:
        For each query one entry a hit, in the order of the hits: None where nothing of the item can be compared with
        the query: it has no direction, or says nothing of any modality that the item has.

    Raises:
        InputError: When the queries have no vectors, as those of a pool.
    """
    candidates, dim = candidates.pointing_into(bundle.items), bundle.manifest.encoder.dim
    if candidates.queries.shape[1] != dim:
        raise InputError(
            f"queries have {candidates.queries.shape[1]} dimensions, the bundle's vectors {dim}; give what a search or "
            "recommend found"
        )
    queries, separate = unit(candidates.queries), bundle.manifest.encoder.separate
    best: dict[tuple[int, int], Part] = {}
    for modality, parts in bundle.parts.items():
        for query, rows in enumerate(candidates.rows):
            for row in rows[rows >= 0].tolist() if queries[query].any() else ():
                first, end = np.searchsorted(parts.rows, (row, row + 1))
                if first == end:
                    continue
                cosines = unit(parts.vectors[first:end]) @ queries[query]
                if separate and not cosines.any():  # the query says nothing of this modality
                    continue
                place = int(cosines.argmax())
                found = Part(modality, parts.labels[first + place], float(cosines[place]))
                best[query, row] = max(best.get((query, row), found), found, key=lambda part: part.score)
    return [[best.get((query, row)) for row in rows.tolist() if row >= 0] for query, rows in enumerate(candidates.rows)]
