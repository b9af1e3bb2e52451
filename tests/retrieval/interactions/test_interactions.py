"""Logs as they are found in the wild, by value: what is read, what is repaired, what is dropped and why."""

import time
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.errors import InteractionsError
from retrieval.interactions.interactions import InteractionColumns, Interactions
from tests.logs import log, values

NOON = 1_714_564_800  # 2024-05-01 12:00:00 UTC


def test_rows_are_in_time_order_and_ties_keep_the_order_of_the_log() -> None:
    found = Interactions.from_arrow(log(timestamp=[30, 10, 20, 10, 20]))
    assert values(found, "item_id") == ["i1", "i3", "i2", "i4", "i0"]
    assert values(found, "timestamp") == [10, 10, 20, 20, 30]
    assert found.table.schema.names == ["user_id", "item_id", "timestamp", "weight"]
    assert found.table.schema.types == [pa.string(), pa.string(), pa.int64(), pa.float32()]
    assert (found.dropped, found.repaired) == ({}, {})


def test_without_times_and_weights_the_log_is_in_order_and_weighs_one() -> None:
    found = Interactions.from_arrow(log(item_id=["c", "a", "b"]))
    assert values(found, "item_id") == ["c", "a", "b"]
    assert values(found, "timestamp") == [0, 0, 0]
    assert values(found, "weight") == [1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    "given",
    [
        pa.array([NOON], pa.int64()),
        pa.array([NOON], pa.uint32()),
        pa.array([NOON + 0.9], pa.float64()),
        pa.array([NOON], pa.timestamp("s")),
        pa.array([NOON * 10**3 + 999], pa.timestamp("ms")),
        pa.array([NOON * 10**6 + 999_999], pa.timestamp("us", tz="Asia/Tokyo")),
        pa.array([NOON * 10**9 + 999_999_999], pa.timestamp("ns", tz="UTC")),
        pa.array(["2024-05-01T12:00:00"]),
        pa.array(["2024-05-01 12:00:00.75"]),
        pa.array(["2024-05-01T12:00:00Z"]),
        pa.array(["2024-05-01T14:00:00+02:00"], pa.large_string()),
        pa.array([" 2024-05-01T12:00 "]),
        pa.array(["2024-05-01 12:00"]).dictionary_encode(),
        pa.array([f"{NOON}"]),
        pa.array([f"{NOON}.0"], pa.string_view()),
    ],
    ids=lambda given: f"{given.type} {given[0]}",
)
def test_times_become_seconds(given: pa.Array) -> None:
    found = Interactions.from_arrow(log(timestamp=given))
    assert values(found, "timestamp") == [NOON]
    assert (found.dropped, found.repaired) == ({}, {})


@pytest.mark.parametrize(
    "given", [pa.array([date(2024, 5, 1)], pa.date32()), pa.array([date(2024, 5, 1)], pa.date64()), ["2024-05-01"]]
)
def test_a_date_is_its_first_second(given: object) -> None:
    assert values(Interactions.from_arrow(log(timestamp=given)), "timestamp") == [NOON - 12 * 3600]


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")])
@pytest.mark.parametrize("as_text", [False, True])
def test_finer_units_are_recognised_row_by_row_and_said(factor: int, unit: str, as_text: bool) -> None:
    given: list[Any] = [NOON + 5, (NOON + 2) * factor + factor - 1, (NOON + 1) * factor]
    found = Interactions.from_arrow(log(timestamp=[str(one) for one in given] if as_text else given))
    assert values(found, "timestamp") == [NOON + 1, NOON + 2, NOON + 5]
    assert found.repaired == {f"time in {unit}": 2}


