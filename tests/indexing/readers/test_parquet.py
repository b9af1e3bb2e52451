"""Parquet: plain types, odd and hostile files, and no more read than what was asked for."""

import datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.readers.parquet import ParquetReader
from indexing.errors import CatalogueError, InputError, InteractionsError
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.user_profiles import Profiles


def write(folder: Path, table: pa.Table, rows_a_group: int = 100) -> Path:
    pq.write_table(table, folder / "items.parquet", row_group_size=rows_a_group, compression="none")
    return folder / "items.parquet"


def undecodable() -> pa.Array:
    offsets = pa.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0")
    return pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xffb")])


def test_every_kind_of_text_becomes_plain_and_what_filters_cannot_use_is_left_out(tmp_path: Path) -> None:
    tags = pa.array([["x"], None], pa.list_(pa.string()))
    plain_columns = {
        "item_id": pa.array(["a", "b"]),
        "title": pa.array(["t", "u"]),
        "view": pa.array(["v", None], pa.string_view()),
        "large": pa.array(["l", "m"], pa.large_string()),
        "words": pa.array(["w", None]).dictionary_encode(),
        "tags": tags.cast(pa.list_(pa.dictionary(pa.int32(), pa.string()))),
        "when": pa.array([datetime.date(2020, 1, 1)] * 2),
        "price": pa.array([1.5, None], pa.float32()),
        "price.usd": pa.array([3, 4], pa.uint64()),
        "lasts": pa.array([datetime.timedelta(1)] * 2),
        "exact": pa.array([Decimal("1.5")] * 2),
        "sizes": pa.array([[1.0], [None]]),
    }
    odd_columns = {
        "nested": pa.array([{"a": 1}, None]),
        "vector": pa.array([[1.0] * 65, None]),
        "nothing": pa.nulls(2),
    }
    catalogue = Catalogue.open(write(tmp_path, pa.table(plain_columns | odd_columns)))
    assert catalogue.report.ignored_columns == tuple(odd_columns)
    assert catalogue.attributes.schema.types == [pa.string()] * 5 + [pa.list_(pa.string())] + [
        pa.date32(),
        pa.float32(),
        pa.uint64(),
        pa.duration("us"),
        pa.decimal128(2, 1),
        pa.list_(pa.float64()),
    ]
    assert catalogue.attributes.to_pydict() == {name: column.to_pylist() for name, column in plain_columns.items()}


def test_two_columns_of_one_name_are_left_out(tmp_path: Path) -> None:
    table = pa.table([["a"], ["t"], [1], [2]], names=["item_id", "title", "x", "x"])
    catalogue = Catalogue.open(write(tmp_path, table))
    assert catalogue.attributes.to_pydict() == {"item_id": ["a"], "title": ["t"]}
    assert catalogue.report.ignored_columns == ("x",)
    twice = pa.table([["a"], ["t"], ["u"]], names=["item_id", "title", "title"])
    with pytest.raises(CatalogueError, match="has neither text nor pictures"):
        Catalogue.open(write(tmp_path, twice))


def test_vectors_of_another_name_are_pointed_out(tmp_path: Path) -> None:
    table = pa.table({"item_id": ["a"], "vector": pa.array([[1.0, 0.0]], pa.list_(pa.float32(), 2))})
    with pytest.raises(CatalogueError, match=r"to build from the vectors in 'vector', rename it to one of \['text_vec"):
        Catalogue.open(write(tmp_path, table))


@pytest.mark.parametrize("name", ["title", "colour", "tags", "item_id"])
def test_a_row_with_text_that_is_no_utf8_is_rejected(tmp_path: Path, name: str) -> None:
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), undecodable())
    given = {"item_id": pa.array(["a", "b"]), "title": pa.array(["t", "u"]), "price": pa.array([1, 2])}
    given[name] = lists if name == "tags" else undecodable()
    table = pa.table(given)
    table = pa.concat_tables([table.slice(1), table, table.slice(1, 1)])
    catalogue = Catalogue.open(write(tmp_path, table, 2))
    assert catalogue.rejects.to_pylist()[0] == {
        "source_row": 1, "item_id": None, "reason": f"not UTF-8: column {name}"
    }  # fmt: skip
    assert catalogue.report.rejected == {"not UTF-8": 1, "duplicate item_id": 2}
    assert catalogue.attributes["price"].to_pylist() == [2]
    for size in (1, 2, 9):
        assert [item.text for batch in catalogue.batches(size) for item in batch] == [
            catalogue.attributes["title"][0].as_py()
        ]


def test_a_dataset_with_text_that_is_no_utf8_is_refused_by_its_row(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = pa.table({"item_id": pa.array(["b", "a"]), "title": undecodable()})
    with pytest.raises(CatalogueError, match="row 0 of dataset has text that is not UTF-8 in column title"):
        len(Catalogue.from_dataset(datasets.Dataset(pa.table(table))))


@pytest.mark.parametrize("column", ["user_id", "item_id"])
def test_logs_and_profiles_with_text_that_is_no_utf8_are_refused(column: str) -> None:
    table = pa.table({"user_id": pa.array(["a", "b"]), "item_id": pa.array(["a", "b"])})
    table = table.set_column(table.column_names.index(column), column, undecodable())
    with pytest.raises(InteractionsError, match=f"column '{column}' has text that is not UTF-8 in row 0"):
        Interactions.from_arrow(table)
    with pytest.raises(InputError, match=f"column '{column}' has text that is not UTF-8 in row 0"):
        Profiles.from_arrow(table)


def test_nested_nulls_in_lists_and_structs(tmp_path: Path) -> None:
    image = pa.array([{"bytes": None, "path": None}, None, {"bytes": b"x", "path": None}])
    table = pa.table({"item_id": ["a", "b", "c"], "keywords": [[None, "k"], [None], None], "image": image})
    catalogue = Catalogue.open(write(tmp_path, table))
    items = [item for batch in catalogue.batches(2) for item in batch]
    assert [(item.item_id, item.text, [m.source for m in item.media]) for item in items] == [
        ("a", "k", []),
        ("c", None, [b"x"]),
    ]
    assert catalogue.rejects["reason"].to_pylist() == ["neither text nor file"]


def test_first_batches_need_only_the_first_row_groups(tmp_path: Path) -> None:
    images = [bytes([65 + number]) * 5_000 for number in range(6)]
    path = write(tmp_path, pa.table({"item_id": list("abcdef"), "title": ["t"] * 6, "image": images}), rows_a_group=2)
    catalogue = Catalogue.open(path)
    assert len(catalogue) == 6
    damaged = bytearray(path.read_bytes())
    chunk = pq.ParquetFile(path).metadata.row_group(2).column(2)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    damaged[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(damaged)
    batches = catalogue.batches(2)
    assert [item.media[0].source for _ in range(2) for item in next(batches)] == images[:4]
    with pytest.raises(CatalogueError, match="is damaged or has changed"):
        next(batches)


def test_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    path = write(tmp_path, pa.table({"item_id": ["a", "b", "c"], "title": ["t"] * 3, "image": [b"x"] * 3}))
    batches = list(ParquetReader(path).batches(["title"], 2))
    assert [batch.to_pydict() for batch in batches] == [{"title": ["t", "t"]}, {"title": ["t"]}]


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="has no rows: there is nothing to index"):
        ParquetReader(write(tmp_path, pa.table({"item_id": pa.array([], pa.string())})))
    (tmp_path / "items.parquet").write_bytes(b"")
    with pytest.raises(CatalogueError, match="is not a Parquet file"):
        ParquetReader(tmp_path / "items.parquet")
