"""CSV: ids and text as they are written, typed attributes, and a bad line costs itself only."""

import datetime
from pathlib import Path

import pyarrow as pa
import pytest

from indexing.catalogue.columns import Columns
from indexing.catalogue.readers.base import TableReader
from indexing.catalogue.readers.csv import read_csv
from indexing.errors import CatalogueError


def read(folder: Path, data: bytes, columns: Columns | None = None) -> TableReader:
    (folder / "items.csv").write_bytes(data)
    return read_csv(folder / "items.csv", columns)


def rows_of(reader: TableReader) -> list[dict[str, object]]:
    return [row for batch in reader.batches(reader.schema.names, 2) for row in batch.to_pylist()]


def test_ids_and_text_stay_as_they_are_written(tmp_path: Path) -> None:
    reader = read(tmp_path, b"item_id,title,name\n1.0,1.50,true\nNA,NULL,2020-01-01\n007,nan,\n")
    assert rows_of(reader) == [
        {"item_id": "1.0", "title": "1.50", "name": "true"},
        {"item_id": "NA", "title": "NULL", "name": "2020-01-01"},
        {"item_id": "007", "title": "nan", "name": None},
    ]


def test_chosen_columns_stay_as_they_are_written_too(tmp_path: Path) -> None:
    reader = read(tmp_path, b"sku,legend,price\n1.0,1.50,1.50\n", Columns("sku", ("legend",), None))
    assert rows_of(reader) == [{"sku": "1.0", "legend": "1.50", "price": 1.5}]


@pytest.mark.parametrize(
    ("values", "typed"),
    [
        (["3", "4", ""], [3, 4, None]),
        (["3", "4.5", "NA"], [3.0, 4.5, None]),
        (["true", "false", "n/a"], [True, False, None]),
        (["2020-01-31", "", "2021-12-01"], [datetime.date(2020, 1, 31), None, datetime.date(2021, 12, 1)]),
        (["2020-01-31 10:00:00"], [datetime.datetime(2020, 1, 31, 10)]),
        (["007", "8"], ["007", "8"]),
        (["007", "8.5"], ["007", "8.5"]),
        (["12345678901234567890123", "1"], ["12345678901234567890123", "1"]),
        (["1234567890123456.7", "1"], ["1234567890123456.7", "1"]),  # a float has the neighbour ….75
        (["-12345678901234567.5", "1.5"], ["-12345678901234567.5", "1.5"]),
        (["123456789012345.5", "1"], [123456789012345.5, 1.0]),
        (["9007199254740993", "1"], [9007199254740993, 1]),  # whole numbers of 64 bits are none
        (["9007199254740993", "1.5"], ["9007199254740993", "1.5"]),
        (["3", "old"], ["3", "old"]),
        (["NA", "old"], ["NA", "old"]),
        (["NA", ""], ["NA", None]),
    ],
)
def test_attributes_get_the_type_that_fits_every_value(tmp_path: Path, values: list[str], typed: list[object]) -> None:
    reader = read(tmp_path, "\n".join(["item_id,v", *(f"i,{value}" for value in values)]).encode())
    assert [row["v"] for row in rows_of(reader)] == typed


def test_bad_lines_are_numbered_as_rows_of_the_file(tmp_path: Path) -> None:
    lines = [b"item_id,title", b"", b"a,b", b"", b"b,c,d", b'c,"two\nlines"', b"d,\xff", b"only \xff", b"e,f"]
    reader = read(tmp_path, b"\n".join(lines))
    assert [row["item_id"] for row in rows_of(reader)] == ["a", "c", "e"]
    assert rows_of(reader)[1]["title"] == "two\nlines"
    assert reader.malformed == {
        1: "3 columns instead of 2",
        3: "not UTF-8: column title",
        4: "1 columns instead of 2",
    }


def test_a_header_that_is_no_utf8(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="has a header that is not UTF-8"):
        read(tmp_path, b"item_id,titl\x81\na,b\n")


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    assert rows_of(read(tmp_path, b"\xef\xbb\xbfitem_id,title\r\na,b\r\n")) == [{"item_id": "a", "title": "b"}]


def test_a_text_longer_than_a_block_of_the_parser(tmp_path: Path) -> None:
    long = "x" * 3_000_000
    assert rows_of(read(tmp_path, f"item_id,title\na,{long}\nb,c\n".encode()))[0]["title"] == long


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    assert read(tmp_path, b"item_id,title,x,x\na,b,1,2\n").schema == pa.schema(
        [("item_id", pa.string()), ("title", pa.string()), ("x", pa.int64()), ("x", pa.int64())]
    )


@pytest.mark.parametrize(("data", "message"), [(b"", "cannot be read as CSV"), (b"item_id,title\n", "has no rows")])
def test_nothing_in_it(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        read(tmp_path, data)