@pytest.mark.parametrize(
    ("column", "given", "reason"),
    [
        ("user_id", None, "blank user_id"),
        ("user_id", "", "blank user_id"),
        ("user_id", " \t", "blank user_id"),
        ("item_id", None, "blank item_id"),
        ("item_id", "  ", "blank item_id"),
        ("weight", None, "weight missing or not finite"),
        ("weight", float("nan"), "weight missing or not finite"),
        ("weight", float("inf"), "weight missing or not finite"),
        ("weight", float("-inf"), "weight missing or not finite"),
        ("weight", 1e39, "weight missing or not finite"),  # beyond float32
        ("timestamp", None, "time missing or unreadable"),
        ("timestamp", -1, "impossible time"),
        pytest.param("timestamp", int(time.time()) + 3 * 86_400, "impossible time", id="in three days"),
        ("timestamp", 50_000_000_000, "impossible time"),  # the year 3554
        ("timestamp", -(2**63), "time missing or unreadable"),
        ("timestamp", float("nan"), "time missing or unreadable"),
        ("timestamp", float("inf"), "time missing or unreadable"),
        ("timestamp", "yesterday", "time missing or unreadable"),
        ("timestamp", "2024-02-31", "time missing or unreadable"),
        ("timestamp", "1969-12-31", "impossible time"),
        ("timestamp", "9999-12-31", "impossible time"),
        ("timestamp", "9" * 30, "time missing or unreadable"),
        ("timestamp", datetime(1969, 7, 20, tzinfo=UTC), "impossible time"),
        ("timestamp", datetime(2999, 1, 1), "impossible time"),
    ],
)
def test_a_bad_row_is_dropped_and_counted(column: str, given: object, reason: str) -> None:
    good: object = {"user_id": "u", "item_id": "i", "weight": 2.5, "timestamp": NOON}[column]
    if column == "timestamp" and isinstance(given, str | float):
        good = type(given)(NOON)
    if isinstance(given, datetime):
        good = given.replace(year=2024)
    found = Interactions.from_arrow(log(**{column: [good, given, good]}))
    assert len(found) == 2
    assert found.dropped == {reason: 1}


def test_a_row_with_several_faults_is_counted_once() -> None:
    found = Interactions.from_arrow(log(user_id=["", "u"], timestamp=[-5, 5], weight=[float("nan"), 1.0]))
    assert found.dropped == {"blank user_id": 1}


def test_the_near_future_is_allowed_for_clocks_that_run_fast() -> None:
    assert len(Interactions.from_arrow(log(timestamp=[int(time.time()) + 3600]))) == 1


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (pa.array([7, 12], pa.int32()), ["7", "12"]),
        (pa.array([7.0, None, 12.0]), ["7", "12"]),  # whole numbers as pandas stores them beside a missing one
        (pa.array(["007", "12"]), ["007", "12"]),
        (pa.array(["b", "a", "b"]).dictionary_encode(), ["b", "a", "b"]),
        (pa.array(["b", "a"], pa.large_string()), ["b", "a"]),
        (pa.array([b"b", b"a"]), None),
        (pa.array([1.5, 2.0]), None),
        (pa.array([True, False]), None),
        (pa.array([["a"], ["b"]]), None),
    ],
    ids=lambda given: str(given.type) if isinstance(given, pa.Array) else "",
)
def test_ids_are_text_or_whole_numbers(given: pa.Array, expected: list[str] | None) -> None:
    table = pa.table({"user_id": ["u"] * len(given), "item_id": given})
    if expected is None:
        with pytest.raises(
            InteractionsError,
            match=r"column 'item_id' (of type .* cannot hold|holds bytes .*are no) ids",
        ):
            Interactions.from_arrow(table)
    else:
        assert values(Interactions.from_arrow(table), "item_id") == expected


@pytest.mark.parametrize("column", ["timestamp", "weight"])
def test_columns_of_other_kinds_are_refused(column: str) -> None:
    with pytest.raises(InteractionsError, match=f"column '{column}' of type list.* cannot hold"):
        Interactions.from_arrow(log(**{column: [[1], [2]]}))


@pytest.mark.parametrize(
    "names", [("user", "item", "datetime", "rating"), ("user", "item", "time", "weight"), ("a", "b", "c", "d")]
)
def test_columns_by_alias_and_by_name(names: tuple[str, str, str, str]) -> None:
    user, item, when, weight = names
    table = pa.table({user: ["u", "v"], item: ["i", "j"], when: [20, 10], weight: [4, 5], "other": [0, 0]})
    columns = InteractionColumns(*names) if user == "a" else None
    found = Interactions.from_arrow(table, columns=columns)
    assert found.table.to_pylist() == [
        {"user_id": "v", "item_id": "j", "timestamp": 10, "weight": 5.0},
        {"user_id": "u", "item_id": "i", "timestamp": 20, "weight": 4.0},
    ]


def test_the_name_itself_goes_before_its_alias() -> None:
    found = Interactions.from_arrow(log(weight=[2.0], rating=[5.0], time=[7], timestamp=[9]))
    assert (values(found, "weight"), values(found, "timestamp")) == ([2.0], [9])


def test_columns_can_be_ignored() -> None:
    found = Interactions.from_arrow(
        log(timestamp=[9, 7], rating=[5.0, 4.0]), columns=InteractionColumns(timestamp=None, weight=None)
    )
    assert (values(found, "weight"), values(found, "timestamp")) == ([1.0, 1.0], [0, 0])


