"""Attributes of every kind as numbers and as values; what is missing or blank is no value."""

from datetime import time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from retrieval.models.features.attribute_values import Attribute
from retrieval.models.features.column_encoders import (
    Categories,
    Embedded,
    Numbers,
    columns_of,
    item_values,
    numbers,
    split_values,
)
from retrieval.models.features.tfidf import texts_of
from retrieval.postprocess.blend import Blend
from retrieval.postprocess.titles import title_in


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ([["a", None], [None], [], None], [("a",), (), (), ()]),
        ([["a", "", " "], [""], ["a", "a"]], [("a",), (), ("a",)]),
        (["a|b", "a||b|", "", "|", " ", None], [("a", "b"), ("a", "b"), (), (), (), ()]),
        ([[1.5, float("nan")], [2.0]], [("1.5",), ("2.0",)]),
        ([[1, None, 3]], [("1", "3")]),
        ([[True, None]], [("True",)]),
    ],
)
def test_what_is_missing_or_blank_is_no_value(column: list[object], values: list[tuple[str, ...]]) -> None:
    given = pa.chunked_array([pa.array(column)])
    assert split_values(given) == values
    assert "None" not in Attribute.of(given).values
    assert "" not in Attribute.of(given).values


@pytest.mark.parametrize("value", [None, "", " ", float("nan"), [None, ""], []])
def test_an_item_without_a_value_has_none(value: object) -> None:
    assert item_values(value) == ()


def test_no_category_is_learned_from_missing_values() -> None:
    table = pa.table({"tags": [["a", None], ["a", None, ""], ["b", None], ["b", ""]]})
    assert columns_of(table) == (Categories("tags", ("a", "b")),)


@pytest.mark.parametrize(
    ("column", "wanted"),
    [
        (pa.array([Decimal("1.50"), None], pa.decimal128(38, 9)), [1.5, np.nan]),
        (pa.array([Decimal(7), None], pa.decimal256(50, 0)), [7, np.nan]),
        (pa.array([0.5, None], pa.float16()), [0.5, np.nan]),
        (pa.array([time(1), None], pa.time32("ms")), [3600, np.nan]),
        (pa.array([time(0, 1), None], pa.time64("ns")), [60, np.nan]),
        (pa.array([timedelta(minutes=2), None], pa.duration("us")), [120, np.nan]),
    ],
)
def test_measures_are_numbers(column: pa.Array, wanted: list[float]) -> None:
    np.testing.assert_array_equal(numbers(pa.chunked_array([column])), wanted)  # each is exact in binary
    varied = pa.concat_arrays([column, column])
    assert columns_of(pa.table({"x": varied})) == ()  # all alike tell nothing
    Blend(pa.table({"x": column}), {"x": 1.0})


def test_decimals_are_learned_like_numbers() -> None:
    table = pa.table({"price": pa.array([Decimal(n) for n in range(20)], pa.decimal128(9, 2))})
    (found,) = columns_of(table)
    assert isinstance(found, Numbers)
    assert found.centres[0] < 1 < 18 < found.centres[-1]


def test_lists_of_numbers_of_one_length_are_vectors_and_others_are_values() -> None:
    table = pa.table({"place": [[1.0, 2.0], [3.0, 4.0]] * 2, "sizes": [[38.0, 39.0], [38.0], [39.0], [38.0]]})
    place, sizes = columns_of(table)
    assert isinstance(place, Embedded)
    assert sizes == Categories("sizes", ("38.0", "39.0"))


@pytest.mark.parametrize(
    ("value", "title"),
    [
        (["a", "b"], "a, b"),
        ([None, "b", ""], "b"),
        (1984, "1984"),
        (0, "0"),
        ([1, 2], "1, 2"),
        (None, None),
        ([], None),
    ],
)
def test_titles_of_any_kind_are_one_text(value: object, title: str | None) -> None:
    assert title_in(value) == title


def test_words_are_read_from_columns_of_any_kind() -> None:
    table = pa.table({"title": ["mug", None], "year": [1984, None], "tags": [["a", None], None], "sizes": [[1, 2], []]})
    assert texts_of(table, ["title", "year", "tags", "sizes"]) == ["mug 1984 a 1 2", "   "]
