"""Reading impressions: which columns and rows are used, and what is said of the others."""

from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing import ItemIds
from indexing.errors import InputError, InteractionsError
from retrieval import Impressions
from retrieval.interactions.impressions import SCHEMA, ImpressionColumns

DAY = 86_400
SHOWN = {
    "user": ["ann", "bob", "ann", "ann"],
    "item": ["mug", "mug", "cup", "mug"],
    "rank": [1, 3, 2, 4],
    "time": [4 * DAY, 2 * DAY, 4 * DAY, DAY],
}
EXPECTED = [
    {"user_id": "ann", "item_id": "mug", "position": 4, "timestamp": DAY, "request_id": None},
    {"user_id": "bob", "item_id": "mug", "position": 3, "timestamp": 2 * DAY, "request_id": None},
    {"user_id": "ann", "item_id": "mug", "position": 1, "timestamp": 4 * DAY, "request_id": None},
    {"user_id": "ann", "item_id": "cup", "position": 2, "timestamp": 4 * DAY, "request_id": None},
]


def test_a_table_and_files_of_it_are_read_alike_in_time_order(tmp_path: Path) -> None:
    table = pa.table(SHOWN)
    pq.write_table(table, tmp_path / "shown.parquet")
    lines = [";".join(SHOWN), *(";".join(map(str, row.values())) for row in table.to_pylist())]
    (tmp_path / "shown.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "shown.tsv").write_text("\n".join(lines).replace(";", "\t") + "\n")
    assert Impressions.from_arrow(table).table.to_pylist() == EXPECTED
    for name in ("shown.parquet", "shown.csv", "shown.tsv"):
        assert Impressions.open(tmp_path / name).table.to_pylist() == EXPECTED, name


@pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"])
def test_every_library_gives_the_same_impressions(made: Any) -> None:  # noqa: ANN401
    assert Impressions.open(made(SHOWN)).table.to_pylist() == EXPECTED
    assert Impressions.from_arrow(made(SHOWN)).table.to_pylist() == EXPECTED


def test_a_named_index_of_pandas_holds_users_and_moments_are_read() -> None:
    frame = pd.DataFrame({**SHOWN, "time": pd.to_datetime(SHOWN["time"], unit="s", utc=True)}).set_index("user")
    assert Impressions.from_pandas(frame).table.to_pylist() == EXPECTED
    with pytest.raises(InputError, match="the table of impressions has an index without a name, which holds 'ann'"):
        Impressions.from_pandas(frame.rename_axis(None))
    with pytest.raises(InputError, match="the table of impressions is a dict; give a pandas"):
        Impressions.from_arrow(SHOWN)


def test_impressions_are_read_from_a_database(tmp_path: Path) -> None:
    pd.DataFrame(SHOWN).to_sql("shown", f"sqlite:///{tmp_path}/shop.db", index=False)
    assert Impressions.open(f"sqlite:///{tmp_path}/shop.db#shown").table.to_pylist() == EXPECTED
    assert Impressions.open(f"sqlite:///{tmp_path}/shop.db#SELECT * FROM shown WHERE rank = 3").table.to_pylist() == [
        EXPECTED[1]
    ]


def test_requests_are_read_where_they_are_named() -> None:
    shown = Impressions.from_arrow(pa.table({**SHOWN, "listID": [7, 8, None, 9]}))
    assert shown.table["request_id"].to_pylist() == ["9", "8", "7", None]
    assert shown.table.schema.equals(SCHEMA)


def test_columns_are_named_by_the_caller() -> None:
    table = pa.table({**SHOWN, "row": [9, 9, 9, 9]})
    shown = Impressions.from_arrow(table, ImpressionColumns(position="row"))
    assert shown.table["position"].to_pylist() == [9, 9, 9, 9]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rank": [1, 0, 2, 3]}, r"1 of 4 rows .* first is 0 in row 1 .* column 'rank'; positions count from 1: add 1"),
        ({"rank": [1, 2, 2.5, None]}, r"2 of 4 rows .* first is 2.5 in row 2 .*; correct these rows"),
        ({"rank": ["1", "x", "2", "3"]}, r"first is 'x' in row 1"),
        ({"user": [None] * 4}, r"leaves no impressions: 4 rows, dropped {'blank user_id': 4}"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_row(changed: dict[str, object], message: str) -> None:
    with pytest.raises(InteractionsError, match=message):
        Impressions.from_arrow(pa.table({**SHOWN, **changed}))


def test_blank_rows_are_left_out_and_counted() -> None:
    shown = Impressions.from_arrow(pa.table({**SHOWN, "item": ["mug", "", "cup", "mug"]}))
    assert (len(shown), shown.dropped) == (3, {"blank item_id": 1})
    assert "row 1 (from 0)" in shown.examples["blank item_id"]


def test_a_missing_column_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(InteractionsError, match=r"no column 'position' or 'rank' or 'slot' and the like of positions"):
        Impressions.from_arrow(pa.table(SHOWN).drop_columns(["rank"]))
    with pytest.raises(InteractionsError, match=r"columns could be that of positions: 'rank', 'slot'") as caught:
        Impressions.from_arrow(pa.table({**SHOWN, "slot": [1, 1, 1, 1]}))
    assert "ImpressionColumns(position=" in str(caught.value)
    with pytest.raises(InteractionsError, match=r"ends in '.json'; impressions are read from"):
        Impressions.open(tmp_path / "shown.json")


def test_impressions_of_a_user_are_counted_in_the_days_before_a_request() -> None:
    shown, items = Impressions.from_arrow(pa.table(SHOWN)), ItemIds(["cup", "mug"])
    assert shown.counts_for("ann", items, 4 * DAY, 7) == {1: 2, 0: 1}
    assert shown.counts_for("ann", items, 4 * DAY, 3) == {1: 1, 0: 1}  # that of exactly three days ago is out
    assert shown.counts_for("ann", items, 4 * DAY - 1, 7) == {1: 1}
    assert shown.counts_for("ann", ItemIds(["mug"]), 4 * DAY, 7) == {0: 2}
    assert shown.counts_for("eve", items, 4 * DAY, 7) == {}
    assert (shown.latest, shown.knows("bob"), shown.knows("eve")) == (4 * DAY, True, False)


def test_another_table_has_another_digest() -> None:
    shown = Impressions.from_arrow(pa.table(SHOWN))
    assert shown.digest() == Impressions.from_arrow(pa.table(SHOWN)).digest()
    assert shown.digest() != Impressions.from_arrow(pa.table({**SHOWN, "rank": [1, 3, 2, 5]})).digest()


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(InputError, match=r"table"):
        Impressions.from_arrow([1])
