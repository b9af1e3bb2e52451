"""Which columns become attributes, which are left out with what reason, and which are text because of which value."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import NamedColumns
from retrieval.filters import matching

IDS = ["a", "b", "c"]


def opened(folder: Path, name: str, text: str) -> Catalogue:
    (folder / name).write_text(text, encoding="utf-8")
    return Catalogue.open(folder / name)


def of_columns(folder: Path, **columns: pa.Array) -> Catalogue:
    arrays = {"item_id": pa.array(IDS), "title": pa.array(["mug", "lamp", "rug"]), **columns}
    pq.write_table(pa.table(arrays), folder / "items.parquet")
    return Catalogue.open(folder / "items.parquet")


def ids(catalogue: Catalogue, where: str) -> list[str]:
    mask = matching(catalogue.attributes, where)
    return [item_id for item_id, kept in zip(catalogue.attributes["item_id"].to_pylist(), mask, strict=True) if kept]


@pytest.mark.parametrize(
    ("column", "where", "found"),
    [
        (pa.array([Decimal("5.00"), Decimal("99.99"), None], pa.decimal128(9, 2)), "x = 99.99", ["b"]),
        (pa.array([Decimal(5), Decimal(99), None], pa.decimal256(60, 0)), "x > 5", ["b"]),
        (pa.array([time(8), time(14, 30), None], pa.time32("ms")), "x < 12:00", ["a"]),
        (pa.array([timedelta(hours=1), timedelta(seconds=9), None], pa.duration("ns")), "x >= 3600", ["a"]),
        (pa.array([0.5, 2.5, None], pa.float16()), "x > 1", ["b"]),
        (pa.array([date(2024, 1, 1), None, date(2025, 1, 1)], pa.date64()), "x > 2024-06-01", ["c"]),
        (pa.array([datetime(2024, 1, 1), None, None], pa.timestamp("ns", "Europe/Rome")), "x is present", ["a"]),
        (pa.array([3, None, 5]).dictionary_encode(), "x >= 4", ["c"]),
        (pa.array([[1, 3], [], None], pa.list_(pa.int32())), "x contains 3", ["a"]),
        (pa.array([[1.5], [2.5, 3], None], pa.large_list(pa.float32())), "x contains 2.5", ["b"]),
        (pa.array([[True], [False], None]), "x contains true", ["a"]),
        (pa.array([[1, 2], [3, 4], None], pa.list_(pa.int8(), 2)), "x contains 4", ["b"]),
        (pa.array([["x"], ["y"], None], pa.list_(pa.string(), 1)), "x contains y", ["b"]),
        (pa.array([[Decimal("1.5")], [], None]), "x contains 1.50", ["a"]),
        (pa.array([[time(8)], [], None], pa.list_(pa.time64("us"))), "x contains 08:00", ["a"]),
    ],
)
def test_what_can_be_compared_is_an_attribute(tmp_path: Path, column: pa.Array, where: str, found: list[str]) -> None:
    catalogue = of_columns(tmp_path, x=column)
    assert catalogue.report.columns_left_out == {}
    assert ids(catalogue, where) == found


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pa.array([{"k": 1}, None, None]), "objects cannot be compared; make a column of each of their fields"),
        (pa.array([[("k", 1)], None, None], pa.map_(pa.string(), pa.int8())), "maps cannot be compared"),
        (pa.array([b"x", None, None]), "binary cannot be compared"),
        (pa.array([b"x", None, None], pa.binary(1)), r"fixed_size_binary\[1\] cannot be compared"),
        (pa.nulls(3), "no row has a value"),
        (pa.array([[["x"]], None, None]), "only lists of single values can be compared"),
        (pa.array([[{"k": 1}], None, None]), "only lists of single values can be compared"),
        (pa.array([[0.1] * 65, None, None]), "a list of 65 numbers is taken for a vector: call it x_vector"),
    ],
)
def test_what_cannot_be_compared_is_named_with_the_reason(tmp_path: Path, column: pa.Array, reason: str) -> None:
    catalogue = of_columns(tmp_path, x=column)
    assert catalogue.attributes.column_names == ["item_id", "title"]
    assert list(catalogue.report.columns_left_out) == ["x"] == list(catalogue.report.ignored_columns)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(catalogue.report.columns_left_out["x"])


def test_twins_are_left_out_with_the_reason(tmp_path: Path) -> None:
    table = pa.table([["a"], ["mug"], [1], [2]], names=["item_id", "title", "x", "x"])
    pq.write_table(table, tmp_path / "items.parquet")
    report = Catalogue.open(tmp_path / "items.parquet").report
    assert report.columns_left_out == {"x": "2 columns have this name"}
    assert report.to_json()["columns_left_out"] == report.columns_left_out


@pytest.mark.parametrize(
    ("name", "text", "reasons"),
    [
        (
            "min.csv",
            "item_id,title,price\na,mug,5\nb,lamp,10\nc,chair,100\nd,sofa,call us\n",
            {"price": "because of 'call us' in row 3"},
        ),
        (
            "price.csv",
            "item_id,title,price,year\na,mug,5,1990\nb,lamp,10,2001\nc,chair,100,2015\nd,sofa,call us,n/a\n"
            'e,rug,"1,299.00",c. 1890\n',
            {"price": "because of 'call us' in row 3", "year": "because of 'c. 1890' in row 4"},
        ),
        (
            "thousands.csv",
            'item_id,title,price,due\na,mug,5,01/02/2024\nb,lamp,"1,299.00",03/04/2024\n',
            {"price": "because of '1,299.00' in row 1", "due": "because of '01/02/2024' in row 0"},
        ),
        (
            "codes.csv",
            "item_id,title,zip,sold\na,mug,007,true\nb,lamp,10115,no idea\nc,rug,80331,false\n",
            {
                "zip": "because of '007' in row 0, which a number would not keep as it is written",
                "sold": "because of 'no idea' in row 1",
            },
        ),
        (
            "rejected.csv",
            "item_id,title,price\na,mug,5\na,mug,call us\nb,lamp,10\n",
            {"price": "because of 'call us' in row 1"},
        ),
        (
            "quoted.jsonl",
            '{"item_id": "a", "title": "mug", "price": "5"}\n{"item_id": "b", "title": "lamp", "price": "10"}\n',
            {"price": "because of '5' in row 0, which the source holds as text like all others"},
        ),
        ("names.csv", "item_id,title,brand\na,mug,3M\nb,lamp,Acme\nc,rug,7\n", {}),
    ],
)
def test_columns_that_became_text_are_named_with_the_first_value(
    tmp_path: Path, name: str, text: str, reasons: dict[str, str]
) -> None:
    report = opened(tmp_path, name, text).report
    assert report.as_text == reasons
    assert report.to_json()["as_text"] == reasons


def test_the_text_of_items_is_no_attribute_that_became_text(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,year\na,1984,1949\nb,2001,c. 1968\nc,1917,2019\n")
    assert list(Catalogue.open(tmp_path / "items.csv").report.as_text) == ["year"]
    named = NamedColumns(text=("title", "year"))
    assert Catalogue.open(tmp_path / "items.csv", columns=named).report.as_text == {}
