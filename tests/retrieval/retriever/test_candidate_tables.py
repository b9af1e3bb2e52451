"""Candidates as DataFrames of pandas and polars, and judged queries from such tables."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from indexing import ItemIds
from indexing.catalogue.readers.arrow_tables import arrow_table
from indexing.errors import InputError
from retrieval import Candidates, evaluate


def listed() -> Candidates:
    """Two queries, of which the second has one hit."""
    rows, scores = np.array([[2, 0], [1, -1]]), np.array([[0.75, 0.5], [0.25, -np.inf]], np.float32)
    return Candidates(
        np.zeros((2, 4), np.float32), rows, scores, ItemIds(["007", "1.0", "mug"]), "retrieve", ("u1", "2")
    )


HITS = [("u1", "mug", 1, 0.75), ("u1", "007", 2, 0.5), ("2", "1.0", 1, 0.25)]


def test_hits_as_tables_of_each_library_and_back() -> None:
    found, names = listed(), ["query_id", "item_id", "rank", "score"]
    assert list(found.to_pandas()[names].itertuples(index=False, name=None)) == HITS
    assert found.to_polars()[names].rows() == HITS
    assert arrow_table(found.to_pandas()).equals(found.to_arrow())
    assert arrow_table(found.to_polars()).equals(found.to_arrow())


def test_judged_queries_from_a_table() -> None:
    judged = {"query_id": ["u1", "2", "2"], "item_id": ["007", "1.0", "mug"], "relevance": [1, 2, 0]}
    for table in (pd.DataFrame(judged), pl.DataFrame(judged), pa.table(judged)):
        assert evaluate(listed(), table, measures=["mrr@2", "recall@2"]).means == {"mrr@2": 0.75, "recall@2": 1.0}


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        ({"query_id": ["u1", "3"], "item_id": ["mug", "mug"]}, r"row 1 \(from 0\) .* has the query '3'"),
        ({"query_id": ["u1", None], "item_id": ["mug", "mug"]}, r"row 1 \(from 0\) .* is None, 'mug', 1"),
        ({"query_id": ["u1"], "item": ["mug"]}, r"lacks the columns \['item_id'\]"),
    ],
)  # fmt: skip
def test_a_judgement_of_no_use_is_refused(judged: dict[str, list[object]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(listed(), pa.table(judged))