def test_min_weight_keeps_that_weight_and_counts_nothing_as_dropped() -> None:
    table = log(rating=[3.9, 4.1, 5.0, None])
    found = Interactions.from_arrow(table, min_weight=4.1)  # not equal to itself in single precision
    assert values(found, "item_id") == ["i1", "i2"]
    assert found.dropped == {"weight missing or not finite": 1}


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (["train", "valid", "test", None], ("train", "valid")),
        (pa.array(["train", "valid", "test", "x"]).dictionary_encode(), ("train", "valid")),
        ([True, True, False, None], ("true",)),
        ([1, 2, 3, None], ("1", "2")),
    ],
)
def test_only_rows_with_these_values_are_read(part: object, wanted: tuple[str, ...]) -> None:
    found = Interactions.from_arrow(log(user_id=["u", "u", "", "u"], part=part), only=("part", wanted))
    assert values(found, "item_id") == ["i0", "i1"]
    assert found.dropped == {}  # the row without a user was not asked for


def test_missing_columns_are_named_with_those_there_are() -> None:
    table = pa.table({"customer": ["u"], "item": ["i"], "score": [5]})
    with pytest.raises(
        InteractionsError,
        match=r"no column 'user_id' or 'user' or 'customer_id' .* of users; the columns are \['customer', 'item'",
    ):
        Interactions.from_arrow(table)
    with pytest.raises(InteractionsError, match=r"no column 'who' of users; .*InteractionColumns\(user_id=…\)"):
        Interactions.from_arrow(table, columns=InteractionColumns(user_id="who"))
    named = InteractionColumns(user_id="customer")
    with pytest.raises(InteractionsError, match="no column 'when'"):
        Interactions.from_arrow(table, columns=InteractionColumns(user_id="customer", timestamp="when"))
    with pytest.raises(InteractionsError, match=r"a minimum weight needs a column of weights; .* \['customer'"):
        Interactions.from_arrow(table, columns=named, min_weight=4)
    with pytest.raises(InteractionsError, match=r"no column 'split'; the columns are \['customer'"):
        Interactions.from_arrow(table, columns=named, only=("split", ("train",)))
    twice = pa.table([["u"], ["i"], ["j"]], names=["user_id", "item_id", "item_id"])
    with pytest.raises(InteractionsError, match="more than one column 'item_id'"):
        Interactions.from_arrow(twice)


@pytest.mark.parametrize(
    ("table", "wishes", "message"),
    [
        (log(item_id=pa.array([], pa.string())), {}, r"has no rows"),
        (log(item_id=["", " "]), {}, r"2 rows, 2 selected, dropped 2 \(blank item_id\)"),
        (
            log(part=["a", "b"]),
            {"only": ("part", ("c",))},
            r"2 rows, 0 selected, dropped none, conditions: part of 'c'",
        ),
        (
            log(rating=[1, 2]),
            {"min_weight": 4},
            r"2 selected, dropped none, conditions: a weight of 4 and more; the columns",
        ),
    ],
)
def test_a_log_that_leaves_nothing_is_refused(table: pa.Table, wishes: dict[str, Any], message: str) -> None:
    with pytest.raises(InteractionsError, match=message):
        Interactions.from_arrow(table, **wishes)


def test_parquet_csv_and_arrow_read_the_same(tmp_path: Path) -> None:
    table = log(
        item_id=["007", "a,b", 'say "hi"'], timestamp=[30, 10, 20], rating=[4.0, 5.0, 3.5], note=["x\ny", "", "z"]
    )
    expected = Interactions.from_arrow(table)
    pq.write_table(table, tmp_path / "log.parquet")
    rows = ["user_id,item_id,timestamp,rating,note", 'u0,007,30,4.0,"x\ny"', 'u1,"a,b",10,5.0,']
    (tmp_path / "log.csv").write_text("\n".join([*rows, 'u2,"say ""hi""",20,3.5,z', ""]), encoding="utf-8-sig")
    tabs = 'user_id\titem_id\ttimestamp\trating\nu0\t007\t30\t4.0\nu1\ta,b\t10\t5\nu2\t"say ""hi"""\t20\t3.5\n'
    (tmp_path / "log.TSV").write_text(tabs)
    for name in ("log.parquet", "log.csv", "log.TSV"):
        assert Interactions.open(tmp_path / name) == expected, name
        assert Interactions.open(str(tmp_path / name)).dropped == {}


