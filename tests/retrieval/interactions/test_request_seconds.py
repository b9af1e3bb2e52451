"""Times of requests: numbers, texts, dates and times are read by one rule in Python and on the command line."""

from datetime import UTC, date, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import typer

from indexing.catalogue.item_ids import ItemIds
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


@pytest.mark.parametrize("text", ["2024", " 0 ", "202406", "20241301", "99999999", "1717.5"])
def test_a_text_of_few_digits_is_no_time(text: str) -> None:
    with pytest.raises(
        InputError, match=f"times has '{text}', which may be a year or seconds since 1970; give seconds"
    ):
        request_seconds([NOON, text], "times")
    with pytest.raises(typer.BadParameter, match="give seconds as a number, or a date as 2024-01-01"):
        _seconds(text)  # the command line


def test_numbers_and_dates_in_digits_are_times() -> None:
    given = [2024, "20240601", "19700102", str(NOON), "1970-01-01T00:33:44"]
    assert request_seconds(given, "times").tolist() == [2024, NOON - DAY // 2, DAY, NOON, 2024]


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
        np.datetime64(2**62, "D"),
        np.timedelta64(3, "D"),
        timedelta(days=3),
        date(1969, 1, 1),
        b"1",
    ],
)
def test_what_is_no_time_is_named_with_a_way_out(wrong: object) -> None:
    with pytest.raises(
        InputError, match=r"times has .* at position 1 \(from 0\), which cannot be read as a time; give a"
    ):
        request_seconds([NOON, wrong], "times")
    with pytest.raises(InputError, match=r"times has .*, which cannot be read as a time; give a date or a time like"):
        request_seconds([wrong], "times")


@pytest.mark.parametrize("write", [int, float, str])
@pytest.mark.parametrize(
    "others",
    [[], [NOON], [NOON, NOON + 1], [20240602], [20240602, 20240603], [NOON * 10**9, NOON + 0.5], ["now", "2024-06-02"]],
)
def test_a_value_is_read_as_if_it_were_alone(others: list[int | float | str], write: type) -> None:
    day = NOON - DAY // 2
    given = [write(20240601), *others, write(NOON), write(202406011200)]
    found = request_seconds(given, "times").tolist()
    assert [found[0], *found[-2:]] == [day, NOON, NOON]
    if "now" not in others:
        assert found[1:-2] == [request_seconds([one], "times")[0] for one in others]


def test_whole_numbers_are_exact_beside_fractions() -> None:
    given = [1_764_500_001_000_000_000, 1_764_500_000.5, 1_764_500_000_999_999_999]  # float64 rounds the third up
    assert request_seconds(given, "times").tolist() == [1_764_500_001, 1_764_500_000, 1_764_500_000]


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
    items = ItemIds(["cup", "mug"])
    returning = UserHistories.of_lists([["cup"], ["mug", "cup"]], items, last_times=given)  # type: ignore[arg-type]
    assert returning.last is not None
    assert returning.last.tolist() == [NOON, NOON - DAY // 2]
    with pytest.raises(ShapeError, match="2 last_times for 1 users; give one for each history"):
        UserHistories.of_lists([["cup"]], items, last_times=given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "given",
    [
        [20240601, None, None],
        [20240601, "soon", -1],
        [20240601.0, float("nan"), pd.NA],
        pd.to_datetime(pd.Series(["2024-06-01", None, None])),
        pd.Series([20240601, None, None]),
        pd.Series([20240601, None, None], dtype="Int64"),
        np.array(["2024-06-01", "NaT", "NaT"], "datetime64[s]"),
        pa.array([date(2024, 6, 1), None, None]),
        pa.chunked_array([pa.array([20240601, None]), pa.array([None], pa.int64())]),
    ],
)
def test_the_last_time_of_an_empty_history_is_not_read(given: object) -> None:
    items = ItemIds(["cup"])
    users = UserHistories.of_lists([["cup"], [], []], items, last_times=given)  # type: ignore[arg-type]
    asked = users.asking_at(20240603)
    assert asked.idle is not None
    assert asked.idle.tolist() == [2, 0, 0]


def test_an_unknown_last_time_is_named_with_its_position_and_a_way_out() -> None:
    hint = (
        r"last_times has None .*at position 2 \(from 0\), .*; ask for users whose last time is not known in a request "
        "of their own without times"
    )
    with pytest.raises(InputError, match=hint):
        UserHistories.of_lists([[], ["cup"], ["cup"]], ItemIds(["cup"]), last_times=[None, NOON, None])


@pytest.mark.parametrize("moment", ["2024-06-01T12:00", datetime(2024, 6, 1, 12), np.datetime64("2024-06-01T12:00")])
def test_one_time_is_that_of_all(moment: object) -> None:
    users = UserHistories([np.array([], np.int64)] * 3, None, None, ())
    assert users.asking_at(moment).times.tolist() == [NOON] * 3  # type: ignore[arg-type, union-attr]
