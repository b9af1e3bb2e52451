"""Hugging Face datasets: map-style and streamed give the same items, nothing is decoded, and rows get numbers."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from indexing.bundle.build import build_bundle
from indexing.catalogue.catalogue import Catalogue, Item
from indexing.catalogue.columns import NamedColumns
from indexing.catalogue.medium import Medium
from indexing.catalogue.readers.datasets import DatasetReader
from indexing.errors import CatalogueError
from indexing.media.files import Kind
from tests.toy import ToyEncoder, picture

BROKEN = b"no picture, and no sound either"
ROWS: dict[str, list[Any]] = {
    "id": ["a", "b", "c"],
    "title": ["red mug", None, "a lamp"],
    "image": [{"bytes": BROKEN, "path": None}, {"bytes": b"\x89PNG", "path": "b.png"}, None],
    "audio": [{"bytes": BROKEN, "path": None}] * 3,
    "kind": [1, 0, None],
    "price": [1.5, None, 3.0],
}
FEATURES = datasets.Features(
    {
        "id": datasets.Value("string"),
        "title": datasets.Value("large_string"),
        "image": datasets.Image(),
        "audio": datasets.Audio(sampling_rate=16_000),
        "kind": datasets.ClassLabel(names=["lamp", "mug"]),
        "price": datasets.Value("float32"),
    }
)


def map_style() -> datasets.Dataset:
    table = pa.table(ROWS, schema=FEATURES.arrow_schema)  # through Arrow, since making sounds takes another package
    return datasets.Dataset(table, info=datasets.DatasetInfo(features=FEATURES))


def streamed() -> datasets.IterableDataset:
    def rows() -> Iterator[dict[str, Any]]:
        for place in range(3):
            yield {name: values[place] for name, values in ROWS.items() if name != "audio"}

    silent = datasets.Features({name: feature for name, feature in FEATURES.items() if name != "audio"})
    return datasets.IterableDataset.from_generator(rows, features=silent)


SOURCES = {
    "map": map_style,
    "stream": streamed,
    "stream of map": lambda: map_style().to_iterable_dataset(num_shards=2),
    "with a format": lambda: map_style().with_format("numpy"),
}


def items_of(catalogue: Catalogue, size: int = 2) -> list[Item]:
    return [item for batch in catalogue.batches(size) for item in batch]


@pytest.fixture
def nothing_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    for feature in (datasets.Image, datasets.Audio):
        monkeypatch.setattr(feature, "decode_example", fail)


def seen_only(item: Item) -> Item:
    return replace(item, media=tuple(medium for medium in item.media if medium.kind is Kind.IMAGE))


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
@pytest.mark.usefixtures("nothing_decodes")
def test_every_kind_gives_the_same_items_as_often_as_asked(make: Callable[[], object]) -> None:
    catalogue = Catalogue.from_dataset(make())
    wanted = [
        Item("a", "red mug", (Medium(Kind.IMAGE, BROKEN),)),
        Item("b", None, (Medium(Kind.IMAGE, b"\x89PNG"),)),
        Item("c", "a lamp"),
    ]
    for size in (1, 2, 3, 9, 2):
        assert [seen_only(item) for item in items_of(catalogue, size)] == wanted
    assert catalogue.attributes.to_pydict() == {
        "item_id": ["a", "b", "c"],
        "title": ["red mug", None, "a lamp"],
        "kind": ["mug", "lamp", None],
        "price": [1.5, None, 3.0],
    }
    assert catalogue.report.ignored_columns in (("audio",), ())


@pytest.mark.usefixtures("nothing_decodes")
def test_rows_without_an_id_are_numbered() -> None:
    for dataset in (map_style().remove_columns("id"), map_style().remove_columns("id").to_iterable_dataset()):
        catalogue = Catalogue.from_dataset(dataset)
        assert [item.item_id for item in items_of(catalogue)] == ["row-0000000", "row-0000001", "row-0000002"]
    reader = DatasetReader(map_style().remove_columns("id"))
    assert [batch.to_pydict() for batch in reader.batches(["item_id"], 2)] == [
        {"item_id": ["row-0000000", "row-0000001"]},
        {"item_id": ["row-0000002"]},
    ]


@pytest.mark.parametrize("name", ["SKU", "itemId", "Product ID", "file_name"])
def test_ids_are_found_however_their_column_is_written(name: str) -> None:
    dataset = datasets.Dataset.from_dict({name: ["7", "8"], "text": ["x", "y"]})
    for given in (dataset, dataset.to_iterable_dataset()):
        assert [item.item_id for item in items_of(Catalogue.from_dataset(given))] == ["7", "8"]


def test_numbers_of_rows_are_said_unless_they_were_asked_for() -> None:
    dataset = datasets.Dataset.from_dict({"code": [7, 8], "text": ["x", "y"]})
    (note,) = Catalogue.from_dataset(dataset).report.read_as
    assert note.startswith(
        "rows are named row-0000000, row-0000001 and so on, as none of ['code', 'text'] is a column of ids"
    )
    asked = Catalogue.from_dataset(dataset, columns=NamedColumns(item_id="item_id"))
    assert (asked.report.read_as, items_of(asked)[1].item_id) == ((), "row-0000001")


def test_a_named_id_is_taken_instead_of_numbers() -> None:
    dataset = datasets.Dataset.from_dict({"sku": [7, 8], "text": ["x", "y"]})
    catalogue = Catalogue.from_dataset(dataset, columns=NamedColumns(item_id="sku"))
    assert [item.item_id for item in items_of(catalogue)] == ["7", "8"]
    assert catalogue.report.ignored_columns == ()
    with pytest.raises(CatalogueError, match="has no column 'skew'; did you mean"):
        Catalogue.from_dataset(dataset, columns=NamedColumns(item_id="skew"))


def test_chosen_and_shuffled_rows_keep_their_order() -> None:
    dataset = datasets.Dataset.from_dict({"id": list("abcde"), "text": list("vwxyz")})
    assert [item.text for item in items_of(Catalogue.from_dataset(dataset.select([3, 0, 2])))] == ["y", "v", "x"]
    stream = dataset.to_iterable_dataset().shuffle(seed=3, buffer_size=5).filter(lambda row: row["id"] != "b")
    catalogue = Catalogue.from_dataset(stream)
    assert sorted(item.item_id for item in items_of(catalogue)) == list("acde")
    assert items_of(catalogue) == items_of(catalogue, 5)


def test_a_stream_that_does_not_say_its_types() -> None:
    untyped = datasets.IterableDataset.from_generator(lambda: iter([{"id": 1, "text": "x"}, {"id": 2, "text": "y"}]))
    assert items_of(Catalogue.from_dataset(untyped)) == [Item("1", "x"), Item("2", "y")]
    rows = [{"id": n, "text": "x"} for n in range(1200)] + [{"id": "two", "text": {"not": "text"}}]
    mixed = datasets.IterableDataset.from_generator(lambda: iter(rows))
    with pytest.raises(CatalogueError, match=r"cannot be read from row 0 on: .*give it"):
        items_of(Catalogue.from_dataset(mixed))


def test_picture_paths_need_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    paths = [str(tmp_path / "a.png"), "/etc/hostname"]
    dataset = datasets.Dataset.from_dict({"id": ["a", "b"], "image": paths}).cast_column("image", datasets.Image())
    problems = [item.media[0].problem for item in items_of(Catalogue.from_dataset(dataset))]
    assert problems == [f"image path without a folder of files to start from: {path[:80]}" for path in paths]
    found = items_of(Catalogue.from_dataset(dataset, image_dir=tmp_path))
    assert found == [
        Item("a", None, (Medium(Kind.IMAGE, tmp_path.resolve() / "a.png"),)),
        Item("b", None, (Medium(Kind.IMAGE, None, "image path leaves the folder of images: /etc/hostname"),)),
    ]


def test_a_saved_dataset_and_a_saved_split(tmp_path: Path) -> None:
    map_style().save_to_disk(tmp_path / "one")
    saved = Catalogue.open(f"dataset:{tmp_path / 'one'}")
    assert [[m.source for m in seen_only(item).media] for item in items_of(saved)] == [[BROKEN], [b"\x89PNG"], []]
    both = datasets.DatasetDict({"train": map_style(), "test": map_style().select([2])})
    both.save_to_disk(tmp_path / "two")
    with pytest.raises(CatalogueError, match=r"has several splits; give one of \['dataset:.*/two/train', 'dataset:"):
        Catalogue.open(f"dataset:{tmp_path / 'two'}")
    assert [item.item_id for item in items_of(Catalogue.open(f"dataset:{tmp_path / 'two' / 'test'}"))] == ["c"]
    with pytest.raises(CatalogueError, match=r"has several splits, \['test', 'train'\]; give one of them"):
        Catalogue.from_dataset(both)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [{"id": "a"}], "a list is no dataset; give a Dataset"),
        (lambda: datasets.Dataset.from_dict({"id": []}), "has no rows"),
        (lambda: datasets.IterableDataset.from_generator(lambda: iter([])), "has no rows"),
        (lambda: datasets.Dataset.from_dict({"id": ["a"], "n": [1]}), "has neither text nor pictures"),
    ],
)
def test_what_is_no_source(make: Callable[[], object], message: str) -> None:
    with pytest.raises(CatalogueError, match=message):
        Catalogue.from_dataset(make())


def test_folders_that_hold_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="cannot be opened as a saved dataset"):
        Catalogue.open(f"dataset:{tmp_path}")
    with pytest.raises(CatalogueError, match="is no folder; give one written by `save_to_disk`"):
        Catalogue.open("dataset:imdb")


def test_importing_indexing_does_not_load_datasets() -> None:
    probe = "import indexing, sys; assert 'datasets' not in sys.modules"
    subprocess.run([sys.executable, "-c", probe], check=True)


def test_the_schema_is_plain() -> None:
    schema = DatasetReader(map_style()).schema
    assert schema.field("title").type == pa.string()
    assert schema.field("kind").type == pa.string()
    assert pa.types.is_struct(schema.field("image").type)


@pytest.mark.usefixtures("nothing_decodes")
def test_a_bundle_is_built_from_pictures_of_a_dataset(tmp_path: Path) -> None:
    rows = {"image": [{"bytes": picture(colour), "path": None} for colour in ("red", "blue")], "kind": [0, 1]}
    features = datasets.Features({"image": datasets.Image(), "kind": datasets.ClassLabel(names=["mug", "lamp"])})
    dataset = datasets.Dataset.from_dict(rows, features=features)
    bundle = build_bundle(Catalogue.from_dataset(dataset), ToyEncoder(), tmp_path / "bundle")
    assert list(bundle.items) == ["row-0000000", "row-0000001"]
    assert bundle.manifest.counts["embeddings"]["image"] == 2
    assert bundle.attributes["kind"].to_pylist() == ["mug", "lamp"]


def test_lists_of_pictures_and_odd_features_are_left_out() -> None:
    features = datasets.Features(
        {
            "id": datasets.Value("int32"),
            "text": datasets.Value("string"),
            "views": datasets.List(datasets.Image()),
            "grid": datasets.Array2D((1, 2), "float32"),
            "tags": datasets.List(datasets.Value("string")),
        }
    )
    row = {"id": 1, "text": "x", "views": [{"bytes": BROKEN, "path": None}], "grid": [[1.0, 2.0]], "tags": ["t"]}
    for dataset in (
        datasets.Dataset.from_list([row], features=features),
        datasets.IterableDataset.from_generator(lambda: iter([row]), features=features),
    ):
        catalogue = Catalogue.from_dataset(dataset)
        assert catalogue.attributes.to_pydict() == {"item_id": ["1"], "text": ["x"], "tags": [["t"]]}
        assert catalogue.report.ignored_columns == ("views", "grid")
