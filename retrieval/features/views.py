"""Ways to look at items: by each modality, and by each attribute that describes them."""

import numpy as np
import pyarrow as pa

from indexing.arrays.types import Vectors
from indexing.arrays.vectors import unit
from indexing.store.collect import ModalityVectors
from retrieval.features.column_encoders import column_of
from retrieval.features.item_features import ItemFeatures


def views_of(description: ItemFeatures, frozen: ModalityVectors, attributes: pa.Table) -> dict[str, Vectors]:
    """Give for each way (N, D) float32, of length 1, or 0 where an item lacks it.

    Args:
        description: How items are described, learned once.
        frozen: The frozen vectors of N items.
        attributes: Their attributes, one line an item.
    """
    views: dict[str, Vectors] = {}
    for modality, mean in description.means.items():
        there = frozen.exists[modality][:, None]
        views[str(modality)] = unit((unit(frozen.vectors[modality]) - mean) * there)
    for one in description.columns:
        lines = one.lines(column_of(attributes, one.column))
        name = one.column if one.column not in views else f"{one.column} (attribute)"
        views[name] = unit(lines.astype(np.float32))
    return views
