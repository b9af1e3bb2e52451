"""How much is said of items: how many values an attribute has, how long its text is.

Things of which more is said are, as a rule, better known; the vectors do not tell.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from retrieval.features.column_encoders import AttributeColumn, Categories, column_of, several

TEXT = "text (length)"


def count_features(columns: Sequence[AttributeColumn], texts: Sequence[str], attributes: pa.Table) -> pa.Table:
    """Give amounts as columns: the logarithm of one and it, NaN where there is nothing.

    Args:
        columns: What describes; of categories, how many a line has is an amount.
        texts: Columns of texts; the length of the longest, in characters, is one.
        attributes: Of N items, texts among them.
    """
    counts = {
        f"{one.column} (how many)": np.array([len(line) for line in several(column_of(attributes, one.column))])
        for one in columns
        if isinstance(one, Categories)
    }
    if texts:
        counts[TEXT] = np.max([_lengths(column_of(attributes, name)) for name in texts], axis=0)
    return pa.table({name: np.where(line > 0, np.log1p(line), np.nan) for name, line in counts.items()})


def _lengths(texts: pa.ChunkedArray) -> NDArray[np.int64]:
    """Count the characters of N texts, or of all in lists of texts: (N,) int64."""
    if pt.is_list(texts.type) or pt.is_large_list(texts.type):
        lists = texts.combine_chunks()
        inside, lines = _lengths(pa.chunked_array([pc.list_flatten(lists)])), pc.list_parent_indices(lists).to_numpy()
        return np.bincount(lines, inside, minlength=len(texts)).astype(np.int64)
    lengths = pc.fill_null(pc.utf8_length(pc.cast(texts, pa.large_string())), 0)
    found: NDArray[np.int64] = lengths.to_numpy().astype(np.int64)
    return found
