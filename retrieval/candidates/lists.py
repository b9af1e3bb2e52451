"""Lists of some queries put in the place of those that candidates have."""

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from indexing.arrays import Rows
from retrieval.candidates.candidates import Candidates
from retrieval.candidates.sources import UNKNOWN, Codes

Kind = TypeVar("Kind", bound=Candidates)


def with_lists(candidates: Kind, positions: Rows, lists: Candidates) -> Kind:
    """Replace the hits of some queries: rows, scores, sources and what was folded; all else stays.

    Args:
        candidates: Of B queries.
        positions: (n,) int64, the queries whose lists are replaced.
        lists: Of these n queries; shorter lists are padded.
    """
    width = max(candidates.rows.shape[1], lists.rows.shape[1])
    known: dict[str, tuple[Any, Any, Any]] = {
        "rows": (candidates.rows, lists.rows, -1),
        "scores": (candidates.scores, lists.scores, -np.inf),
    }
    if candidates.sources is not None or lists.sources is not None:
        known["sources"] = (_codes(candidates), _codes(lists), UNKNOWN)
    changed: dict[str, Any] = {}
    for name, (present, new, padding) in known.items():
        padded, more = (
            np.pad(array, [(0, 0), (0, width - array.shape[1])], constant_values=padding) for array in (present, new)
        )
        padded[positions] = more
        changed[name] = padded
    if candidates.folded or lists.folded:
        folded = list(candidates.folded or ({},) * len(candidates))
        for position, stands_for in zip(positions.tolist(), lists.folded or ({},) * len(lists), strict=True):
            folded[position] = stands_for
        changed["folded"] = tuple(folded)
    return replace(candidates, **changed)


def _codes(candidates: Candidates) -> Codes:
    """Give the sources of hits, unknown where candidates do not say them."""
    if candidates.sources is None:
        return np.full(candidates.rows.shape, UNKNOWN, np.int8)
    return candidates.sources
