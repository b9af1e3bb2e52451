"""Logs and profiles from tables in memory: the same as from an Arrow table, whatever library holds them."""

from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from indexing.errors import InputError
from retrieval import Interactions, Profiles

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
