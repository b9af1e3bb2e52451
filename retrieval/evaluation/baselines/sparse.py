"""Histories as the sparse matrices that `implicit` takes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from indexing.arrays.types import Rows
from indexing.catalogue.item_ids import ItemIds
from indexing.errors import import_extra
from retrieval.interactions.histories import histories
from retrieval.interactions.interactions import Interactions


def user_items(rows: Sequence[Rows], items: int) -> Any:  # noqa: ANN401 - scipy ships no types
    """Give a matrix (B, N) of float32 in CSR form: one where a history has an item, sorted by column."""
    sparse = import_extra("scipy.sparse", "baselines")
    ends = np.cumsum([0, *map(len, rows)])
    columns = np.concatenate([np.sort(line) for line in rows]) if len(rows) else np.empty(0, np.int64)
    return sparse.csr_matrix((np.ones(len(columns), np.float32), columns, ends), (len(rows), items))


def learned_from(past: Interactions, items: ItemIds) -> Any:  # noqa: ANN401
    """Give the matrix of all users of a past, sorted by user_id."""
    return user_items([history.rows for history in histories(past, items)], len(items))
