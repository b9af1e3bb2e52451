"""Tables of SQLite and PostgreSQL: types, order and ids come back; errors name the row and hold no secret."""

import datetime
import sqlite3
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from indexing import Catalogue, update
from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.catalogue.readers.sql import SqlTable, read_sql
from indexing.errors import CatalogueError, InputError
from retrieval import Interactions, Profiles
from retrieval.batch.sql_output import write_sql
from tests.databases import PASSWORD
from tests.toy import ToyEncoder

MOMENT = datetime.datetime(2024, 3, 1, 12, 30, 5, 250, tzinfo=datetime.UTC)
GOODS = pa.table(
    {
        "item_id": ["007", "mug", "1.0", "b'\"; --"],
        "title": ["a red mug", None, "line\nbreak % :x", "é\u2028"],
        "stock": pa.array([2**62, None, -5, 0], pa.int64()),
        "price": [0.1, None, float("inf"), -2.5e300],
        "cost": pa.array([Decimal("1.50"), None, Decimal("-99999.99"), Decimal("0.01")], pa.decimal128(7, 2)),
        "on_sale": [True, None, False, True],
        "since": pa.array([datetime.date(1600, 1, 2), None, datetime.date(9999, 12, 31), datetime.date(2024, 2, 29)]),
        "changed": pa.array([MOMENT.replace(tzinfo=None), None, MOMENT.replace(tzinfo=None), None], pa.timestamp("us")),
        "opens": pa.array([datetime.time(8, 30, 0, 7), None, datetime.time(0), None], pa.time64("us")),
        "tags": pa.array([["a", "b"], None, [], ["x"]], pa.list_(pa.string())),
        "select": pa.array([b"\0\xff", None, b"", b"x"], pa.binary()),
    }
)


def test_a_table_comes_back_with_its_types_and_in_order(database: str) -> None:
    place = SqlTable.parse(f"{database}#goods")
    for table in (GOODS.slice(0, 1), GOODS):  # the second in place of the first
        write_sql(table, place)
        assert read_sql(place).equals(table)


def test_a_query_has_columns_and_an_order_of_its_own(database: str) -> None:
    write_sql(GOODS, SqlTable.parse(f"{database}#queried"))
    query = (
        "SELECT item_id, stock AS amount, '50%' AS share FROM queried WHERE item_id LIKE '%0%' ORDER BY item_id DESC"
    )
    found = read_sql(SqlTable.parse(f"{database}#{query}"))
    expected = [{"item_id": "1.0", "amount": -5, "share": "50%"}, {"item_id": "007", "amount": 2**62, "share": "50%"}]
    assert found.to_pylist() == expected


def test_items_logs_and_profiles_are_read_from_a_database(database: str, tmp_path: Path) -> None:
    write_sql(GOODS.select(["item_id", "title", "price"]), SqlTable.parse(f"{database}#items"))
    clicks = pa.table({"user_id": [7, 8], "item_id": ["mug", "007"], "timestamp": [20, 10]})
    write_sql(clicks, SqlTable.parse(f"{database}#clicks"))
    write_sql(pa.table({"user_id": ["7"], "age": [31]}), SqlTable.parse(f"{database}#users"))
    catalogue = Catalogue.open(f"{database}#SELECT * FROM items WHERE title IS NOT NULL", allow_urls=True)
    assert catalogue.attributes["item_id"].to_pylist() == ["007", "1.0", "b'\"; --"]
    assert Interactions.open(f"{database}#clicks").table["user_id"].to_pylist() == ["8", "7"]
    assert Profiles.open(f"{database}#users").of(["7"]).to_pylist() == [{"age": 31}]
    build_bundle(catalogue, ToyEncoder(), tmp_path / "bundle")
    assert (
        update(tmp_path / "bundle", f"{database}#SELECT item_id, 5.5 AS price FROM items WHERE item_id = '007'").updated
        == 1
    )
    assert Bundle.open(tmp_path / "bundle").attributes["price"].to_pylist()[0] == 5.5
    kept = [
        path for path in (tmp_path / "bundle").rglob("*") if path.is_file() and PASSWORD.encode() in path.read_bytes()
    ]
    assert kept == []


