"""Candidates with the rules that changed them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.catalogue.item_ids import ItemIds
from retrieval.candidates import Candidates


@dataclass(frozen=True, eq=False)
class Ruled(Candidates):
    """Candidates after rules. Later stages keep the notes of each item.

    Attributes:
        notes: For each query the rows that were pinned, boosted or buried, with the names of these rules.
        excluded: For each query the names of the rules that excluded hits, with their number.
    """

    notes: tuple[Mapping[int, tuple[str, ...]], ...] = ()
    excluded: tuple[Mapping[str, int], ...] = ()

    def rules_of(self, query: int) -> list[tuple[str, ...]]:
        """Give the names of the rules that changed each hit of a query, in the order of the hits."""
        return [self.notes[query].get(row, ()) for row in self.rows[query].tolist() if row >= 0]

    def take(self, positions: Sequence[int] | NDArray[np.int64]) -> "Ruled":
        """Keep the queries at some positions, in that order."""
        taken = cast(Ruled, super().take(positions))
        noted = [(self.notes[position], self.excluded[position]) for position in positions]
        return replace(taken, notes=tuple(note for note, _ in noted), excluded=tuple(excluded for _, excluded in noted))

    def _numbered(self, new_rows: NDArray[np.int64], items: ItemIds) -> "Ruled":
        """Replace each row by its new row, in the notes too."""
        taken = cast(Ruled, super()._numbered(new_rows, items))
        notes = [
            {int(new_rows[row]): names for row, names in note.items() if new_rows[row] >= 0} for note in self.notes
        ]
        return replace(taken, notes=tuple(notes))

    def to_arrow(self) -> pa.Table:
        """Give `Candidates.to_arrow` with a further column ``rules``: the names of the rules that changed each hit."""
        names = [list(rules) for query in range(len(self)) for rules in self.rules_of(query)]
        return super().to_arrow().append_column("rules", pa.array(names, pa.list_(pa.string())))
