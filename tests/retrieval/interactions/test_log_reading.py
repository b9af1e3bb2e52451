"""Logs as programs write them: separators, names of columns, times in digits, changed ratings, ids that are floats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from indexing.errors import InteractionsError
from retrieval.interactions.columns import InteractionColumns
from retrieval.interactions.interactions import Interactions
from tests.logs import log, values

NOVEMBER = 1_699_920_000  # 2023-11-14 00:00:00 UTC


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_any_common_separator_is_read(tmp_path: Path, separator: str, suffix: str) -> None:
    lines = [["user_id", "item_id", "timestamp"], ["u1", '"a,b;c|d"', "1700000000"], ["u2", "2", "1700000100"]]
    path = tmp_path / f"log{suffix}"
    path.write_text("".join(separator.join(line) + "\n" for line in lines))
    found = Interactions.open(path)
    assert values(found, "item_id") == ["a,b;c|d", "2"]
    assert found.dropped == {}


def test_a_file_of_other_columns_says_which_it_has(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("who;what;when\nu;i;1\n")
    with pytest.raises(InteractionsError, match=r"of users; the columns are \['who', 'what', 'when'\]"):
        Interactions.open(path)
    named = InteractionColumns(user_id="who", item_id="what", timestamp="when")
    assert values(Interactions.open(path, columns=named), "item_id") == ["i"]


@pytest.mark.parametrize(
    "names",
    [
        ("userId", "movieId", "timestamp", "rating"),  # MovieLens
        ("USER_ID", "ITEM_ID", "TIMESTAMP", "WEIGHT"),
        ("reviewerID", "asin", "unix_timestamp", "overall"),
        ("user", "track_id", "ts", "stars"),
        ("Customer ID", "Product-Id", "Date", "Rating"),
        (" user_id", "item id", "created_at", "ratings"),
    ],
)
def test_common_names_are_found_in_any_case(names: tuple[str, str, str, str]) -> None:
    user, item, when, weight = names
    table = pa.table({"x": [0, 0], user: ["u", "v"], item: ["i", "j"], when: [20, 10], weight: [4, 5]})
    found = Interactions.from_arrow(table)
    assert (values(found, "user_id"), values(found, "item_id")) == (["v", "u"], ["j", "i"])
    assert (values(found, "timestamp"), values(found, "weight")) == ([10, 20], [5.0, 4.0])


def test_a_name_that_is_given_is_found_in_any_case() -> None:
    table = pa.table({"Member": ["u"], "Dish": ["i"]})
    assert values(Interactions.from_arrow(table, columns=InteractionColumns("member", "dish")), "item_id") == ["i"]


@pytest.mark.parametrize(
    ("names", "column", "option"),
    [
        (["user", "customer_id", "item"], "user_id", "--user-column"),
        (["user", "asin", "product_id"], "item_id", "--item-column"),
        (["user", "item", "date", "created_at"], "timestamp", "--time-column"),
    ],
)
def test_of_two_columns_that_would_do_neither_is_taken(names: list[str], column: str, option: str) -> None:
    table = pa.table([["x"]] * len(names), names=names)
    with pytest.raises(InteractionsError, match=r"several columns could be that of") as caught:
        Interactions.from_arrow(table)
    assert str(caught.value).endswith(f"say which it is with InteractionColumns({column}=…)")
    assert f"name it with {option}" in caught.value.for_terminal


@pytest.mark.parametrize(
    "given",
    [
        [20231114, 20231115],
        [20231114.0, 20231115.0],
        ["20231114", "20231115"],
        [202311140000, 202311150000],
        ["20231114000000", "20231115000000"],
        ["2023-11-14", "20231115"],
        ["2023-11-14 00:00:00 UTC", "2023-11-15 00:00:00.0 UTC"],  # BigQuery
        ["2023-11-14T00:00:00Z", "2023-11-15 00:00 GMT"],
        ["2023-11-14 01:00:00+01", "2023-11-15"],
    ],
)
def test_dates_are_read_however_they_are_written(given: list[Any]) -> None:
    found = Interactions.from_arrow(log(timestamp=given))
    assert values(found, "timestamp") == [NOVEMBER, NOVEMBER + 86_400]
    assert found.dropped == {}


def test_dates_in_digits_are_reported_and_those_that_are_none_dropped_with_a_value() -> None:
    found = Interactions.from_arrow(log(timestamp=[20231114, 20231345, 20230229, 20240229, 20231115]))
    assert values(found, "timestamp") == [NOVEMBER, NOVEMBER + 86_400, 1_709_164_800]
    assert found.repaired == {"time in YYYYMMDD": 3}
    assert found.dropped == {"time missing or unreadable": 2}
    assert found.examples == {"time missing or unreadable": "the first is 20231345 in row 1 (from 0)"}


def test_a_clock_that_starts_at_nothing_is_no_date() -> None:
    assert values(Interactions.from_arrow(log(timestamp=[20_150_000, 20_231_114, 20_999_999])), "timestamp") == [
        20_150_000,
        20_231_114,
        20_999_999,
    ]


@pytest.mark.parametrize(
    "given",
    [
        [1700000001200, 1700000000900, 1700000000400, 1700000000100],
        ["1700000001.2", "1700000000.9", "1700000000.4", "1700000000.1"],
        [1700000001.2, 1700000000.9, 1700000000.4, 1700000000.1],
        [f"2023-11-14T22:13:2{second}" for second in ("1.2", "0.9", "0.4", "0.1Z")],
        pa.array([1700000000_000000900 + add for add in (2, 1, 0, -1)], pa.timestamp("ns")),
        pa.array([1700000000_000900 + add for add in (2, 1, 0, -1)], pa.timestamp("us", "UTC")),
    ],
    ids=str,
)
def test_rows_of_the_same_second_are_in_the_order_of_their_full_times(given: Any) -> None:  # noqa: ANN401
    found = Interactions.from_arrow(log(item_id=["d", "c", "b", "a"], timestamp=given))
    assert values(found, "item_id") == ["a", "b", "c", "d"]
    assert found.table["timestamp"].type == pa.int64()


@pytest.mark.parametrize(
    ("column", "given", "reason", "example"),
    [
        ("timestamp", ["2023-11-14", None, "last week"], "time missing or unreadable", "'last week' in row 2"),
        (
            "timestamp",
            ["14/11/2023", "2023-11-14", "2023-11-15"],
            "time missing or unreadable",
            "'14/11/2023' in row 0",
        ),
        ("timestamp", [5, 10**11 - 1, 7], "impossible time", "99999999999 in row 1"),
        ("rating", ["4", "4,5", "3"], "weight missing or not finite", "'4,5' in row 1"),
        ("user_id", ["u", "NULL", "nan"], "user_id that stands for nobody", "'NULL' in row 1"),
    ],
)
def test_what_is_dropped_is_shown(column: str, given: list[Any], reason: str, example: str) -> None:
    found = Interactions.from_arrow(log(**{column: given}))
    assert found.dropped[reason] >= 1
    assert found.examples[reason] == f"the first is {example} (from 0)"


def test_a_log_of_which_nothing_is_left_shows_a_value() -> None:
    with pytest.raises(InteractionsError, match=r"time missing or unreadable: the first is '14.11.2023' in row 0"):
        Interactions.from_arrow(log(timestamp=["14.11.2023", "15.11.2023"]))


def test_the_row_that_is_shown_is_that_of_the_whole_log() -> None:
    table = log(timestamp=["x", "2023-11-14", "soon"], part=["a", "b", "b"])
    found = Interactions.from_arrow(table, only=("part", ("b",)))
    assert found.examples["time missing or unreadable"] == "the first is 'soon' in row 2 (from 0)"


def test_users_that_stand_for_nobody_are_no_user() -> None:
    found = Interactions.from_arrow(log(user_id=["NULL", "nan", "None", "nancy", "Null Island"]))
    assert values(found, "user_id") == ["nancy", "Null Island"]
    assert found.dropped == {"user_id that stands for nobody": 3}


def test_user_ids_that_pandas_made_floats_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user_id,item_id,timestamp\n1.0,8.0,1700000000\n,11.0,1700000060\n12.0,,1700000070\n12.0,v1,1700000080\n"
    )
    found = Interactions.open(path)
    assert values(found, "user_id") == ["1", "12"]
    assert found.repaired == {"user_id written with .0": 3}
    assert found.dropped == {"blank user_id": 1, "blank item_id": 1}


def test_user_ids_of_which_one_is_no_number_stay() -> None:
    assert values(Interactions.from_arrow(log(user_id=["1.0", "v2.0"])), "user_id") == ["1.0", "v2.0"]


CHANGED = {
    "user_id": ["u", "u", "u", "v", "u"],
    "item_id": ["a", "b", "a", "a", "a"],
    "timestamp": [10, 20, 30, 40, 25],
}


def test_the_last_rating_counts_from_its_own_time() -> None:
    found = Interactions.from_arrow(log(**CHANGED, rating=[5, 4, 1, 3, 2]))
    assert [tuple(line.values()) for line in found.table.to_pylist()] == [
        ("u", "b", 20, 4.0),
        ("u", "a", 30, 1.0),
        ("v", "a", 40, 3.0),
    ]
    assert found.dropped == {"changed by a later rating": 2}
    assert found.repeats == "last"


def test_the_least_weight_is_asked_of_the_last_rating() -> None:
    found = Interactions.from_arrow(log(**CHANGED, rating=[5, 4, 1, 3, 2]), min_weight=3)
    assert list(zip(values(found, "user_id"), values(found, "item_id"), strict=True)) == [("u", "b"), ("v", "a")]


def test_events_keep_all_rows_and_weigh_as_before() -> None:
    found = Interactions.from_arrow(log(**CHANGED, weight=[5, 4, 1, 3, 2]))
    assert (len(found), found.repeats, found.dropped) == (5, "max", {})


def test_counts_are_added_up() -> None:
    found = Interactions.from_arrow(log(**CHANGED, weight=[5, 4, 1, 3, 2]), repeats="sum", min_weight=4)
    assert [tuple(line.values()) for line in found.table.to_pylist()] == [("u", "b", 20, 4.0), ("u", "a", 30, 8.0)]
    assert found.repaired == {"added to a later one": 2}


def test_ratings_can_be_counted_by_their_largest() -> None:
    found = Interactions.from_arrow(log(**CHANGED, rating=[5, 4, 1, 3, 2]), repeats="max")
    assert len(found) == 5


def test_another_way_to_count_is_refused() -> None:
    with pytest.raises(InteractionsError, match=r"repeats='first' of type str is none of 'last', 'sum', 'max'"):
        Interactions.from_arrow(log(rating=[1]), repeats="first")  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [Interactions.open, Interactions.from_csv])
def test_every_way_to_read_takes_the_same_options(read: Callable[..., Interactions], tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("who,item,rating,kind\na,x,5,view\na,y,2,view\nb,x,4,buy\nb,y,5,buy\nb,z,5,skip\n")
    options: dict[str, Any] = {
        "columns": InteractionColumns(user_id="who", event="kind"),
        "min_weight": 8,
        "only": ("kind", ("view", "buy")),
        "events": {"view": 1, "buy": 2},
        "repeats": "last",
    }
    found = read(path, **options)
    assert values(found, "user_id") == ["b", "b"]
    assert values(found, "weight") == [8.0, 10.0]
    assert found.repeats == "last"
    with pytest.raises(TypeError, match="unexpected keyword argument 'min_wieght'"):
        read(path, min_wieght=4)
