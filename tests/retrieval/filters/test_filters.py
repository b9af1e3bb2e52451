"""Filters select exactly the rows that satisfy them, and say what is wrong with those that cannot."""

import math
import operator
import warnings
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from indexing.errors import FilterError
from retrieval.filters import (
    And,
    Compare,
    Condition,
    Expression,
    Not,
    Or,
    UnknownValueWarning,
    Where,
    field,
    matching,
    parse_filter,
)

TABLE = pa.table(
    {
        "year": pa.array([1990, 1995, None, 2001], pa.int32()),
        "colour": ["Red", "blue", "navy blue", None],
        "tags": pa.array([["a", "b"], [], None, ["b", None]], pa.list_(pa.string())),
        "new": [True, False, True, None],
        "added": [date(2024, 1, 1), date(2025, 1, 1), None, date(2026, 1, 1)],
        "seen": pa.array([datetime(2024, 1, 1, 12), datetime(2025, 1, 1), None, None], pa.timestamp("s", "UTC")),
        "price": [0.5, math.nan, None, 1e9],
        "number": pa.array([2**60, 2**60 + 1, None, -5], pa.int64()),
    }
)

YES, NO = True, False  # linters take `== True` for a slip


def rows(where: Where) -> list[int]:
    found: list[int] = matching(TABLE, where).nonzero()[0].tolist()
    return found


@pytest.mark.parametrize(
    ("where", "selected"),
    [
        ([("year", "=", 1995)], [1]),
        ([("year", "==", 1995)], [1]),
        ([("year", "!=", 1995)], [0, 3]),
        ([("year", ">=", 1995), ("year", "<", 2001)], [1]),
        ([("year", "in", [1990, 2001])], [0, 3]),
        ([("year", "not in", [1990, 2001])], [1]),
        ([("year", "in", [])], []),
        ([("year", "not in", [])], [0, 1, 3]),
        ([("year", "<", 10**12)], [0, 1, 3]),  # more than an int32 holds
        ([("year", "in", [1990, 10**12])], [0]),
        ([("year", "=", np.int64(1995))], [1]),
        ([("colour", "contains", "BLUE")], [1, 2]),
        ([("colour", "=", "Red")], [0]),
        ([("tags", "contains", "b")], [0, 3]),
        ([("tags", "is missing")], [2]),
        ([("new", "=", True)], [0, 2]),
        ([("added", ">", date(2024, 6, 1))], [1, 3]),
        ([("added", ">", "2024-06-01")], [1, 3]),
        ([("seen", "<", datetime(2024, 1, 1, 12, 0, 0, 1))], [0]),
        ([("seen", "=", "2024-01-01T13:00:00+01:00")], [0]),
        ([("seen", "in", [date(2025, 1, 1), datetime(2024, 1, 1, 12, tzinfo=UTC)])], [0, 1]),
        ([("price", "!=", 0.5)], [3]),  # NaN is missing
        ([("price", "is missing")], [1, 2]),
        ([("price", "<=", Decimal("0.5"))], [0]),
        ([("number", "=", 2**60 + 1)], [1]),
        ([("number", ">", 2**60)], [1]),
        ([], [0, 1, 2, 3]),
    ],
)
def test_rows_that_match_every_condition(where: list[Condition], selected: list[int]) -> None:
    assert rows(where) == selected
    if len(where) == 1:
        assert rows(where[0]) == selected


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        (field("year") >= 1995, [1, 3]),
        (~(field("year") >= 1995), [0, 2]),  # the missing one too
        ((field("year") < 1995) | (field("colour") == "blue"), [0, 1]),
        ((field("year") != 1995) & ~field("tags").contains("a"), [3]),
        (field("year").between(1990, 1995), [0, 1]),
        (field("colour").not_in(["Red"]), [1, 2]),
        (field("new").is_missing() | field("year").is_missing(), [2, 3]),
        (field("added").is_present() & (field("new") == NO), [1]),
        ((field("year") > 1990) & (field("year") <= 2001) & (field("new").is_present()), [1]),
    ],
)
def test_expressions_and_their_text_select_the_same(expression: Expression, selected: list[int]) -> None:
    assert rows(expression) == rows([expression]) == rows(str(expression)) == selected
    assert parse_filter(str(expression), TABLE) == expression


