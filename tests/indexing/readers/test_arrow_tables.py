"""Tables in memory as sources: DataFrames of pandas and polars, Arrow tables; what would be read wrongly is refused."""

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from indexing import Bundle, Catalogue, add, build_bundle, update, upsert
from indexing.catalogue.readers.arrow_tables import arrow_table, is_table
from indexing.errors import CatalogueError, InputError
from tests.toy import ToyEncoder

MOMENT = datetime.datetime(2024, 3, 1, 12, 30, tzinfo=datetime.UTC)


def ids(catalogue: Catalogue) -> list[str]:
    return catalogue.attributes["item_id"].to_pylist()  # type: ignore[no-any-return]


def goods(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"item_id": ["mug", "cup"], "title": ["a red mug", "a blue cup"], **more}


@pytest.mark.parametrize("made", [pd.DataFrame, pl.DataFrame, pa.table], ids=["pandas", "polars", "arrow"])
def test_values_types_and_order_are_those_of_the_table(made: Any) -> None:  # noqa: ANN401
    table = made(goods(price=[9.5, None], stock=[3, 0], since=[MOMENT, None], day=[datetime.date(2024, 1, 2), None]))
    found = Catalogue.open(table).attributes
    assert found.select(["item_id", "price", "stock", "day"]).to_pylist() == [
        {"item_id": "mug", "price": 9.5, "stock": 3, "day": datetime.date(2024, 1, 2)},
        {"item_id": "cup", "price": None, "stock": 0, "day": None},
    ]
    assert found.schema.field("since").type == pa.timestamp("us", "UTC")
    assert found["since"].to_pylist() == [MOMENT, None]
    assert found.schema.field("price").type == pa.float64()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1.0, 12.0], ["1", "12"]),
        (pd.array([1, 12], "Int64"), ["1", "12"]),
        (pd.Categorical([1, 12]), ["1", "12"]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
        (["007", "7"], ["007", "7"]),
        (pd.array([2**64 - 1, 5], "UInt64"), [str(2**64 - 1), "5"]),
        ([uuid.UUID(int=5), uuid.UUID(int=6)], [str(uuid.UUID(int=5)), str(uuid.UUID(int=6))]),
        ([Decimal("3"), Decimal("4")], ["3", "4"]),
    ],
    ids=["floats", "Int64", "numbers by category", "categories", "zeros", "uint64", "uuid", "decimals"],
)
def test_ids_of_pandas(column: Any, expected: list[str]) -> None:  # noqa: ANN401
    assert ids(Catalogue.from_pandas(pd.DataFrame({**goods(), "item_id": column}))) == expected


def test_ids_and_values_of_polars() -> None:
    frame = pl.DataFrame(
        {
            "item_id": pl.Series([2**64 - 1, 7], dtype=pl.UInt64),
            "title": pl.Series(["mug", "cup"], dtype=pl.Categorical),
            "price": [Decimal("1.50"), Decimal("20.25")],
            "size": pl.Series(["L", "S"], dtype=pl.Enum(["S", "L"])),
            "tags": [["a", "b"], []],
        }
    )
    found = Catalogue.from_arrow(frame).attributes.to_pylist()
    assert found[0] == {
        "item_id": str(2**64 - 1), "title": "mug", "price": Decimal("1.50"), "size": "L", "tags": ["a", "b"]
    }  # fmt: skip
    assert found[1]["price"] == Decimal("20.25")


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA], ids=["None", "NaN", "NA"])
def test_a_missing_value_is_null_however_pandas_writes_it(missing: object) -> None:
    frame = pd.DataFrame(goods(colour=pd.Series(["red", missing], dtype=object)))
    assert Catalogue.from_pandas(frame).attributes["colour"].to_pylist() == ["red", None]


