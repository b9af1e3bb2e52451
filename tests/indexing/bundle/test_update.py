"""Attributes alone: changed at once and durably, without encoding, whole or not at all."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.bundle.build import build_bundle
from indexing.bundle.bundle import Bundle
from indexing.bundle.edits.edit import delete, upsert
from indexing.bundle.edits.update import update
from indexing.bundle.maintenance.rollback import rollback
from indexing.bundle.maintenance.verify import verify
from indexing.catalogue.catalogue import Catalogue
from indexing.errors import CatalogueError, InputError, UnknownItemError
from indexing.store.encode import EncodeConfig
from retrieval.retriever.learned_parts import compact
from retrieval.retriever.retriever import Retriever
from tests.cli_run import runner
from tests.faults import FaultyDisk
from tests.power import Mode
from tests.toy import ToyEncoder, picture, toy_file, toy_table

ENCODE = EncodeConfig(32, workers=0)
GOLDEN_PICTURES = 4  # which prove that the encoder is the same


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("update")
    build_bundle(Catalogue.from_parquet(toy_file(folder)), ToyEncoder(), folder / "bundle", encode=ENCODE)
    return folder / "bundle"


@pytest.fixture
def root(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "bundle")
    return tmp_path / "bundle"


def values(root: Path, name: str = "price") -> dict[str, Any]:
    bundle = Bundle.open(root)
    living = bundle.attributes.filter(pa.array(bundle.is_live))
    return dict(zip(living.column("item_id").to_pylist(), living.column(name).to_pylist(), strict=True))


def put_again(root: Path, titles: Sequence[str], price: int) -> None:
    names = [title.replace(" ", "-") for title in titles]
    path = root.parent / "again.parquet"
    columns = {"item_id": names, "title": titles, "price": [price] * len(names)}
    pq.write_table(pa.table(columns | dict.fromkeys(("image", "tags"), [None] * len(names))), path)
    upsert(root, Catalogue.from_parquet(path), ToyEncoder(), encode=ENCODE)


def test_new_values_are_found_at_once_and_nothing_else_moves(root: Path) -> None:
    reader, before = Retriever.load(root, ToyEncoder()), values(root)
    report = update(root, [{"item_id": "red-mug", "price": 1000}, {"item_id": "blue-lamp", "price": 2000}])
    assert (report.updated, report.batch, report.encoded, report.pending) == (2, 1, 0, 2)
    after = reader.latest()
    assert len(after.items) == len(reader.items)
    hits = after.search_texts(["mug"], 20, where="price >= 1000")[0]
    assert {hit.item_id for hit in hits} == {"red-mug", "blue-lamp"}
    assert not reader.search_texts(["mug"], 20, where="price >= 1000")[0]
    assert values(root) == before | {"red-mug": 1000, "blue-lamp": 2000}
    old, new = (each.search_texts(["red book"], 20) for each in (reader, after))
    assert [hit.item_id for hit in old[0]] == [hit.item_id for hit in new[0]]
    np.testing.assert_array_equal(old.scores, new.scores)


def test_the_last_of_several_updates_counts_and_survives_compaction(root: Path) -> None:
    expected = values(root) | {"red-mug": 3, "red-shoe": 2}
    tags = values(root, "tags")
    update(root, [{"item_id": "red-mug", "price": 1}, {"item_id": "red-shoe", "price": 2}])
    update(root, [{"item_id": "red-mug", "price": 3}])
    update(root, [{"item_id": "blue-mug", "tags": ["cheap", "blue"]}])
    for _ in range(2):
        assert values(root) == expected
        assert values(root, "tags") == tags | {"blue-mug": ["cheap", "blue"]}
        assert verify(root) == []
        compact(root)
    assert Bundle.open(root).batches == ()
    rollback(root)
    assert values(root) == expected


def test_an_item_put_in_again_has_its_own_values(root: Path) -> None:
    update(root, [{"item_id": "red-mug", "price": 1}, {"item_id": "red-shoe", "price": 2}])
    put_again(root, ["red mug"], 70)
    update(root, [{"item_id": "red-shoe", "price": 3}])
    delete(root, ["red-shoe"])
    put_again(root, ["red shoe", "red kite"], 80)
    assert {name: price for name, price in values(root).items() if name.startswith("red-")} == {
        "red-mug": 70,
        "red-shoe": 80,
        "red-kite": 80,
        "red-lamp": 23,
        "red-book": 33,
        "red-chair": 43,
    }
    update(root, [{"item_id": "red-kite", "price": 5}])
    assert values(root)["red-kite"] == 5
    compact(root)
    assert values(root)["red-kite"] == 5


FILES: dict[str, Callable[[Path], object]] = {
    "u.csv": lambda path: path.write_text("item_id,price,tags\nred-mug,7,\nblue-mug,,\n"),
    "u.jsonl": lambda path: path.write_text('{"id": "red-mug", "price": 7}\n{"id": "blue-mug", "price": null}\n'),
    "u.parquet": lambda path: pq.write_table(pa.table({"id": ["red-mug", "blue-mug"], "price": [7.0, None]}), path),
}


@pytest.mark.parametrize("name", FILES)
def test_files_of_every_kind_and_a_missing_value_leaves_what_was(root: Path, name: str) -> None:
    before = values(root)
    FILES[name](root.parent / name)
    if name == "u.csv":
        (root.parent / name).write_text("item_id,price\nred-mug,7\nblue-mug,\n")
    report = update(root, root.parent / name)
    assert (report.updated, report.left) == (2, 1)
    assert values(root) == before | {"red-mug": 7}


REFUSED: list[tuple[Any, type[Exception], str]] = [
    ([{"item_id": "red-mug", "price": "dear"}], InputError, "'price' of item 'red-mug' is 'dear', in the bundle it is"),
    ([{"item_id": "red-mug", "price": 2.5}], InputError, r"'price' of item 'red-mug' is 2\.5"),
    ([{"item_id": "red-mug", "tags": 3}], InputError, "'tags' of item 'red-mug' is 3, in the bundle it is list"),
    ([{"item_id": "red-mug", "prise": 1}], InputError, r"no attribute 'prise'; did you mean one of \['price'\]"),
    ([{"item_id": "red-mug", "title": "x"}], InputError, r"were made of \['title'\].*upsert"),
    ([{"item_id": "red-mug", "image": "x"}], InputError, r"were made of \['image'\]"),
    ([{"item_id": "red-mug"}], InputError, "no column but the item_id"),
    ([{"item_id": "red-kite", "price": 1}], UnknownItemError, "1 of 1 item ids are not in .*: 'red-kite'; nothing was"),
    ([{"item_id": "red-mug", "price": 1}] * 2, InputError, "1 items come more than once: 'red-mug'"),
    ([{"item_id": None, "price": 1}], InputError, "row 0 of the updates: missing item_id"),
    ([{"code": "red-mug", "price": 1}], InputError, "no column named item_id, id, sku or the like among"),
    ([{"item_id": "red-mug", "price": 1}, {"item_id": "blue-mug", "price": "b"}], InputError, "no common type"),
    ([], InputError, "no rows"),
    (7, InputError, "give a table, a file, or a list of objects"),
    (pa.table({"item_id": ["red-mug"], "price": [[1]]}), InputError, r"is \[1\]"),
    ("updates.xlsx", CatalogueError, "cannot tell what updates.xlsx is"),
    ("missing.csv", CatalogueError, "missing.csv: there is no such file"),
]


@pytest.mark.parametrize("place", range(len(REFUSED)))
def test_what_cannot_be_used_changes_nothing(root: Path, place: int) -> None:
    updates, kind, message = REFUSED[place]
    if isinstance(updates, list) and len(updates) == 1 and kind is not UnknownItemError:
        updates = [*updates, {**updates[0], "item_id": "blue-mug"}] if updates[0].get("item_id") else updates
    before = Bundle.open(root).state
    with pytest.raises(kind, match=message):
        update(root, updates)
    assert Bundle.open(root).state == before


def test_a_torn_row_of_a_file_changes_nothing(root: Path) -> None:
    (root.parent / "torn.csv").write_text("item_id,price\nred-mug,7\nblue-mug,8,9\n")
    with pytest.raises(CatalogueError, match=r"row 1 of .*torn.csv cannot be read: 3 columns instead of 2"):
        update(root, root.parent / "torn.csv")
    assert Bundle.open(root).batches == ()


@pytest.mark.parametrize("mode", ["error", "stop", "power", "some"])
def test_a_failure_at_any_operation_leaves_all_or_nothing(built: Path, tmp_path: Path, mode: Mode) -> None:
    before = values(built)
    after = before | {"red-mug": 1, "blue-mug": 2}
    fail_at, failed, seen = 0, True, []
    while failed:
        fail_at += 1
        shutil.copytree(built, root := tmp_path / f"{fail_at}" / "bundle")
        acknowledged = False
        with FaultyDisk(root.parent, fail_at, mode) as disk, suppress(OSError):
            update(root, [{"item_id": "red-mug", "price": 1}, {"item_id": "blue-mug", "price": 2}])
            acknowledged = True
        failed, found = disk.failed, values(root)
        assert found in (before, after)
        assert found == after or not acknowledged
        assert not [problem for problem in verify(root) if problem.serving]
        seen.append(found == after)
        shutil.rmtree(root.parent)
    assert seen[-1]


def test_an_upsert_encodes_only_what_has_changed(root: Path, tmp_path: Path) -> None:
    rows = toy_table().to_pylist()
    rows[0]["price"], rows[1]["title"] = 99, "green cup"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "again.parquet")
    encoder = ToyEncoder()
    before = Retriever.load(root, ToyEncoder()).search_texts(["green mug", "red"], 20)
    encoder.encoded, encoder.pictures = [], 0
    report = upsert(root, Catalogue.from_parquet(tmp_path / "again.parquet"), encoder, encode=ENCODE)
    assert (report.replaced, report.unchanged, report.encoded, report.failed) == (2, 18, 1, {})
    assert "green cup" in encoder.encoded
    assert not {"red mug", "blue lamp"} & set(encoder.encoded)
    assert encoder.pictures == GOLDEN_PICTURES
    after = Retriever.load(root, ToyEncoder()).search_texts(["red"], 20)
    assert [hit.item_id for hit in after[0]][:5] == [hit.item_id for hit in before[1]][:5]
    assert values(root)["red-mug"] == 99
    rows[1]["title"] = "green vase"  # what an earlier change put in is known as well
    pq.write_table(pa.Table.from_pylist(rows[:2]), tmp_path / "again.parquet")
    assert upsert(root, Catalogue.from_parquet(tmp_path / "again.parquet"), encoder, encode=ENCODE).encoded == 1
    rows[1]["title"] = "green vase"
    assert upsert(root, Catalogue.from_parquet(tmp_path / "again.parquet"), encoder, encode=ENCODE).encoded == 0


def test_the_command_line_updates(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prices.csv").write_text("sku,price\nred-mug,12\n")
    code, out, _ = runner(capsys)("update", root, tmp_path / "prices.csv", "--id-column", "sku", "--json")
    assert (code, json.loads(out)["updated"]) == (0, 1)
    assert values(root)["red-mug"] == 12


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"title": "red mug"}, "values in: price of 1, tags of 1, image of 1; nothing was changed"),
        ({"title": "red mug", "tags": ["x"], "image": picture("red")}, "values in: price of 1; nothing was changed"),
        ({"title": "red mug", "tags": ["x"], "price": 7}, "values in: image of 1; nothing was changed"),
        ({"image": picture("red"), "tags": ["x"], "price": 7}, "values in: title of 1; nothing was changed"),
    ],
)
def test_an_upsert_that_would_empty_columns_is_refused(
    root: Path, tmp_path: Path, row: Mapping[str, object], reason: str
) -> None:
    path, before, encoder = tmp_path / "fewer.parquet", values(root), ToyEncoder()
    pq.write_table(pa.Table.from_pylist([{"item_id": "red-mug", **row}, {"item_id": "new", **row}]), path)
    with pytest.raises(InputError, match=f"{reason}.* or change attributes alone with update"):
        upsert(root, Catalogue.from_parquet(path), encoder, encode=ENCODE)
    assert (values(root), Bundle.open(root).batches) == (before, ())
    assert "red mug" not in encoder.encoded


def test_an_upsert_of_new_items_alone_may_lack_columns_and_a_column_without_values_empties(
    root: Path, tmp_path: Path
) -> None:
    (tmp_path / "new.csv").write_text("item_id,title\nnew,green kite\n")
    assert upsert(root, Catalogue.from_csv(tmp_path / "new.csv"), ToyEncoder(), encode=ENCODE).added == 1
    (tmp_path / "empty.csv").write_text("item_id,title,price,image,tags\nred-mug,red mug,,,\n")
    assert upsert(root, Catalogue.from_csv(tmp_path / "empty.csv"), ToyEncoder(), encode=ENCODE).replaced == 1
    assert values(root)["red-mug"] is None


def test_what_an_upsert_leaves_as_it_was_is_counted_apart_and_is_no_change(root: Path, tmp_path: Path) -> None:
    pq.write_table(toy_table(), tmp_path / "same.parquet")
    report = upsert(root, Catalogue.from_parquet(tmp_path / "same.parquet"), ToyEncoder(), encode=ENCODE)
    assert (report.unchanged, report.replaced, report.batch, report.pending) == (20, 0, 0, 0)
    update(root, [{"item_id": "red-mug", "price": 99}])
    report = upsert(root, Catalogue.from_parquet(tmp_path / "same.parquet"), ToyEncoder(), encode=ENCODE)
    assert (report.unchanged, report.replaced, report.encoded) == (19, 1, 0)
    assert values(root)["red-mug"] == toy_table().column("price")[0].as_py()
    delete(root, ["red-mug"])
    report = upsert(root, Catalogue.from_parquet(tmp_path / "same.parquet"), ToyEncoder(), encode=ENCODE)
    assert (report.unchanged, report.added, report.replaced) == (19, 1, 0)
