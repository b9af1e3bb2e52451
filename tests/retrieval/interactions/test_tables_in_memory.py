"""Logs and profiles from tables in memory: the same as from an Arrow table, whatever library holds them."""

from collections.abc import Callable
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.errors import InputError
from retrieval import Impressions, Interactions, Profiles, fit
from retrieval.batch.tables import MemoryTables
from retrieval.interactions.context import request_context
from retrieval.retriever.query_inputs import as_log

LOG = {"user": [7.0, 8.0, None], "item_id": ["mug", "cup", "cup"], "rating": [5, 1, 3]}
TIMES = pd.to_datetime(["2024-03-01 13:30", "2024-03-01 12:00", "2024-03-01 12:00"])
NOON = 1_709_294_400  # 2024-03-01 12:00 UTC


def expected(log: Interactions) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in log.table.to_pylist()]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_a_log_in_pandas_keeps_moments_and_ids(zone: str | None) -> None:
    times = TIMES if zone is None else TIMES.tz_localize(zone)
    log = Interactions.from_pandas(pd.DataFrame({**LOG, "time": times}))
    shift = 3600 if zone == "Europe/Berlin" else 0
    assert expected(log) == [("8", "cup", NOON - shift, 1.0), ("7", "mug", NOON + 5400 - shift, 5.0)]
    assert log.dropped == {"blank user_id": 1}


@pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"])
def test_every_library_gives_the_same_log_and_profiles(made: Any) -> None:  # noqa: ANN401
    log = Interactions.open(made({**LOG, "timestamp": [20, 10, 5]}))
    assert expected(log) == [("8", "cup", 10, 1.0), ("7", "mug", 20, 5.0)]
    profiles = Profiles.open(made({"user": ["ann", "bob"], "age": [31, 52]}))
    assert profiles.of(["bob", "cid"]).to_pylist() == [{"age": 52}, {"age": None}]


def test_a_named_index_holds_users() -> None:
    users = pd.Index(["ann", "bob"], name="user_id")
    log = Interactions.from_pandas(pd.DataFrame({"item_id": ["mug", "cup"], "timestamp": [1, 2]}, index=users))
    assert log.table["user_id"].to_pylist() == ["ann", "bob"]
    assert Profiles.from_pandas(pd.DataFrame({"age": [3, 4]}, index=users)).of(["bob"]).to_pylist() == [{"age": 4}]
    with pytest.raises(InputError, match="index without a name, which holds 'ann', 'bob'; name it"):
        Interactions.from_pandas(pd.DataFrame({"item_id": ["mug", "cup"]}, index=["ann", "bob"]))


def test_a_column_name_that_comes_twice_is_refused() -> None:
    with pytest.raises(InputError, match="the table of profiles has more than one column named 'age'"):
        Profiles.from_arrow(pa.table([["ann"], [1], [2]], names=["user_id", "age", "age"]))


def test_a_lazy_frame_is_refused_with_a_way_out_by_whatever_takes_tables() -> None:
    lazy = pl.DataFrame({"user_id": ["a"], "item_id": ["mug"], "history": [["mug"]]}).lazy()
    readers: list[Callable[[Any], Any]] = [
        Interactions.open,
        Profiles.open,
        Impressions.open,
        Catalogue.open,
        MemoryTables,
        lambda given: as_log(given, None),
        lambda given: request_context(given, {"device": ("phone", "tv")}, None, 1),
        lambda given: fit("nowhere", given),
    ]
    for read in readers:
        with pytest.raises(InputError, match=r"is a LazyFrame; collect it first: frame\.collect\(\)"):
            read(lazy)


@pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"])
def test_a_job_takes_users_as_a_table(made: Callable[[dict[str, Any]], Any]) -> None:
    tables = MemoryTables(made({"user_id": ["a", "b"], "history": [["mug"], ["cup", "jar"]]}))
    (table,) = tables.pieces(["user_id", "history"], 0, 10)
    assert table.to_pydict() == {"user_id": ["a", "b"], "history": [["mug"], ["cup", "jar"]]}
