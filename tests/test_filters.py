"""Filters select exactly the rows that satisfy them, and say what is wrong with those that cannot."""

from datetime import date

import pyarrow as pa
import pytest

from indexing.errors import FilterError
from retrieval.filters import Condition, matching, parse_condition

TABLE = pa.table(
    {
        "year": pa.array([1990, 1995, None, 2001], pa.int32()),
        "colour": ["Red", "blue", "navy blue", None],
        "tags": pa.array([["a", "b"], [], None, ["b", None]], pa.list_(pa.string())),
        "new": [True, False, True, None],
        "added": [date(2024, 1, 1), date(2025, 1, 1), None, date(2026, 1, 1)],
    }
)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ([("year", "=", 1995)], [1]),
        ([("year", "!=", 1995)], [0, 3]),
        ([("year", ">=", 1995), ("year", "<", 2001)], [1]),
        ([("year", "in", [1990, 2001])], [0, 3]),
        ([("year", "not in", [1990, 2001])], [1]),
        ([("colour", "contains", "BLUE")], [1, 2]),
        ([("colour", "=", "Red")], [0]),
        ([("tags", "contains", "b")], [0, 3]),
        ([("new", "=", True)], [0, 2]),
        ([("added", ">", date(2024, 6, 1))], [1, 3]),
        ([], [0, 1, 2, 3]),
    ],
)
def test_rows_that_match(where: list[Condition], rows: list[int]) -> None:
    assert matching(TABLE, where).nonzero()[0].tolist() == rows


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (("yeer", "=", 1), r"there is no attribute 'yeer'; did you mean one of \['year'\]"),
        (("year", "~", 1), "operator '~' is unknown; use one of ="),
        (("year", "=", "old"), "cannot apply '=' 'old' to 'year' of type int32"),
        (("tags", "=", "a"), r"a list can only be asked what it contains: use \('…', 'contains', 'a'\)"),
        (("year", "="), r"is not \(attribute, operator, value\)"),
    ],
)
def test_conditions_that_cannot_be_applied(condition: Condition, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        matching(TABLE, [condition])


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("year>=1995", ("year", ">=", 1995)),
        ("year != 3", ("year", "!=", 3)),
        ("colour = navy blue", ("colour", "=", "navy blue")),
        ("colour not in Red, blue", ("colour", "not in", ["Red", "blue"])),
        ("tags contains b", ("tags", "contains", "b")),
        ("new = true", ("new", "=", True)),
        ("added > 2024-06-01", ("added", ">", date(2024, 6, 1))),
    ],
)
def test_conditions_as_typed(text: str, condition: Condition) -> None:
    assert parse_condition(text, TABLE) == condition


def test_typed_conditions_that_cannot_be_read() -> None:
    with pytest.raises(FilterError, match="cannot read the condition 'year'"):
        parse_condition("year", TABLE)
    with pytest.raises(FilterError, match="'old' in 'year > old' is not of type int32"):
        parse_condition("year > old", TABLE)