def test_a_table_of_other_columns_is_not_replaced(database: str) -> None:
    place = SqlTable.parse(f"{database}#kept")
    write_sql(GOODS, place)
    with pytest.raises(InputError, match=r"#kept exists with the columns .* not \['item_id'\]"):
        write_sql(GOODS.select(["item_id"]), place)
    assert len(read_sql(place)) == 4


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pa.array([1, 2**64 - 1], pa.uint64()), r"row 1 \(from 0\) of .*: 18446744073709551615 in .* is larger"),
        (pa.array([1, 2], pa.duration("s")), r"column 'x' of the result: no column of a database holds duration\[s\]"),
        (pa.array([0, 1], pa.timestamp("ns")), "column 'x' of the result cannot be written: .*would lose data"),
    ],
    ids=["uint64", "duration", "nanoseconds"],
)  # fmt: skip
def test_what_a_database_would_change_is_refused(database: str, column: pa.Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        write_sql(pa.table({"x": column}), SqlTable.parse(f"{database}#refused"))
    with pytest.raises(InputError, match=r"no such (table|file)"):
        read_sql(SqlTable.parse(f"{database}#refused"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("('x', 1, '2024-01-01', 1)", r"row 1 \(from 0\) of .*#goods: 'x' in column 'stock' is no int64"),
        ("(1, 'x', '2024-01-01', 1)", r"row 1 \(from 0\) of .*: 'x' in column 'price' is no double"),
        ("(1, 1, '2024-13-01', 1)", r"row 1 \(from 0\) of .*: '2024-13-01' in column 'since' is no date32"),
        ("(1, 1, '2024-01-01', 7)", r"row 1 \(from 0\) of .*: 7 in column 'on_sale' is no bool"),
    ],
)
def test_a_value_of_sqlite_that_is_not_of_its_column_is_named(tmp_path: Path, values: str, message: str) -> None:
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE goods (stock INTEGER, price REAL, since DATE, on_sale BOOLEAN)")
        connection.execute("INSERT INTO goods VALUES (1, 2, '2024-01-01', 0)")
        connection.execute(f"INSERT INTO goods VALUES {values}")
    connection.close()
    with pytest.raises(InputError, match=message):
        read_sql(SqlTable.parse(f"sqlite:///{tmp_path / 'shop.db'}#goods"))


def test_seconds_in_a_column_declared_as_time_stay_numbers(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "log.db") as connection:
        connection.execute("CREATE TABLE clicks (user_id TEXT, item_id TEXT, timestamp TIMESTAMP)")
        connection.execute("INSERT INTO clicks VALUES ('ann', 'mug', 1700000000)")
    connection.close()
    log = Interactions.open(f"sqlite:///{tmp_path / 'log.db'}#clicks")
    assert log.table["timestamp"].to_pylist() == [1_700_000_000]


def test_a_server_is_asked_only_where_urls_are_allowed(server: str) -> None:
    with pytest.raises(CatalogueError, match="is a URL, and URLs are not fetched unless you say so") as caught:
        Catalogue.open(f"{server}#items")
    assert PASSWORD not in str(caught.value)


def test_errors_of_a_database_name_no_secret(server: str) -> None:
    wrong = server.replace(PASSWORD, "wr0ng-secret")
    for url, message in (
        (f"{wrong}#items", "password authentication failed"),
        (f"{server}#nothing_here", "there is no such table"),
        (f"{server}#SELECT nothing FROM here", 'relation "here" does not exist'),
    ):
        with pytest.raises(InputError, match=message) as caught:
            read_sql(SqlTable.parse(url))
        shown = f"{caught.value!r} {caught.value.__cause__!r} {SqlTable.parse(url)!r}"
        assert PASSWORD not in shown
        assert "wr0ng-secret" not in shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:se#cret@host/shop#items",
        "postgresql://ann:5#cret@host/shop",
        "postgresql://ann:se@cret@host/shop#items",
        "postgresql://ann:cret@host:port/shop#items",
        "postgresql://ann:cret@host#items",
        "sqlite://#cret",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(InputError, match="the URL of a database cannot be read; write sqlite") as caught:
        SqlTable.parse(url)
    assert "cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        Catalogue.open(f"sqlite:///{tmp_path / 'none.db'}#items")
    assert not (tmp_path / "none.db").exists()
