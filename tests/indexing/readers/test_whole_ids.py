"""Whole numbers that pandas wrote with a decimal point, in ids of items, are read as those of logs are."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.update import update
from indexing.catalogue.catalogue import Catalogue
from indexing.diagnostics.inspect import inspect_catalogue
from retrieval.interactions.interactions import Interactions
from retrieval.interactions.known_items import known_items
from tests.toy import ToyEncoder


def source(folder: Path, ids: list[str | None], kind: str) -> Path:
    path = folder / f"items.{kind}"
    titles = [f"thing {number}" for number in range(len(ids))]
    if kind == "csv":
        path.write_text("item_id,title\n" + "".join(f"{i or ''},{t}\n" for i, t in zip(ids, titles, strict=True)))
    elif kind == "jsonl":
        rows = zip(ids, titles, strict=True)
        path.write_text("".join(f'{{"item_id": "{i}", "title": "{t}"}}\n' for i, t in rows if i))
    else:
        pq.write_table(pa.table({"item_id": pa.array(ids, pa.string()), "title": titles}), path, row_group_size=1)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize(
    ("ids", "read", "notes"),
    [
        (["1.0", "2.0", None], ["1", "2"], ("item_id without .0, as 1 for 1.0",)),
        (["-7.0", "12345678901.0"], ["-7", "12345678901"], ("item_id without .0, as -7 for -7.0",)),
        (["1.0", "2"], ["1.0", "2"], ()),
        (["1.0", "v2.0"], ["1.0", "v2.0"], ()),
        (["1.5", "2.0"], ["1.5", "2.0"], ()),
        (["007", "008"], ["007", "008"], ()),
    ],
)
def test_ids_are_written_without_a_decimal_point_where_all_have_it(
    tmp_path: Path, kind: str, ids: list[str | None], read: list[str], notes: tuple[str, ...]
) -> None:
    catalogue = Catalogue.open(source(tmp_path, ids, kind))
    assert catalogue.attributes["item_id"].to_pylist() == read
    assert [item.item_id for batch in catalogue.batches(1) for item in batch] == read
    assert catalogue.report.read_as == notes
    assert inspect_catalogue(catalogue).columns["read_as"] == list(notes)


@pytest.mark.parametrize("written", ["1.0", "1"])
def test_logs_and_updates_fit_however_they_write_ids(tmp_path: Path, written: str) -> None:
    catalogue = Catalogue.open(source(tmp_path, ["1.0", "2.0"], "csv"))
    bundle = build_bundle(catalogue, ToyEncoder(), tmp_path / "b")
    assert list(bundle.items) == ["1", "2"]
    log = Interactions.from_arrow(pa.table({"user_id": ["u"], "item_id": [written]}))
    read, known = known_items(log, bundle.items)
    assert (read.table["item_id"].to_pylist(), known.unknown) == (["1"], 0)


@pytest.mark.parametrize("written", ["1.0", "1"])
def test_updates_fit_however_they_write_ids(tmp_path: Path, written: str) -> None:
    (tmp_path / "items.csv").write_text("item_id,title,price\n1.0,mug,3\n2.0,cup,4\n")
    build_bundle(Catalogue.open(tmp_path / "items.csv"), ToyEncoder(), tmp_path / "b")
    (tmp_path / "new.csv").write_text(f"item_id,price\n{written},9\n")
    assert update(tmp_path / "b", tmp_path / "new.csv").updated == 1
    bundle = Bundle.open(tmp_path / "b")
    assert dict(zip(bundle.items, bundle.attributes["price"].to_pylist(), strict=True)) == {"1": 9, "2": 4}
