"""Times of requests: numbers, texts, dates and times are read by one rule in Python and on the command line."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer

from indexing.errors import InputError, ShapeError
from retrieval.cli.options.users import _seconds
from retrieval.interactions.parse_values import request_seconds
from retrieval.retriever.query_inputs import UserHistories, checked_times

NOON = 1_717_243_200  # 2024-06-01T12:00:00Z
DAY = 86_400


@pytest.mark.parametrize(
    "moment",
    [
        NOON,
        np.int64(NOON),
        NOON * 1000,
        NOON * 10**6,
        NOON * 10**9,
        NOON + 0.25,
        np.float64(NOON),
        str(NOON),
        "2024-06-01T12:00:00",
        "2024-06-01 14:00+02:00",
        " 2024-06-01T12:00:00Z ",
        datetime(2024, 6, 1, 12),
        datetime(2024, 6, 1, 14, tzinfo=timezone(timedelta(hours=2))),
        np.datetime64("2024-06-01T12:00:00.999999"),
        pd.Timestamp("2024-06-01T12:00:00"),
        pd.Timestamp("2024-06-01T07:00:00", tz="America/Chicago"),
    ],
)
def test_a_moment_is_one_second_however_it_is_written(moment: object) -> None:
    assert request_seconds([moment], "times").tolist() == [NOON]
    if isinstance(moment, str | int):
        assert _seconds(str(moment)) == NOON  # the command line


@pytest.mark.parametrize("day", [date(2024, 6, 1), "2024-06-01", 20240601, np.datetime64("2024-06-01")])
def test_a_day_is_its_first_second(day: object) -> None:
    assert request_seconds([day], "times").tolist() == [NOON - DAY // 2]


def test_now_is_now() -> None:
    before = int(datetime.now(UTC).timestamp())
    assert before <= request_seconds([" NOW "], "times")[0] <= int(datetime.now(UTC).timestamp())


@pytest.mark.parametrize(
    "wrong",
    [
        -1,
        True,
        None,
        float("nan"),
        1e30,
        10**30,
        "soon",
        "",
        [NOON],
        pd.NaT,
        np.datetime64("NaT"),
        date(1969, 1, 1),
        b"1",
    ],
)
def test_what_is_no_time_is_named_with_a_way_out(wrong: object) -> None:
    with pytest.raises(InputError, match=r"times has .*, which cannot be read as a time; give a date or a time like"):
        request_seconds([NOON, wrong], "times")


def test_the_command_line_has_the_same_message() -> None:
    with pytest.raises(typer.BadParameter) as by_command:
        _seconds("soon")
    with pytest.raises(InputError) as in_python:
        request_seconds(["soon"], "--at")
    assert str(by_command.value) == str(in_python.value)


@pytest.mark.parametrize(
    "given",
    [
        [NOON, "2024-06-01"],
        np.array([NOON, NOON - DAY // 2]),
        np.array(["2024-06-01T12", "2024-06-01T00"], "datetime64[s]"),
        pd.to_datetime(["2024-06-01T12:00", "2024-06-01T00:00"]),
        pd.Series([NOON, NOON - DAY // 2], index=[7, 9]),
        pa.array([NOON * 1000, (NOON - DAY // 2) * 1000]),
        (datetime(2024, 6, 1, 12), date(2024, 6, 1)),
    ],
)
def test_lists_and_arrays_have_a_time_for_each(given: object) -> None:
    assert checked_times(given, 2, "times", "one for each").tolist() == [NOON, NOON - DAY // 2]
    users = UserHistories([np.array([], np.int64)] * 2, None, None, ())
    assert users.asking_at(given).times.tolist() == [NOON, NOON - DAY // 2]  # type: ignore[arg-type, union-attr]
    with pytest.raises(ShapeError, match="2 times for 3 users; give one for each"):
        checked_times(given, 3, "times", "one for each")


@pytest.mark.parametrize("moment", ["2024-06-01T12:00", datetime(2024, 6, 1, 12), np.datetime64("2024-06-01T12:00")])
def test_one_time_is_that_of_all(moment: object) -> None:
    users = UserHistories([np.array([], np.int64)] * 3, None, None, ())
    assert users.asking_at(moment).times.tolist() == [NOON] * 3  # type: ignore[arg-type, union-attr]
