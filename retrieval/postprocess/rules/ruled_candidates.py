"""Candidates that know which rules touched them."""

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
    """Candidates after rules. Other stages may follow: what was noted stays with the item, wherever it goes.

    Attributes:
        notes: For each query the rows that were pinned, raised or lowered, with the names of the rules that did it.
        excluded: For each query the names of rules that took hits out, with how many.
    """

    notes: tuple[Mapping[int, tuple[str, ...]], ...] = ()
    excluded: tuple[Mapping[str, int], ...] = ()

    def rules_of(self, query: int) -> list[tuple[str, ...]]:
        """Name the rules that touched each answer to one query, in the order of the hits."""
        return [self.notes[query].get(row, ()) for row in self.rows[query].tolist() if row >= 0]

    def take(self, lines: Sequence[int] | NDArray[np.int64]) -> "Ruled":
        """Keep some of the queries, in the order given."""
        kept = cast(Ruled, super().take(lines))
        told = [(self.notes[line], self.excluded[line]) for line in lines]
        return replace(kept, notes=tuple(note for note, _ in told), excluded=tuple(gone for _, gone in told))

    def _numbered(self, numbers: NDArray[np.int64], items: ItemIds) -> "Ruled":
        """Put other numbers in the place of rows, those of what was noted too."""
        kept = cast(Ruled, super()._numbered(numbers, items))
        notes = [{int(numbers[row]): names for row, names in note.items() if numbers[row] >= 0} for note in self.notes]
        return replace(kept, notes=tuple(notes))

    def to_arrow(self) -> pa.Table:
        """Give one line a hit, with one column more, ``rules``: the names of the rules that touched it."""
        names = [list(rules) for query in range(len(self)) for rules in self.rules_of(query)]
        return super().to_arrow().append_column("rules", pa.array(names, pa.list_(pa.string())))
