"""Several pictures an item: in several columns, in numbered ones, and in one value of text."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue.catalogue import Catalogue
from indexing.catalogue.columns import Columns, NamedColumns
from indexing.catalogue.medium import Medium
from tests.toy import picture


def media(catalogue: Catalogue) -> list[tuple[Medium, ...]]:
    return [item.media for batch in catalogue.batches(9) for item in batch]


def names(catalogue: Catalogue) -> list[list[str]]:
    return [[one.source.name if isinstance(one.source, Path) else "" for one in of] for of in media(catalogue)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in {"a.jpg": "red", "b.jpg": "green", "c d.jpg": "blue", "x|y.jpg": "red"}.items():
        (tmp_path / name).write_bytes(picture(colour))
    return tmp_path


def opened(folder: Path, text: str, columns: Columns | NamedColumns | None = None) -> Catalogue:
    (folder / "items.csv").write_text(text)
    return Catalogue.open(folder / "items.csv", columns=columns)


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        ("image1,image2", ("image1", "image2")),
        ("image_2,image_1", ("image_1", "image_2")),
        ("Image 0,Image 1", ("Image 0", "Image 1")),
        ("image,image2", ("image", "image2")),
        ("picture1,picture2", ("picture1", "picture2")),
        ("image,image_256", "image"),
        ("image_64,image_256", None),
        ("image_path1,image_path2", ("image_path1", "image_path2")),
    ],
)
def test_numbered_columns_are_used(folder: Path, header: str, taken: tuple[str, ...] | str | None) -> None:
    catalogue = opened(folder, f"item_id,title,{header}\n1,mug,a.jpg,b.jpg\n")
    assert catalogue.columns.image == taken
    others = [name for name in header.split(",") if name not in catalogue.columns.images]
    assert catalogue.attributes.column_names == ["item_id", "title", *others]


@pytest.mark.parametrize("order", [("front", "back"), ("back", "front")])
def test_columns_that_are_named_are_used_in_their_order(folder: Path, order: tuple[str, ...]) -> None:
    text = "item_id,title,front,back\n1,mug,a.jpg,b.jpg\n2,cup,,c d.jpg\n"
    catalogue = opened(folder, text, NamedColumns(image=order))
    of = {"front": "a.jpg", "back": "b.jpg"}
    assert names(catalogue) == [[of[name] for name in order], ["c d.jpg"]]
    assert catalogue.attributes.column_names == ["item_id", "title"]
    assert catalogue.columns.in_words() == {"item_id": "item_id", "texts": "title", "pictures": ", ".join(order)}


def test_bytes_and_paths_and_lists_stand_beside_each_other(folder: Path) -> None:
    table = pa.table({"id": ["1"], "image1": [["a.jpg", "b.jpg|c d.jpg"]], "image2": [picture("red")]})
    pq.write_table(table, folder / "items.parquet")
    (given,) = media(Catalogue.open(folder / "items.parquet"))
    root = folder.resolve()
    assert [one.source for one in given] == [root / "a.jpg", root / "b.jpg", root / "c d.jpg", picture("red")]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("a.jpg|b.jpg", ["a.jpg", "b.jpg"]),
        (" a.jpg | c d.jpg ", ["a.jpg", "c d.jpg"]),
        ("a.jpg;b.jpg", ["a.jpg", "b.jpg"]),
        ("a.jpg, b.jpg", ["a.jpg", "b.jpg"]),
        ("['a.jpg', 'b.jpg']", ["a.jpg", "b.jpg"]),
        ("x|y.jpg", ["x|y.jpg"]),
        ("a.jpg|none.jpg", ["a.jpg", "none.jpg"]),
        ("|".join(["a.jpg"] * 100), ["a.jpg"] * 100),
    ],
)
def test_a_value_that_lists_paths_is_taken_apart(folder: Path, value: str, found: list[str]) -> None:
    assert names(opened(folder, f'item_id,title,image\n1,mug,"{value}"\n')) == [found]


def test_a_missing_file_says_how_lists_are_written(folder: Path) -> None:
    ((one,),) = media(opened(folder, 'item_id,title,image\n1,mug,"none, not.jpg"\n'))
    assert one.source is None
    assert one.problem == "image file is missing, and several are written as a.jpg|b.jpg: none, not.jpg"


@pytest.mark.parametrize("value", ["a.jpg|../secret.jpg", "../secret.jpg|a.jpg"])
def test_no_part_leaves_the_folder(folder: Path, value: str) -> None:
    (folder / "in").mkdir()
    (folder / "secret.jpg").write_bytes(picture("red"))
    (folder / "in" / "a.jpg").write_bytes(picture("blue"))
    (given,) = media(opened(folder / "in", f"item_id,title,image\n1,mug,{value}\n"))
    assert sorted(one.problem or "" for one in given) == ["", "image path leaves the folder of images: ../secret.jpg"]


@pytest.mark.parametrize(
    ("header", "row", "columns"),
    [
        ("filename,caption", "a.jpg,mug", ("filename", "filename")),
        ("file_name,title", "a.jpg,mug", ("file_name", "file_name")),
        ("path,title", "a.jpg,mug", ("path", "path")),
        ("image_path,title", "a.jpg,mug", ("image_path", "image_path")),
        ("path,sku", "a.jpg,7", ("sku", "path")),
        ("path,audio,id", "a.wav,a.wav,7", ("id", None)),
    ],
)
def test_names_of_files_are_found(folder: Path, header: str, row: str, columns: tuple[str, str | None]) -> None:
    catalogue = opened(folder, f"{header}\n{row}\n")
    assert (catalogue.columns.item_id, catalogue.columns.image) == columns
    note = f"{columns[0]} taken for the item_id, as there is no other column of ids"
    assert catalogue.report.read_as == ((note,) if columns[0] == columns[1] else ())
