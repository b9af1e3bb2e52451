"""JSON lines whose values are of several kinds, nested, or no item_ids."""

import json
import time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import CatalogueError
from tests.toy import ToyEncoder


def opened(folder: Path, *rows: object) -> Catalogue:
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return Catalogue.open(folder / "items.jsonl")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([5, 10, 100, "n/a"], "because of 'n/a' in row 3"),
        ([3, "3", 4.5], "because of '3' in row 1"),
        ([["x", "y"], "x", []], "because of 'x' in row 1"),
        ([True, "true", False], "because of 'true' in row 1"),
        ([10**30, 1, 2], f"because of {10**30} in row 0"),
        ([{"k": 1}, "a", "b"], "because of a dict in row 0"),
    ],
)
def test_the_value_that_made_a_column_text_is_named(tmp_path: Path, values: list[object], reason: str) -> None:
    rows = [{"item_id": f"i{n}", "title": "mug", "x": value} for n, value in enumerate(values)]
    assert opened(tmp_path, *rows).report.as_text == {"x": reason}


@pytest.mark.parametrize("value", [{"k": 1}, {}, [[1]], [{"k": 1}]])
def test_what_is_nested_is_left_out_with_the_reason(tmp_path: Path, value: object) -> None:
    report = opened(tmp_path, {"item_id": "a", "title": "mug", "x": value}).report
    assert report.columns_left_out["x"].startswith("objects and lists of lists cannot be compared")


def test_depth_and_width_cost_little(tmp_path: Path) -> None:
    deep = '{"k":' * 900 + "1" + "}" * 900
    (tmp_path / "deep.jsonl").write_text(f'{{"item_id": "a", "title": "mug", "x": {deep}}}\n')
    started = time.process_time()
    assert list(Catalogue.open(tmp_path / "deep.jsonl").report.columns_left_out) == ["x"]
    wide = opened(tmp_path, {"item_id": "a", "title": "mug"} | {f"c{n}": n for n in range(10_000)})
    assert len(wide.attributes.column_names) == 10_002
    assert time.process_time() - started < 5  # it took 6.3 s of quadratic searching, and takes well below 1 s


@pytest.mark.parametrize("item_id", [True, float("nan"), 1.5, ["a"], {"a": 1}])
def test_an_item_id_that_is_none_is_refused_and_not_made_a_text(tmp_path: Path, item_id: object) -> None:
    catalogue = opened(tmp_path, {"item_id": "a", "title": "mug"}, {"item_id": item_id, "title": "lamp"})
    assert catalogue.attributes["item_id"].to_pylist() == ["a"]
    assert catalogue.rejects["source_row"].to_pylist() == [1]
    assert catalogue.rejects["reason"][0].as_py().startswith("item_id is neither text nor a whole number")


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (pa.array([Decimal(1), Decimal(2)], pa.decimal128(38, 0)), ["1", "2"]),
        (pa.array([Decimal("1.00"), Decimal("2.00")], pa.decimal128(9, 2)), ["1", "2"]),
        (pa.array([1.0, 2.0]), ["1", "2"]),
    ],
)
def test_whole_numbers_of_any_type_are_item_ids(tmp_path: Path, ids: pa.Array, found: list[str]) -> None:
    pq.write_table(pa.table({"item_id": ids, "title": ["mug", "lamp"]}), tmp_path / "items.parquet")
    assert Catalogue.open(tmp_path / "items.parquet").attributes["item_id"].to_pylist() == found


def test_a_source_of_which_every_row_is_rejected_says_why(tmp_path: Path) -> None:
    table = pa.table({"item_id": pa.array([b"a", b"b"]), "title": ["mug", "lamp"]})
    pq.write_table(table, tmp_path / "items.parquet")
    catalogue = Catalogue.open(tmp_path / "items.parquet")
    with pytest.raises(CatalogueError, match=r"was rejected: 2 of 2: item_id of bytes; the first: .*61"):
        build_bundle(catalogue, ToyEncoder(), tmp_path / "bundle")