def test_a_named_index_holds_the_ids_and_one_of_row_numbers_is_left_out() -> None:
    named = pd.Index(["x", "y", "z"], name="item_id")
    frame = pd.DataFrame({"title": ["a", "b", "c"], "price": [1, 2, 3]}, index=named)
    assert ids(Catalogue.from_pandas(frame[frame.price > 1])) == ["y", "z"]
    numbered = frame.reset_index()
    found = Catalogue.from_pandas(numbered[numbered.price > 1]).attributes
    assert found.column_names == ["item_id", "title", "price"]
    both = frame.reset_index().set_index("item_id", drop=False)
    assert ids(Catalogue.from_pandas(both)) == ["x", "y", "z"]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (pd.DataFrame({"title": ["a"]}, index=["mug"]), "index without a name, which holds 'mug'; name it"),
        (pd.DataFrame({"id": ["a"]}, index=pd.Index(["b"], name="id")), "a column and an index named 'id', which"),
        (pd.DataFrame([["a", "b"]], columns=["id", "id"]), "more than one column named 'id'"),
        (pd.DataFrame([["a", "b"]], columns=[0, "0"]), "more than one column named '0'"),
        (pd.DataFrame([["a"]], columns=pd.MultiIndex.from_tuples([("a", "b")])), "column names of 2 levels"),
        (pd.DataFrame({"id": [1, "b7"]}), "holds values of type int, but 'b7' of type str in row 1"),
        (pl.DataFrame({"id": pl.Series([object()], dtype=pl.Object)}), "Python objects in column 'id'"),
        (pl.DataFrame({"id": ["a"]}).lazy(), r"is a LazyFrame; collect it first: frame\.collect"),
        (pl.DataFrame({"id": pl.Series([1], dtype=pl.Int128)}), "cannot be read as an Arrow table"),
        (pl.Series("id", ["a"]), "cannot be read as an Arrow table"),
        ({"id": ["a"]}, "is a dict; give a pandas or polars DataFrame"),
        (pa.table([["a"], ["b"]], names=["id", "id"]), "more than one column named 'id'"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__module__.split(".")[0],
)  # fmt: skip
def test_what_would_be_read_wrongly_is_refused(frame: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Catalogue.from_arrow(frame)


def test_a_number_that_is_no_id_is_a_rejected_row() -> None:
    catalogue = Catalogue.from_pandas(pd.DataFrame({**goods(), "item_id": [1.5, 2.0]}))
    assert ids(catalogue) == ["2"]
    assert catalogue.rejects.to_pylist()[0]["source_row"] == 0


def test_text_that_is_no_utf8_rejects_its_row() -> None:
    titles = pa.array([b"caf\xe9", b"mug"]).view(pa.string())
    catalogue = Catalogue.from_arrow(pa.table({"item_id": ["a", "b"], "title": titles}))
    assert ids(catalogue) == ["b"]
    assert catalogue.rejects.to_pylist() == [{"source_row": 0, "item_id": None, "reason": "not UTF-8: column title"}]


def test_an_empty_table_says_so() -> None:
    with pytest.raises(CatalogueError, match="the table has no rows"):
        Catalogue.from_pandas(pd.DataFrame({"item_id": [], "title": []}))


def test_a_bundle_is_built_and_changed_from_tables(tmp_path: Path) -> None:
    root = tmp_path / "bundle"
    build_bundle(pd.DataFrame(goods(price=[9.5, 3.0])), ToyEncoder(), root)
    more = {"item_id": ["pot"], "title": ["a green pot"], "price": [4.0]}
    assert add(root, pl.DataFrame(more), ToyEncoder()).added == 1
    assert upsert(root, pa.table({**more, "title": ["a white pot"]}), ToyEncoder()).replaced == 1
    assert update(root, pd.DataFrame({"price": [5.5]}, index=pd.Index(["cup"], name="item_id"))).updated == 1
    bundle = Bundle.open(root)
    is_live = bundle.attributes.filter(pa.array(bundle.is_live))
    assert sorted((row["item_id"], row["title"], row["price"]) for row in is_live.to_pylist()) == [
        ("cup", "a blue cup", 5.5), ("mug", "a red mug", 9.5), ("pot", "a white pot", 4.0)
    ]  # fmt: skip


def test_an_arrow_stream_of_another_library_is_a_table() -> None:
    class Stream:
        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            return pa.table({"item_id": ["mug"]}).__arrow_c_stream__(requested_schema)

    assert is_table(Stream())
    assert arrow_table(Stream()).to_pydict() == {"item_id": ["mug"]}
