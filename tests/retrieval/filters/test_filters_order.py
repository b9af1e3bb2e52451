"""What is compared as a number, a date or letters, and what is refused since it would be compared wrongly."""

import re
from datetime import date, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from indexing.errors import FilterError
from retrieval.filters import Expression, field, matching, parse_filter

SHOP = pa.table(
    {
        "item_id": ["a", "b", "c", "d"],
        "price": ["5", "10", "100", "call us"],
        "thousands": ["5", "10", "1,299.00", "20"],
        "us_date": ["01/02/2024", "03/04/2023", None, "12/31/2022"],
        "year": ["1990", None, "2015", "c. 1890"],
        "flag": ["true", "false", "maybe", "true"],
        "quoted": [" 5", "+10", "1e2", ".5"],
        "code": ["007", "010", "0100", None],
        "made": ["2024-01-01", "2024-02-01", None, "2024-03-01T10:00:00+02:00"],
        "name": ["mug", "lamp", "chair", None],
        "exact": pa.array([Decimal("99.99"), Decimal("5"), None, Decimal("100")], pa.decimal128(38, 9)),
        "opens": pa.array([time(1, 2), time(14, 30), None, time(23)], pa.time32("s")),
        "lasts": pa.array([10, 90, 3600, None], pa.duration("ms")).cast(pa.duration("ms")),
        "half": pa.array([0.1, 2.5, None, 100], pa.float16()),
        "halves": pa.array([[0.1], [2.5, 3], None, []], pa.list_(pa.float16())),
        "ints": pa.array([[1, 3], [2], None, []], pa.list_(pa.int16())),
        "flags": pa.array([[True, False], [False], None, []]),
        "exacts": pa.array([[Decimal("1.5")], [], None, [Decimal("2")]]),
        "days": pa.array([[date(2024, 1, 1)], [], None, [date(2024, 2, 1)]]),
    }
)


def ids(where: object) -> list[str]:
    mask = matching(SHOP, where)  # type: ignore[arg-type]
    return [item_id for item_id, kept in zip(SHOP["item_id"].to_pylist(), mask, strict=True) if kept]


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("price >= 20", "'20' is a number, and 'call us' (item 'd') is none"),
        ("price < 1e3", "'1e3' is a number, and 'call us' (item 'd') is none"),
        (field("price") > 20, "'20' is a number, and 'call us' (item 'd') is none"),
        (field("price") <= "20", "'20' is a number, and 'call us' (item 'd') is none"),
        (field("price").between(Decimal("5"), Decimal("20")), "'call us' (item 'd') is none"),
        ("thousands >= 20", "'1,299.00' (item 'c') is none"),
        ("thousands >= 1,299.00", "'1,299.00' looks like a number that cannot be read"),
        ("price >= 12 €", "'12 €' looks like a number that cannot be read"),
        ("year >= 1900", "'c. 1890' (item 'd') is none"),
        ("us_date >= 2024-01-01", "'01/02/2024' (item 'a') is none"),
        ("us_date >= 01/02/2024", "'01/02/2024' looks like a date that cannot be read; write it as"),
        ("made > 2024", "'2024' is a number, and '2024-01-01' (item 'a') is none"),
        (field("us_date") < date(2024, 1, 1), "'01/02/2024' (item 'a') is none"),
        ("flag > true", "'true' is true or false, and the attribute holds text, which has no such order"),
        ("name >= 7", "'7' is a number, and 'mug' (item 'a') is none"),
    ],
)
def test_text_is_not_ordered_against_numbers_and_dates(where: object, named: str) -> None:
    with pytest.raises(FilterError, match=re.escape(named)):
        ids(where)


def test_a_refusal_without_item_ids_names_the_row() -> None:
    with pytest.raises(FilterError, match=r"'call us' \(row 3\) is none"):
        matching(SHOP.drop_columns(["item_id"]), "price > 3")


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("quoted >= 10", ["b", "c"]),
        (field("quoted") < 1, ["d"]),
        ("code >= 10", ["b", "c"]),
        ("made >= 2024-02-01", ["b", "d"]),
        ("made > 2024-03-01T07:59:59", ["d"]),
        (field("made") >= date(2024, 3, 1), ["d"]),
        ("name >= lamp", ["a", "b"]),
        ("name < m", ["b", "c"]),
        ("price = 10", ["b"]),
        ("price contains call", ["d"]),
    ],
)
def test_text_is_ordered_as_numbers_and_dates_where_all_of_it_is(where: object, found: list[str]) -> None:
    assert ids(where) == found


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("exact = 99.99", ["a"]),
        (field("exact") == 99.99, ["a"]),
        ("exact > 99.98", ["a", "d"]),
        ("exact in 5, 100.000", ["b", "d"]),
        ("exact not in (5)", ["a", "d"]),
        ("opens >= 14:30", ["b", "d"]),
        (field("opens") < time(2), ["a"]),
        ("lasts = 0.09", ["b"]),
        ("lasts > 1", ["c"]),
        (field("lasts") >= timedelta(milliseconds=90), ["b", "c"]),
        ("half = 0.1", ["a"]),
        ("half < 2.6", ["a", "b"]),
        ("half in 0.1, 100", ["a", "d"]),
        ("half >= 1e9", []),
        ("half is missing", ["c"]),
        ("halves contains 2.5", ["b"]),
        ("ints contains 3", ["a"]),
        ("flags contains true", ["a"]),
        ("exacts contains 1.50", ["a"]),
        ("days contains 2024-02-01", ["d"]),
        ("ints is missing", ["c"]),
    ],
)
def test_every_kind_of_attribute_is_compared(where: object, found: list[str]) -> None:
    assert ids(where) == found


@pytest.mark.parametrize(
    "expression",
    [
        field("exact") >= Decimal("99.990"),
        field("lasts") > timedelta(seconds=1.5),
        field("opens") == time(14, 30),
        field("half").is_in([0.1, 2.5]),
    ],
)
def test_expressions_of_these_kinds_print_as_text_that_selects_the_same(expression: Expression) -> None:
    assert ids(parse_filter(str(expression), SHOP)) == ids(expression)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (
            {"gender": "Men"},
            r"no dictionary: .*write it as a list of conditions: \[\('gender', '=', 'Men'\)\]",
        ),
        (5, "5 is no filter; give an expression, its text, or a list of conditions"),
        (b"price = 5", "b'price = 5' is no filter"),
        ("price = \udcff", "holds half a character; give text that is Unicode"),
        ("\udcff = 3", "holds half a character"),
        (("price", "=", "\ud800"), "does not compare with type string"),
        ("exact = cheap", "'cheap' is no number; give a number"),
        ("lasts > long", "give a number of seconds"),
        ("opens > noon", "give a time of day, as 14:30"),
        (("exact", "<", float("inf")), "inf does not compare with type decimal"),
        (("exact", "=", "5"), "'5' does not compare with type decimal"),
    ],
)
def test_what_is_no_filter(where: object, message: str) -> None:
    with pytest.raises(FilterError, match=message) as caught:
        ids(where)
    str(caught.value).encode()