@pytest.mark.parametrize(
    ("text", "expression"),
    [
        ("year>=1995", field("year") >= 1995),
        ("year != 3", field("year") != 3),
        ("year == 3", field("year") == 3),
        ("colour = navy blue", field("colour") == "navy blue"),
        ("colour = red, so", field("colour") == "red, so"),
        ("colour = Fish 'n' Chips, cold", field("colour") == "Fish 'n' Chips, cold"),
        ("colour not in Red, navy blue", field("colour").not_in(["Red", "navy blue"])),
        ('colour in (\'red, so\', "a \\"b\\" (c)")', field("colour").is_in(["red, so", 'a "b" (c)'])),
        ("colour in ()", field("colour").is_in([])),
        ("tags contains b", field("tags").contains("b")),
        ("new = true", field("new") == YES),
        ("added > 2024-06-01", field("added") > date(2024, 6, 1)),
        ("price <= 1e3", field("price") <= 1000.0),
        ("'year' = '3'", field("year") == 3),
        ("year is missing AND NOT new IS present", field("year").is_missing() & ~field("new").is_present()),
        (
            "year = 1 or year = 2 and new = false or year = 3",
            (field("year") == 1) | ((field("year") == 2) & (field("new") == NO)) | (field("year") == 3),
        ),
        (
            "year >= 1990 and (colour in red, blue or not new = true)",
            (field("year") >= 1990) & (field("colour").is_in(["red", "blue"]) | ~(field("new") == YES)),
        ),
    ],
)
def test_text_as_typed(text: str, expression: Expression) -> None:
    assert parse_filter(text, TABLE) == expression


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("", 1, "expected the name of an attribute"),
        ("year", 5, "expected, after the name 'year', one of =, !="),
        ("year > ", 8, "expected a value for 'year'"),
        ("year > old", 8, "'old' is no whole number; give a whole number, as 'year' holds"),
        ("new = perhaps", 7, "give true or false"),
        ("added > June", 9, "give a date, as 2024-06-01"),
        ("new = true and yeer > 3", 16, r"there is no attribute 'yeer'; did you mean one of \['year'\]"),
        ("year > 3 and", 13, "expected the name of an attribute"),
        ("(year > 3", 10, r"expected '\)'"),
        ("year > 3)", 9, "expected 'and', 'or' or the end; quote what holds signs"),
        ("colour = a = b", 12, "expected 'and', 'or' or the end; quote what holds signs"),
        ("colour in (a, b", 16, r"expected ',' or '\)'"),
        ("colour in a,, b", 13, "expected a value for 'colour'"),
        ("colour = 'red", 10, "this quote is never closed"),
        ("year ! 3", 6, "this sign is unknown"),
        ("not " * 60 + "year = 1", 201, "nested deeper than 50 levels"),
        ("(" * 5000 + "year = 1" + ")" * 5000, 51, "nested deeper than 50 levels"),
    ],
)
def test_text_that_cannot_be_read_is_refused_at_its_place(text: str, place: int, problem: str) -> None:
    with pytest.raises(FilterError, match=rf"cannot read the filter at character {place}: .*{problem}") as error:
        matching(TABLE, text)
    _, shown, mark = str(error.value).split("\n")
    assert shown[mark.index("^") :].strip() == text[place - 1 : place + 29].strip()


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (("yeer", "=", 1), r"there is no attribute 'yeer'; did you mean one of \['year'\]"),
        (("year", "~", 1), "operator '~' is unknown; use one of ="),
        (
            ("year", "=", "old"),
            "cannot apply '=' 'old' to 'year' of type int32: 'old' does not compare .* whole number",
        ),
        (("year", ">", 1990.5), "give a whole number"),
        (("year", "=", True), "give a whole number"),
        (("new", "=", 1), "give true or false"),
        (("new", "=", "true"), "give true or false"),
        (("added", ">", datetime(2024, 6, 1, 12)), "give a date, as 2024-06-01"),
        (("added", ">", "1 June"), "give a date, as 2024-06-01"),
        (("seen", ">", 5), "give a time, as 2024-06-01T12:00:00"),
        (("colour", "=", 5), "give a text"),
        (("year", "=", None), "ask whether the value 'is missing' or 'is present'"),
        (("price", "<", math.nan), "ask whether the value 'is missing' or 'is present'"),
        (("year", "in", [1, None]), "ask whether the value 'is missing'"),
        (("year", "in", 5), r"give a list, even of one: \[5\]"),
        (("colour", "in", "red"), r"give a list, even of one: \['red'\]"),
        (("year", "in", range(100_001)), "a set of 100001 values is larger than 100000"),
        (("year", "contains", 1), "only texts and lists contain something"),
        (("year", "=", 2**70), "cannot apply '=' .* to 'year'"),
        (("tags", "=", "a"), r"a list can only be asked what it contains: use \(…, 'contains', 'a'\)"),
        (("tags", "contains", 5), "give a text"),
        (("year", "="), r"is not \(attribute, operator, value\)"),
        (("year", "is missing", 3), r"is not \(attribute, operator, value\)"),
        (5, r"5 is not \(attribute, operator, value\)"),
    ],
)
def test_conditions_that_cannot_be_applied(condition: object, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        matching(TABLE, [condition])  # type: ignore[list-item]


def test_misuse_of_python_operators_is_refused() -> None:
    with pytest.raises(FilterError, match=r"join with & \| ~ and parentheses"):
        _ = (field("year") > 1) and (field("year") < 3)
    with pytest.raises(FilterError, match=r"between\(1990, 1999\)"):
        _ = 1 < field("year") < 3
    with pytest.raises(FilterError, match="1990 is no expression"):
        _ = (field("year") > 3) & 1990  # type: ignore[operator]


def test_filters_are_bounded_and_large_ones_work() -> None:
    deep: Expression = field("year") == 1
    for number in range(60):
        deep = (deep & (field("year") == number)) if number % 2 else (deep | (field("year") == number))
    with pytest.raises(FilterError, match="nested deeper than 50 levels"):
        matching(TABLE, deep)
    flat: Expression = field("year") == 0
    for number in range(1, 1000):
        flat |= field("year") == number
    assert rows(flat) == []
    with pytest.raises(FilterError, match="more than 1000 comparisons; use 'in'"):
        matching(TABLE, flat | (field("year") == 1000))
    assert rows(field("year").is_in(range(1991, 11_991))) == [1, 3]
    assert rows("year in " + ", ".join(map(str, range(1991, 11_991)))) == [1, 3]
    with pytest.raises(FilterError, match="more than 1000000"):
        matching(TABLE, "x" * 1_000_001)


ROWS = st.fixed_dictionaries(
    {
        "n": st.none() | st.integers(-3, 3),
        "x": st.none() | st.sampled_from([-1.5, 0.0, 2.0, math.nan]),
        "a b": st.none() | st.sampled_from(["", "a", "A", 'b"', "and", "c, d\\", "(e'"]),
        "l": st.none() | st.lists(st.none() | st.sampled_from(["a", "and", 'b"']), max_size=3),
        "t": st.none() | st.booleans(),
    }
)
SCHEMA = pa.schema(
    {"n": pa.int32(), "x": pa.float64(), "a b": pa.string(), "l": pa.list_(pa.string()), "t": pa.bool_()}
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-4, 4),
    "x": st.sampled_from([-1.5, 0.0, 1.0, math.inf]),
    "a b": st.sampled_from(["", "a", 'b"', "and", "c, d\\", "(e'"]),
    "t": st.booleans(),
}
ORDERED = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])


