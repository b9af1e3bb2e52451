"""Logs in any type of Arrow, and what is no log: the same values as in plain types, or an error that says which."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from indexing.catalogue.item_ids import id_texts
from indexing.errors import InputError, InteractionsError
from retrieval.interactions.columns import distinct_pairs
from retrieval.interactions.histories import check_weights
from retrieval.interactions.interactions import InteractionColumns, Interactions
from tests.logs import log, values

COLUMNS = ("user_id", "item_id", "timestamp", "weight", "rating")


def not_utf8(text: bytes) -> pa.Array:
    return pa.array([b"1", text, b"3"]).view(pa.string())


def as_runs(values: pa.Array) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), values)


PACKED = {
    "view": lambda texts: pa.array(texts, pa.string_view()),
    "large": lambda texts: pa.array(texts, pa.large_string()),
    "dictionary": lambda texts: pa.array(texts).dictionary_encode(),
    "dictionary of views": lambda texts: pa.array(texts, pa.string_view()).dictionary_encode(),
    "runs": lambda texts: as_runs(pa.array(texts)),
    "runs of views": lambda texts: as_runs(pa.array(texts, pa.string_view())),
    "chunks": lambda texts: pa.chunked_array(
        [pa.array(texts[:2], pa.string_view()), pa.array(texts[2:], pa.string_view())]
    ),
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("column", COLUMNS)
def test_packed_texts_are_read_as_plain_ones(packed: str, column: str) -> None:
    texts = ["5", "x", None, "7"]  # of which an unusable one is shown
    plain, found = (
        Interactions.from_arrow(log(**{column: given})) for given in (pa.array(texts), PACKED[packed](texts))
    )
    assert found.table.equals(plain.table)
    assert (found.dropped, found.examples) == (plain.dropped, plain.examples)
    assert ("'x' in row 1" in str(found.examples)) == (column in ("timestamp", "weight", "rating"))


@pytest.mark.parametrize("packed", PACKED)
def test_events_and_parts_are_read_from_packed_texts(packed: str) -> None:
    table = log(event=PACKED[packed](["view", "buy", "view"]))
    assert values(Interactions.from_arrow(table, events={"view": 1, "buy": 5}), "weight") == [1.0, 5.0, 1.0]
    assert len(Interactions.from_arrow(table, only=("event", ("view",)))) == 2


@pytest.mark.parametrize("kind", [pa.binary(), pa.binary_view()])
def test_events_in_bytes_are_read(kind: pa.DataType) -> None:
    table = log(event=pa.array([b"view", b"buy"], kind))
    assert values(Interactions.from_arrow(table, events={"view": 1, "buy": 5}), "weight") == [1.0, 5.0]
    with pytest.raises(InteractionsError, match=r"column 'event' of type binary cannot hold events"):
        Interactions.from_arrow(log(event=pa.array([b"view", b"\xff"], kind)), events={"view": 1})


@pytest.mark.parametrize("column", [*COLUMNS, "event"])
def test_text_that_is_not_utf8_is_named(column: str) -> None:
    events = {"1": 1.0, "3": 2.0} if column == "event" else None
    with pytest.raises(InteractionsError, match=f"column '{column}' has text that is not UTF-8 in row 1"):
        Interactions.from_arrow(log(**{column: not_utf8(b"\xff")}), events=events)


@pytest.mark.parametrize("width", [32, 64, 128, 256])
def test_whole_decimals_of_any_width_are_ids(width: int) -> None:
    if not hasattr(pa, f"decimal{width}"):
        pytest.skip("this pyarrow has none")
    kind = getattr(pa, f"decimal{width}")(9, 1)
    column = pa.array([Decimal("7.0"), None, Decimal("12.0")], kind)
    assert id_texts(column, "item_id").to_pylist() == ["7", None, "12"]
    with pytest.raises(InputError, match=r"7\.5 in row 0"):
        id_texts(pa.array([Decimal("7.5")], kind), "item_id")


@pytest.mark.parametrize(
    ("name", "value"),
    [("user_id", 3), ("user_id", None), ("item_id", ["item"]), ("timestamp", 5), ("weight", ["a"]), ("event", None)],
)
def test_columns_are_named_by_texts(name: str, value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InputError, match=rf"the column {name} is .*; give the name of a column"):
        Interactions.from_arrow(log(user_id=["a"]), columns=InteractionColumns(**{name: value}))


def put(table: pa.Table, name: str, given: list[Any]) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), pa.array(given, table.schema.field(place).type))


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("weight", [1.0, float("nan")], r"1 weights are not finite, the first is nan in row 1"),
        ("weight", [float("inf"), float("nan")], r"2 weights are not finite, the first is inf in row 0"),
        ("weight", [None, 1.0], "1 rows have no weight"),
        ("user_id", [None, None], "2 rows have no user_id"),
        ("item_id", ["a", None], "1 rows have no item_id"),
        ("timestamp", [1, None], "1 rows have no timestamp"),
    ],
)
def test_a_table_that_was_not_cleaned_is_no_log(name: str, given: list[Any], reason: str) -> None:
    table = Interactions.from_arrow(log(timestamp=[1, 2])).table
    with pytest.raises(InteractionsError, match=rf"{reason}.*; read such logs with Interactions.from_arrow"):
        Interactions(put(table, name, given))


def test_what_is_no_table_is_no_log() -> None:
    with pytest.raises(InputError, match="table is 'x' of type str; open a file by"):
        Interactions("x")
    with pytest.raises(InputError, match="repeats is 'mean'; give one of 'last', 'sum', 'max'"):
        replace(Interactions.from_arrow(log(timestamp=[1, 2])), repeats="mean")  # type: ignore[arg-type]


def test_weights_that_add_up_to_more_than_there_is_are_refused() -> None:
    table = log(user_id=["b", "a", "a"], item_id=["c", "m", "m"], weight=[1.0, 3.3e38, 3.3e38])
    with pytest.raises(
        InteractionsError, match=r"1 pairs .* more than 3\.4e\+38, those of the first to 6\.6e\+38.*row 2"
    ):
        Interactions.from_arrow(table, repeats="sum")
    assert values(Interactions.from_arrow(table, repeats="last"), "weight") == [1.0, np.float32(3.3e38)]
    with pytest.raises(InteractionsError, match=r"add up to more than 3\.4e\+38, those of the first to -6e\+38; give"):
        distinct_pairs(np.array([4, 4]), np.array([-3e38, -3e38], np.float32), "sum")


def test_weights_of_nothing_teach_nothing() -> None:
    with pytest.raises(InputError, match="all 3 interactions weigh 0, so that nothing was liked; give weights above 0"):
        check_weights(Interactions.from_arrow(log(weight=[0, 0, 0])))
    check_weights(Interactions.from_arrow(log(weight=[0, 0, 1])))
