"""Fusion of ranked lists of the same queries whose scores are on different scales.

By scores, min-max normalised in each list: S. Bruch, S. Gai and A. Ingber, "An Analysis of Fusion Functions for Hybrid
Retrieval", ACM TOIS 2023.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates
from retrieval.candidates.sources import UNKNOWN

FUSED = "hybrid"


class Rank(NamedTuple):
    """Rank of an item in one list, from 1, and its score there."""

    rank: int
    score: float


@dataclass(frozen=True, eq=False)
class Fused(Candidates):
    """Candidates fused from several lists, which know where each item was in which list. Later stages keep it.

    Attributes:
        names: The names of the lists.
        places: For each query the places of each row, by the name of the list.
    """

    names: tuple[str, ...] = ()
    places: tuple[Mapping[int, Mapping[str, Rank]], ...] = ()

    def places_of(self, query: int) -> list[Mapping[str, Rank]]:
        """Give the places of each hit of a query, in the order of the hits."""
        return [self.places[query].get(row, {}) for row in self.rows[query].tolist() if row >= 0]

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> "Fused":
        """Keep the queries at some positions, in that order."""
        kept = cast(Fused, super().take(positions))
        return replace(kept, places=tuple(self.places[position] for position in positions))

    def _numbered(self, new_rows: NDArray[np.int64], items: ItemIds) -> "Fused":
        """Replace each row by its new row, in the places too."""
        kept = cast(Fused, super()._numbered(new_rows, items))
        places = [{int(new_rows[row]): at for row, at in known.items() if new_rows[row] >= 0} for known in self.places]
        return replace(kept, places=tuple(places))

    def to_arrow(self) -> pa.Table:
        """Give `Candidates.to_arrow` with the rank and the score in each list, null where it is not in one."""
        table = super().to_arrow()
        hits = [at for query in range(len(self)) for at in self.places_of(query)]
        for name in self.names:
            ranks = [at[name].rank if name in at else None for at in hits]
            scores = [at[name].score if name in at else None for at in hits]
            table = table.append_column(f"{name}_rank", pa.array(ranks, pa.int64()))
            table = table.append_column(f"{name}_score", pa.array(scores, pa.float32()))
        return table


def fuse(
    lists: Mapping[str, Candidates],
    k: int,
    weights: Mapping[str, float] | None = None,
    minimums: Mapping[str, float] | None = None,
) -> Fused:
    """Order the items of several lists of the same queries by a weighted sum over the lists.

    The summand of a list is the min-max normalised score: 0 for the minimum, 1 for the highest of the list, and 1 for
    all where scores are equal. It is 0 for an item that is not in the list. Equal sums are in the order of the lists.
    The source of a hit is that of the list with the largest summand.

    Args:
        lists: Candidates of the same bundle and queries, by name; the first gives all but rows and scores.
        k: Hits a query.
        weights: Weight of each list, equal when None; a list of weight 0 adds no items.
        minimums: The lowest score that is possible in a list, by name; the lowest of the list where none is given.
    """
    first = next(iter(lists.values()))
    rows = np.full((len(first), k), -1, np.int64)
    scores = np.full((len(first), k), -np.inf, np.float32)
    codes = np.full((len(first), k), UNKNOWN, np.int8)
    places: list[dict[int, dict[str, Rank]]] = []
    summands = {name: _summands(candidates, (minimums or {}).get(name)) for name, candidates in lists.items()}
    for query in range(len(first)):
        known: dict[int, dict[str, Rank]] = {}
        sums: dict[int, float] = {}
        best_sources: dict[int, tuple[float, int]] = {}
        for name, candidates in lists.items():
            weight = 1.0 if weights is None else weights[name]
            values = summands[name][query][candidates.rows[query] >= 0].tolist()
            for rank, (row, score, code) in enumerate(_hits(candidates, query), start=1):
                known.setdefault(row, {})[name] = Rank(rank, score)
                if weight > 0:
                    part = weight * values[rank - 1]
                    sums[row] = sums.get(row, 0.0) + part
                    best_sources[row] = max(
                        best_sources.get(row, (-1.0, UNKNOWN)), (part, code), key=lambda pair: pair[0]
                    )
        best = sorted(sums, key=sums.__getitem__, reverse=True)[:k]
        rows[query, : len(best)], scores[query, : len(best)] = best, [sums[row] for row in best]
        codes[query, : len(best)] = [best_sources[row][1] for row in best]
        places.append({row: known[row] for row in best})
    found = (first.queries, rows, scores, first.items, FUSED, first.query_ids)
    return Fused(*found, sources=codes, names=tuple(lists), places=tuple(places))


def _summands(candidates: Candidates, minimum: float | None) -> NDArray[np.float64]:
    """Give the summand of each hit of a list: (B, K), 0 for padding."""
    valid = candidates.rows >= 0
    scores = candidates.scores.astype(np.float64)
    highest = np.max(scores, axis=1, keepdims=True, where=valid, initial=-np.inf)
    lowest = np.min(scores, axis=1, keepdims=True, where=valid, initial=np.inf)
    if minimum is not None:
        lowest = np.full_like(lowest, minimum)
    value_range = highest - lowest
    shares = np.divide(scores - lowest, value_range, out=np.ones_like(scores), where=valid & (value_range > 0))
    return np.where(valid, shares, 0)


def _hits(candidates: Candidates, query: int) -> list[tuple[int, float, int]]:
    """Give row, score and code of the source of each hit."""
    codes = np.full(candidates.rows.shape[1], UNKNOWN) if candidates.sources is None else candidates.sources[query]
    lists = (candidates.rows[query].tolist(), candidates.scores[query].tolist(), codes.tolist())
    return [hit for hit in zip(*lists, strict=True) if hit[0] >= 0]