def comparisons() -> st.SearchStrategy[Expression]:
    each: list[st.SearchStrategy[Expression]] = [
        st.builds(Compare, st.just(name), st.sampled_from(["=", "!="]) if name == "t" else ORDERED, values)
        for name, values in VALUES.items()
    ]
    each += [
        st.builds(Compare, st.just(name), st.sampled_from(["in", "not in"]), st.lists(VALUES[name], max_size=3))
        for name in VALUES
    ]
    each.append(st.builds(Compare, st.just("l"), st.just("contains"), st.sampled_from(["a", "and", "z"])))
    each.append(st.builds(Compare, st.sampled_from([*SCHEMA.names]), st.sampled_from(["is missing", "is present"])))
    return st.one_of(each)


EXPRESSIONS: st.SearchStrategy[Expression] = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "in": lambda own, value: own in value,
    "not in": lambda own, value: own not in value,
    "contains": operator.contains,
}


def holds(expression: Expression, row: dict[str, Any]) -> bool:
    """Evaluate in plain Python."""
    match expression:
        case Not(part):
            return not holds(part, row)
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case Compare(name, comparison, value):
            own = row[name]
            missing = own is None or own != own
            if missing or comparison in ("is missing", "is present"):
                return missing == (comparison == "is missing") if comparison.startswith("is ") else False
            return PLAIN[comparison](own, value)
    raise AssertionError(expression)


