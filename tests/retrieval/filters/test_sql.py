"""Filters in SQL select in a table of LanceDB what masks select: random filters over columns of every type."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from lancedb.table import LanceTable

from indexing.errors import FilterError
from retrieval.filters import And, Compare, Expression, Not, Or, matching, parse_filter, to_sql

ROWS = 400
INTEGERS = [-3, 0, 7, 2**31 - 1, -(2**31)]
TEXTS = ["", "a'b", "ü \\", "K", "% _", "red"]
FLOATS = [0.0, -0.0, 0.1, -2.5, 1e300, float("nan")]
DATES = [date(2024, 2, 29), date(1969, 12, 31), date(999, 1, 1)]
TIMES = [datetime(2024, 2, 29, 1, 2, 3, 4), datetime(1969, 12, 31), datetime(2024, 1, 1)]
COLUMNS: dict[str, tuple[pa.DataType, list[Any], list[Any]]] = {  # type, values of rows, others to compare with
    "whole": (pa.int32(), INTEGERS, [3_000_000_000, 8]),
    "Byte": (pa.uint8(), [0, 7, 255], [300, -1]),
    "large": (pa.int64(), [2**53 + 1, 2**53, -(2**63) + 1], [-(2**63), 1]),
    "number": (pa.float64(), FLOATS, [3]),
    "single": (pa.float32(), [0.0, -0.0, 0.1, 2.5, float("nan")], [0.7]),
    "my text": (pa.string(), TEXTS, ["rede", "A'B"]),
    "yes": (pa.bool_(), [True, False], []),
    "day": (pa.date32(), DATES, [date(2025, 1, 1)]),
    "time": (pa.timestamp("us"), TIMES, [datetime(2025, 1, 1)]),
    "instant": (pa.timestamp("us", "UTC"), [time.replace(tzinfo=UTC) for time in TIMES], []),
    "tags": (pa.list_(pa.string()), [[], ["red"], ["a'b", "red"], [None, "K"]], []),
    "sizes": (pa.list_(pa.int64()), [[], [1], [2, -3], [None]], []),
}
ORDERED = ("whole", "Byte", "large", "number", "single", "day", "time", "instant")


@pytest.fixture(scope="module")
def attributes() -> pa.Table:
    rng = np.random.default_rng(0)
    drawn = {
        name: [None if rng.random() < 0.2 else values[rng.integers(len(values))] for _ in range(ROWS)]
        for name, (_, values, _) in COLUMNS.items()
    }
    return pa.table({name: pa.array(values, COLUMNS[name][0]) for name, values in drawn.items()})


@pytest.fixture(scope="module")
def table(attributes: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> LanceTable:
    rows = attributes.append_column("row", pa.array(range(ROWS)))
    return lancedb.connect(str(tmp_path_factory.mktemp("sql"))).create_table("items", rows)


def selected(table: LanceTable, condition: str) -> list[int]:
    rows: list[int] = table.search(None).where(condition).select(["row"]).limit(ROWS).to_arrow()["row"].to_pylist()
    assert table.count_rows(condition) == len(rows)
    return rows


def random_comparison(rng: np.random.Generator) -> Compare:
    name = str(rng.choice(list(COLUMNS)))
    _, values, others = COLUMNS[name]
    flat = [value for each in values for value in (each if isinstance(each, list) else [each])] + others
    known = [value for value in flat if value is not None and value == value]
    value = known[rng.integers(len(known))]
    operators = ["is missing", "is present"]
    if isinstance(values[-1], list):
        operators += ["contains"]
    else:
        operators += ["=", "!=", "in", "not in"] + (["<", "<=", ">", ">="] if name in ORDERED else [])
    operator = str(rng.choice(operators))
    if operator in ("in", "not in"):
        return Compare(name, operator, [known[row] for row in rng.integers(0, len(known), rng.integers(0, 4))])  # type: ignore[arg-type]
    return Compare(name, operator, None if operator.startswith("is ") else value)  # type: ignore[arg-type]


def random_filter(rng: np.random.Generator, depth: int = 0) -> Expression:
    choice = rng.integers(0, 6 if depth < 3 else 3)
    if choice < 3:
        return random_comparison(rng)
    parts = tuple(random_filter(rng, depth + 1) for _ in range(rng.integers(2, 4)))
    return Not(parts[0]) if choice == 3 else And(parts) if choice == 4 else Or(parts)


def test_random_filters_select_what_masks_select(attributes: pa.Table, table: LanceTable) -> None:
    rng, written = np.random.default_rng(1), 0
    for _ in range(400):
        where = random_filter(rng)
        condition = to_sql(where, attributes.schema)
        if condition is not None:
            written += 1
            wanted = np.flatnonzero(matching(attributes, where)).tolist()
            assert selected(table, condition) == wanted, f"{where} as {condition}"
    assert written > 250  # sets of numbers with a fraction cannot be written


def test_text_and_lists_of_conditions_are_written_too(attributes: pa.Table, table: LanceTable) -> None:
    text = 'whole >= 0 and (not tags contains red or `my text` = "a\'b")'.replace("`my text`", '"my text"')
    wanted = np.flatnonzero(matching(attributes, parse_filter(text, attributes))).tolist()
    condition = to_sql(text, attributes.schema)
    assert condition is not None
    assert selected(table, condition) == wanted
    condition = to_sql([("whole", ">=", 0), ("Byte", "<", 9)], attributes.schema)
    assert condition == "(CAST(`whole` AS BIGINT) >= 0) AND (CAST(`Byte` AS BIGINT) < 9)"
    assert to_sql([], attributes.schema) == "true"


@pytest.mark.parametrize(
    "where",
    [
        Compare("my text", "contains", "re"),  # of whatever case
        Compare("my text", "<", "b"),  # numbers and dates among texts have an order of their own
        Compare("number", "in", [0.1]),
        Compare("large", "=", -(2**63)),
        Compare("my text", "=", "a\0b"),
    ],
)
def test_what_sql_reads_otherwise_is_left_to_masks(attributes: pa.Table, where: Compare) -> None:
    assert to_sql(where, attributes.schema) is None
    assert to_sql(Or((where, Compare("whole", "=", 7))), attributes.schema) is None


def test_what_no_mask_is_made_of_is_refused(attributes: pa.Table) -> None:
    with pytest.raises(FilterError, match="there is no attribute 'colour'"):
        to_sql("colour = red", attributes.schema)
    with pytest.raises(FilterError, match="does not compare with type int32"):
        to_sql(Compare("whole", "=", "seven"), attributes.schema)
    deep: Expression = Compare("whole", "=", 7)
    for _ in range(60):
        deep = Not(deep)
    with pytest.raises(FilterError, match="nested deeper than 50 levels"):
        to_sql(deep, attributes.schema)


def test_a_name_that_would_end_its_quotes_is_left_to_masks(tmp_path: Path) -> None:
    schema = pa.schema({"a` OR true --": pa.int64()})
    assert to_sql(Compare("a` OR true --", "=", 1), schema) is None
