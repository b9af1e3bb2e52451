"""Random tables of pandas, polars and Arrow, through a catalogue and SQLite and back with ids, types and order.

Ten tables by default; ``COMMONSPACE_ROUND_TRIPS=1000`` draws as many as it says.
"""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexing import Catalogue
from indexing.catalogue.readers.arrow_tables import arrow_table
from indexing.catalogue.readers.sql import SqlTable, read_sql
from retrieval.batch.sql_output import write_sql

TABLES = int(os.environ.get("COMMONSPACE_ROUND_TRIPS", "10"))
WORD = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12)
IDS = st.one_of(WORD, st.sampled_from(["007", "1.0", "1e5", "NA", "null", "True", "-0"]))
NUMBER = st.floats(allow_nan=False, allow_infinity=False)
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20)),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "number": (pa.float64(), NUMBER),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates()),
    "moment": (pa.timestamp("us"), st.datetimes()),
    "cost": (pa.decimal128(15, 2), st.decimals("-9999999999999.99", "9999999999999.99", places=2)),
    "tags": (pa.list_(pa.string()), st.lists(WORD, max_size=3)),
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    """Items with ids that are easily taken for something else, a title, and columns of every kind with gaps."""
    # Where all ids are as in 1.0, a catalogue reads them without .0.
    ids = [*draw(st.lists(IDS.filter("mug".__ne__), max_size=6, unique=True)), "mug"]
    columns = {
        "item_id": pa.array(ids, pa.string()),
        "title": pa.array([f"{number} mug" for number in range(len(ids))]),
    }
    # One value at least; lists that are all empty have no type in JSON.
    for name in draw(st.lists(st.sampled_from(sorted(KINDS)), unique=True)):
        kind, values = KINDS[name]
        gaps = st.lists(st.none() | values, min_size=len(ids), max_size=len(ids))
        columns[name] = pa.array(
            draw(gaps.filter(lambda values: any(value not in (None, []) for value in values))), kind
        )
    return pa.table(columns)


@settings(max_examples=TABLES, suppress_health_check=list(HealthCheck))
@given(table=tables())
def test_a_table_survives_every_way_around(table: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> None:
    database = f"sqlite:///{database_file(tmp_path_factory)}"
    polars = pl.from_arrow(table)
    assert arrow_table(polars).equals(table)
    place = SqlTable.parse(f"{database}#goods")
    Path(place.redacted.removeprefix("sqlite:///")).unlink(missing_ok=True)
    write_sql(arrow_table(polars), place)
    assert read_sql(place).equals(table)
    expected = Catalogue.from_arrow(table).attributes
    assert expected["item_id"].to_pylist() == table["item_id"].to_pylist()
    assert expected.select(table.column_names).equals(table)
    assert Catalogue.open(str(place)).attributes.equals(expected)
    frame = expected.to_pandas(types_mapper=pd.ArrowDtype)
    assert Catalogue.from_pandas(frame).attributes.equals(expected)
    assert (
        Catalogue.from_pandas(expected.to_pandas().set_index("item_id"))
        .attributes["item_id"]
        .equals(expected["item_id"])
    )


def database_file(folders: pytest.TempPathFactory) -> Path:
    """One file for all tables of a run."""
    return folders.getbasetemp() / "round_trips.db"