@settings(max_examples=300)
@given(st.lists(ROWS, max_size=8), EXPRESSIONS)
def test_any_expression_and_its_text_agree_with_plain_python(lines: list[dict[str, Any]], chosen: Expression) -> None:
    table = pa.Table.from_pylist(lines, SCHEMA)
    expected = [holds(chosen, line) for line in lines]
    assert matching(table, chosen).tolist() == expected
    assert parse_filter(str(chosen), table) == chosen
    assert matching(table, str(chosen)).tolist() == expected
    assert matching(table, [chosen, chosen]).tolist() == expected


@settings(max_examples=300)
@given(st.text(alphabet="abn xlt\"'\\(),=<>!0. andorintcsm", max_size=40) | st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        found = parse_filter(text, SCHEMA.empty_table())
    except FilterError:
        return
    assert parse_filter(str(found), SCHEMA.empty_table()) == found


SHOP = pa.table({"colour": ["Red", "navy", None], "tags": [["sale"], [], ["new"]], "year": [1990, 2001, None]})


@pytest.mark.parametrize(
    ("where", "rows", "hint"),
    [
        ("colour = red", [False] * 3, "no item has 'red' in 'colour', .* finds nothing; did you mean 'Red'"),
        ("colour in (green, nawy)", [False] * 3, "no item has 'green', 'nawy' in 'colour'"),
        ("colour != nawy", [True, True, False], "'nawy' in 'colour', .* excludes nothing; did you mean 'navy'"),
        ("colour not in (nawy)", [True, True, False], "excludes nothing; did you mean 'navy'"),
        ("tags contains sales", [False] * 3, "'sales' in 'tags', .*; did you mean 'sale'"),
        ("year = 1850", [False] * 3, "no item has 1850 in 'year', .*; its values are from 1990 to 2001"),
    ],
)
def test_a_value_that_no_item_has_is_named_with_similar_ones(where: str, rows: list[bool], hint: str) -> None:
    with pytest.warns(UnknownValueWarning, match=hint):
        assert matching(SHOP, where).tolist() == rows


@pytest.mark.parametrize("where", ["colour in (green, navy)", "colour contains xyz", "year > 2100", "colour in ()"])
def test_other_filters_that_find_nothing_are_no_mistake(where: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        matching(SHOP, where)
