"""Rows that are read when asked for are those of the array that they stand for."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from indexing.arrays import masked_sum, row_products, weighted_sums
from indexing.store.lazy_rows import Appended, ComputedRows, GrowingRows, LazyRows, SideBySide

RNG = np.random.default_rng(0)
WHOLE = RNG.normal(size=(50, 7)).astype(np.float32)
QUERIES = RNG.normal(size=(3, 7)).astype(np.float32)


def computed(array: np.ndarray[Any, Any]) -> ComputedRows:
    return ComputedRows((len(array), array.shape[1]), lambda rows: array[rows])


TABLES: dict[str, LazyRows] = {
    "computed": computed(WHOLE),
    "side by side": SideBySide(computed(WHOLE[:, :4]), WHOLE[:, 4:]),
    "appended": Appended(computed(WHOLE[:30]), WHOLE[30:]),
    "all of it": Appended(SideBySide(WHOLE[:30, :4], computed(WHOLE[:30, 4:])), WHOLE[30:]),
}
KEYS: dict[str, Any] = {
    "a row": 31,
    "the last": -1,
    "a numpy number": np.int64(3),
    "rows": np.array([29, 30, 0, 29, -1]),
    "rows of queries": np.array([[1, 2], [49, 30]]),
    "no rows": np.array([], np.int64),
    "a list": [3, 40],
    "a mask": np.arange(50) % 3 == 0,
    "a slice": slice(25, 35),
    "later ones": slice(30, None),
    "none of them": slice(50, None),
    "every second": slice(1, 40, 2),
    "some columns of all": (slice(None), slice(0, 4)),
    "columns of both sides": (slice(None), slice(3, 6)),
    "one column": (slice(None), 5),
    "the last column": (slice(None), -1),
    "a column of rows": (np.array([1, 31]), 2),
    "columns of rows": (np.array([1, 31]), slice(4, None)),
    "columns of a slice": (slice(20, 40), slice(None, 2)),
}


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> LazyRows:
    monkeypatch.setattr("indexing.store.lazy_rows.BLOCK_ROWS", 8)
    return TABLES[request.param]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_what_is_asked_for_is_that_of_the_array(table: LazyRows, key: Any) -> None:  # noqa: ANN401
    np.testing.assert_array_equal(np.asarray(table[key]), WHOLE[key])


COMPUTATIONS: dict[str, Callable[[Any], Any]] = {
    "products with a query": lambda rows: rows @ QUERIES[0],
    "products with queries": lambda rows: rows @ QUERIES.T,
    "products of queries": lambda rows: QUERIES @ rows.T,
    "products of a query": lambda rows: QUERIES[0] @ rows.T,
    "mean": lambda rows: rows.mean(axis=0),
    "any": lambda rows: rows.any(axis=1),
    "sum": lambda rows: masked_sum(rows, np.arange(50) > 20),
    "weighted sums": lambda rows: weighted_sums(
        np.ones((1, 4), np.float32), rows, np.array([1, 31, 2, 49]), np.array([3, 1])
    ),
    "row products": lambda rows: row_products(rows, QUERIES[:, None], np.array([[1, 31], [2, 49], [0, 30]])),
}


@pytest.mark.parametrize("compute", COMPUTATIONS.values(), ids=COMPUTATIONS)
def test_what_is_computed_is_that_of_the_array(table: LazyRows, compute: Callable[[Any], Any]) -> None:
    np.testing.assert_allclose(compute(table), compute(WHOLE), rtol=1e-5, atol=1e-6)  # sums of blocks


def test_what_would_read_all_rows_unasked_is_refused(table: LazyRows) -> None:
    for compute in (lambda rows: rows + 1, lambda rows: 2 * rows, lambda rows: rows.mean(axis=1), np.sqrt):
        with pytest.raises(TypeError):
            compute(table)
    with pytest.raises(ValueError, match="as a copy alone"):
        np.asarray(table, copy=False)
    with pytest.raises(IndexError, match=r"rows from 3 to 50 of 50"):
        table[[3, 50]]


@pytest.mark.parametrize("in_memory", [0, 1 << 20])
def test_rows_that_come_later_follow_and_those_who_have_fewer_keep_them(
    in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexing.store.lazy_rows.IN_MEMORY_BYTES", in_memory)
    rows = GrowingRows(computed(WHOLE[:30]))
    first = rows.extended(30, WHOLE[30:30])
    second = rows.extended(30, WHOLE[30:35])
    third = rows.extended(35, WHOLE[35:])
    again = rows.extended(30, WHOLE[30:35])
    for found, count in ((first, 30), (second, 35), (third, 50), (again, 35)):
        assert isinstance(found, LazyRows) == (in_memory == 0)
        np.testing.assert_array_equal(np.asarray(found), WHOLE[:count])
