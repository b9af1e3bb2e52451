"""What is read from another tool: items with vectors that are there already."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from indexing.arrays.types import Mask
from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import VECTOR, Columns
from indexing.catalogue.item_ids import ItemIds
from indexing.catalogue.readers.base import TableReader
from indexing.store.fusion import ModalityVectors


class Embedded(NamedTuple):
    """Items with their vectors.

    Attributes:
        item_ids: N ids.
        vectors: For each modality (N, D) float16 of unit length, and which exist.
        attributes: N lines: item_id, and whatever else the other tool kept.
    """

    item_ids: ItemIds
    vectors: ModalityVectors
    attributes: pa.Table

    def catalogue(self, name: str = "the vectors") -> Catalogue:
        """Give the items as a catalogue, to build a bundle with the ``vectors:`` encoder.

        Args:
            name: What to call them in messages.
        """
        table = self.attributes
        columns = {f"{modality}{VECTOR}": modality for modality in self.vectors.modalities}
        kept = table.select([column for column in table.column_names if column not in columns])
        for column, modality in columns.items():
            kept = kept.append_column(column, as_lists(self.vectors.vectors[modality], self.vectors.exists[modality]))
        return Catalogue(TableReader(name, kept), Columns("item_id", (), None, vectors=tuple(columns)), Path())


def as_lists(vectors: NDArray[np.float16], exists: Mask) -> pa.Array:
    """Give (N, D) vectors as an Arrow array of N lists, null where a vector does not exist."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1], mask=pa.array(~exists))
