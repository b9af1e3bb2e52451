"""Ids as text, however a table holds them."""

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import id_texts, other_spelling
from indexing.errors import InputError


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["7", "007", "7.0"], pa.string(), ["7", "007", "7.0"]),
        (["a", None], pa.large_string(), ["a", None]),
        ([1.0, None, float("nan"), float("inf")], pa.float64(), ["1", None, None, None]),
        ([1.0, 12.0], pa.float16(), ["1", "12"]),
        ([-3.0], pa.float32(), ["-3"]),
        ([Decimal(1), None, Decimal(10) ** 30], pa.decimal128(38, 0), ["1", None, "1" + "0" * 30]),
        ([Decimal("5.00")], pa.decimal128(10, 2), ["5"]),
        ([2**63], pa.uint64(), [str(2**63)]),
        ([None], pa.null(), [None]),
    ],
)
def test_ids_become_text(values: list[Any], kind: pa.DataType, expected: list[str | None]) -> None:
    assert id_texts(pa.array(values, kind), "item_id").to_pylist() == expected
    assert id_texts(pa.chunked_array([pa.array(values, kind)]), "item_id").to_pylist() == expected


def test_a_dictionary_of_ids_is_read() -> None:
    assert id_texts(pa.array(["a", "b", "a"]).dictionary_encode(), "item_id").to_pylist() == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([1.0, 1.5], pa.float64(), r"'sku' of type double cannot hold ids: 1\.5 in row 1 "),
        ([1.0, 2.0**60], pa.float64(), r"in row 1 \(from 0\) is no whole number"),
        ([Decimal("1.00"), Decimal("2.50")], pa.decimal128(10, 2), r"2\.50 in row 1 "),
        ([b"a"], pa.binary(), r"'sku' holds bytes \(binary\), which are no ids; write them as text"),
        ([b"ab"], pa.binary(2), "holds bytes"),
        ([True], pa.bool_(), "of type bool cannot hold ids; give text or whole numbers"),
        ([["a"]], pa.list_(pa.string()), "cannot hold ids"),
    ],
)
def test_what_holds_no_ids_is_refused_with_a_value(values: list[Any], kind: pa.DataType, message: str) -> None:
    with pytest.raises(InputError, match=message):
        id_texts(pa.array(values, kind), "sku")


def test_a_whole_number_has_two_spellings() -> None:
    assert [other_spelling(one) for one in ("1.0", "12.00", "-3", "007", "1.5", "a", "")] == [
        "1",
        "12",
        "-3.0",
        "007.0",
        None,
        None,
        None,
    ]