def test_csv_counts_what_it_cannot_use(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,rating,datetime\n"
        "ann,mug,5,2024-05-01T12:00:00Z\n"
        "ann,cup\n"
        "bob,cup,5,1714564801000,extra\n"
        "bob,jar,,1714564801\n"
        "cem,jar,good,1714564801\n"
        "dan,jar,3,\n"
        ",jar,3,1714564801\n"
        "eve,jar,3,1714564799000\n"
    )
    found = Interactions.from_csv(path)
    assert values(found, "user_id") == ["eve", "ann"]
    assert found.dropped == {
        "wrong number of columns": 2,
        "blank user_id": 1,
        "weight missing or not finite": 2,
        "time missing or unreadable": 1,
    }
    assert found.repaired == {"time in milliseconds": 1}


def test_csv_takes_the_same_wishes(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("who,what,stars,part\nu,i,5,train\nu,j,3,train\nu,k,5,test\n")
    columns = InteractionColumns(user_id="who", item_id="what", weight="stars")
    found = Interactions.open(path, columns=columns, min_weight=4, only=("part", ("train",)))
    assert values(found, "item_id") == ["i"]


def test_a_folder_of_parquet_files_is_one_log(tmp_path: Path) -> None:
    for name, start in (("a", 10), ("b", 0)):
        pq.write_table(log(timestamp=[start, start + 1]), tmp_path / f"{name}.parquet")
    assert values(Interactions.from_parquet(tmp_path), "timestamp") == [0, 1, 10, 11]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("log.parquet", b"PAR1 but not really", "cannot be read as Parquet"),
        ("log.parquet", b"", "cannot be read as Parquet"),
        ("log.csv", b"", r"no column 'user_id' or 'user' or 'customer_id' and the like of users; the columns are \[\]"),
        ("log.csv", b"user_id,item_id\n", "has no rows"),
        ("log.csv", b"user_id,item_id\n\xff\xfe,\xff\n", "cannot be read as CSV"),
        ("log.csv", b"\xff\xfeuser_id", "cannot be read as CSV"),
        ("log.csv", b"\x00\x01\x02", "cannot be read as CSV|no column"),
        ("log.xlsx", b"", r"ends in '.xlsx'; interactions are read from .parquet, .csv, .tsv and .inter files"),
        ("log", b"", "ends in ''"),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InteractionsError, match=message):
        Interactions.open(tmp_path / name)


@pytest.mark.parametrize("name", ["missing.parquet", "missing.csv"])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InteractionsError, match=f"{name}: there is no such file"):
        Interactions.open(tmp_path / name)


def test_a_table_of_another_shape_or_order_is_no_interactions() -> None:
    table = Interactions.from_arrow(log(timestamp=[1, 2])).table
    with pytest.raises(InteractionsError, match=r"the columns are \['user_id', 'item_id', 'timestamp'\]"):
        Interactions(table.drop_columns("weight"))
    with pytest.raises(InteractionsError, match="not in time order"):
        Interactions(table.take([1, 0]))


def test_zones_do_not_change_the_order() -> None:
    zones = [timezone(timedelta(hours=hours)) for hours in (9, -7, 0)]
    moments = [datetime.fromtimestamp(NOON + second, zone) for second, zone in enumerate(zones)]
    found = Interactions.from_arrow(log(timestamp=[moment.isoformat() for moment in moments]))
    np.testing.assert_array_equal(found.table["timestamp"].to_numpy(), NOON + np.arange(3))
    assert values(found, "item_id") == ["i0", "i1", "i2"]


def test_partitions_and_dictionaries_of_several_files_are_one_log(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"split={part}").mkdir()
        table = pa.table({"user": pa.array([f"{part}-user"]).dictionary_encode(), "item": ["i"]})
        pq.write_table(table, tmp_path / f"split={part}" / "0.parquet")
    assert values(Interactions.from_parquet(tmp_path), "user_id") == ["test-user", "train-user"]
    assert values(Interactions.from_parquet(tmp_path, only=("split", ("train",))), "user_id") == ["train-user"]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_a_missing_timestamp_is_missing_in_every_unit(unit: str) -> None:
    given = pa.array([datetime(2024, 5, 1, 12), None], pa.timestamp(unit))
    assert Interactions.from_arrow(log(timestamp=given)).dropped == {"time missing or unreadable": 1}


def test_line_breaks_in_a_large_csv_do_not_cut_rows(tmp_path: Path) -> None:
    review = "good\n" * 20
    text = "".join(f'u{number},i,"{review}"\n' for number in range(20_000))  # twice what Arrow parses at a time
    (tmp_path / "log.csv").write_text("user,item,review\n" + text)
    found = Interactions.open(tmp_path / "log.csv")
    assert (len(found), found.dropped) == (20_000, {})
